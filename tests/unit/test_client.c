/* SPDX-License-Identifier: MIT */
/* What hvisor-launch asks of a running one, and how it shows the answers: against a server with set lines. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "launcher/client.h"
#include "launcher/control.h"
#include "launcher/human.h"
#include "launcher/utf8.h"
#include "tests/unit/launcher_run.h"

static struct run run;
static pid_t server;

static void stop_server(void)
{
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
		server = 0;
	}
}

/* Answers each connection: the line request with reply, and then holds the connection until the client ends it. */
static void serve(int listener, const char *request, const char *reply)
{
	for (;;) {
		char line[CONTROL_REQUEST_MAX];
		size_t at = 0;
		ssize_t n;
		int fd = accept(listener, NULL, NULL);

		while (fd >= 0 && at < sizeof(line) - 1 && (n = read(fd, line + at, sizeof(line) - 1 - at)) > 0) {
			at += (size_t)n;
			if (line[at - 1] != '\n')
				continue;
			line[at - 1] = 0;
			at = 0;
			if (strcmp(line, request) != 0)
				dprintf(fd, "{\"ok\":false,\"error\":\"the request is %s\"}\n", strchr(line, ':'));
			else if (reply)
				dprintf(fd, "%s\n", reply);
			else
				break;
		}
		close(fd);
	}
}

/* A launcher with run folder "run"; reply NULL: it ends the connection instead. */
static void start_server(const char *request, const char *reply)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "run/" CONTROL_SOCKET};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	stop_server();
	mkdir("run", 0700);
	unlink(address.sun_path);
	CHECK_INT(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(listen(listener, 8), 0);
	server = fork();
	CHECK(server >= 0);
	if (server == 0) {
		serve(listener, request, reply);
		_exit(0);
	}
	close(listener);
}

static void begin(void)
{
	launcher_enter_folder();
	atexit(stop_server);
}

static void test_no_launcher(void)
{
	char want[256];

	begin();
	snprintf(want, sizeof(want),
		 "hvisor-launch: no hvisor-launch runs with run folder %s/run (connect: No such file or directory); "
		 "start "
		 "it with hvisor-launch [options] virtio_cfg.json, or name its folder with --run\n",
		 launcher_folder);
	LAUNCHER_RUN(&run, "--run", "run", "--status");
	CHECK_STR(run.err, want);
	CHECK_STR(run.out, "");
	CHECK_INT(run.code, 1);
	LAUNCHER_RUN(&run, "--run", "run", "--status", "--json");
	CHECK_INT(run.code, 1);
	CHECK_HAS(run.out, "\"ok\":\tfalse");
	CHECK_HAS(run.out, "no hvisor-launch runs with run folder");
	LAUNCHER_RUN(&run, "--run", "run", "--restart", "blk0");
	CHECK_STR(run.err, want);
	CHECK_INT(run.code, 1);
	/* A socket that nobody listens to any more. */
	start_server("", "");
	stop_server();
	LAUNCHER_RUN(&run, "--run", "run", "--stop");
	CHECK_HAS(run.err, "(connect: Connection refused)");
	CHECK_INT(run.code, 1);
}

static void asks(const char *request, const char *a, const char *b)
{
	start_server(request, "{\"ok\":true}");
	LAUNCHER_RUN(&run, "--run", "run", a, b);
	CHECK_STR(run.err, "");
	CHECK_STR(run.out, "");
	CHECK_INT(run.code, 0);
}

static void test_requests(void)
{
	begin();
	asks("{\"command\":\"restart\",\"name\":\"blk0\"}", "--restart", "blk0");
	asks("{\"command\":\"restart\",\"name\":\"all\"}", "--restart=all", NULL);
	asks("{\"command\":\"stop\"}", "--stop", NULL);
	asks("{\"command\":\"stop\",\"name\":\"blk0\"}", "--stop", "blk0");
	asks("{\"command\":\"start\",\"name\":\"a\\\"b\"}", "--start", "a\"b");
	asks("{\"command\":\"log-level\",\"name\":\"blk0\",\"level\":\"debug\"}", "--log-level", "blk0=debug");
	asks("{\"command\":\"link\",\"name\":\"net0\",\"link\":\"down\"}", "--link", "net0=down");
	start_server("{\"command\":\"resize\",\"name\":\"blk0\"}", "{\"ok\":true,\"capacity\":1572864}");
	LAUNCHER_RUN(&run, "--run", "run", "--resize", "blk0");
	CHECK_STR(run.err, "");
	CHECK_STR(run.out, "blk0: 1.5 MiB (1572864 bytes)\n");
	CHECK_INT(run.code, 0);
}

static void test_refusals(void)
{
	begin();
	start_server("{\"command\":\"restart\",\"name\":\"bkl0\"}",
		     "{\"ok\":false,\"error\":\"unknown\",\"names\":[\"blk0\",\"root\"]}");
	LAUNCHER_RUN(&run, "--run", "run", "--restart", "bkl0");
	CHECK_STR(run.err, "hvisor-launch: bkl0: no device has this name; there are blk0, root; did you mean blk0?\n");
	CHECK_INT(run.code, 1);
	start_server("{\"command\":\"start\",\"name\":\"blk0\"}", "{\"ok\":false,\"error\":\"blk0: it \\u001b[2J\"}");
	LAUNCHER_RUN(&run, "--run", "run", "--start", "blk0");
	CHECK_STR(run.err, "hvisor-launch: blk0: it ?[2J\n");
	CHECK_INT(run.code, 1);
	start_server("{\"command\":\"start\",\"name\":\"blk0\"}", "nonsense");
	LAUNCHER_RUN(&run, "--run", "run", "--start", "blk0");
	CHECK_HAS(run.err, "start: the reply of hvisor-launch is no JSON");
	CHECK_INT(run.code, 1);
	start_server("{\"command\":\"status\"}", NULL);
	LAUNCHER_RUN(&run, "--run", "run", "--status", "--json");
	CHECK_STR(run.err, "hvisor-launch: status: hvisor-launch ended, or does not answer this user; see its log\n");
	CHECK_HAS(run.out, "\"ok\":\tfalse");
	CHECK_INT(run.code, 1);
}

#define STATUS                                                                                                         \
	"{\"ok\":true,\"launcher\":{\"pid\":7,\"version\":\"9.9\",\"uptime_s\":4000,\"config\":\"/c.json\",\"hv\":\"/" \
	"dev/hvisor\","                                                                                                \
	"\"hv_name\":\"hvisor.ko\",\"log\":null,\"seccomp\":\"log\",\"sandbox_missing\":[\"Landlock\",\"userns\"],"    \
	"\"skipped\":["                                                                                                \
	"\"net0: not "                                                                                                 \
	"served\"]},\"devices\":[{\"name\":\"blk0\",\"type\":\"blk\",\"zone\":1,\"state\":\"running\",\"pid\":1234,"   \
	"\"restarts\":2,\"uptime_s\":9.96,\"requests\":1000000,\"bytes_read\":1073741824,\"bytes_written\":1536,"      \
	"\"errors\":0,"                                                                                                \
	"\"status\":15,\"log\":\"/l/"                                                                                  \
	"blk0.log\",\"last_exit\":null,\"failed_reason\":null},{\"name\":\"a_longer_name\",\"type\":"                  \
	"\"blk\",\"zone\":31,\"state\":\"failed\",\"pid\":0,\"restarts\":11,\"uptime_s\":0,\"requests\":0,\"bytes_"    \
	"read\":0,"                                                                                                    \
	"\"bytes_written\":0,\"errors\":3,\"failed_reason\":\"11 ends in 60 s\"}]}"

static void test_status(void)
{
	begin();
	start_server("{\"command\":\"status\"}", STATUS);
	LAUNCHER_RUN(&run, "--run", "run", "--status");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.out,
		  "hvisor-launch 9.9, pid 7, up 67 min, /dev/hvisor (hvisor.ko)\n"
		  "/c.json\n"
		  "NAME           TYPE  ZONE  STATE     PID  RESTARTS  UPTIME  REQUESTS   READ  WRITTEN  ERRORS\n"
		  "blk0           blk      1  running  1234         2  10.0 s   1000000  1 GiB  1.5 KiB       0\n"
		  "a_longer_name  blk     31  failed      -        11       -         0    0 B      0 B       3\n"
		  "a_longer_name failed: 11 ends in 60 s; see hvisor-launch --logs a_longer_name\n"
		  "left out: net0: not served\n"
		  "sandbox: this kernel lacks Landlock, userns\n"
		  "sandbox: seccomp only logs (--seccomp=log)\n");
	LAUNCHER_RUN(&run, "--run", "run", "--status", "--json");
	CHECK_INT(run.code, 0);
	CHECK_HAS(run.out, "\"requests\":\t1000000");
	CHECK_HAS(run.out, "\"failed_reason\":\t\"11 ends in 60 s\"");
}

static void test_status_of_one(void)
{
	begin();
	start_server("{\"command\":\"status\",\"name\":\"blk0\"}", STATUS);
	LAUNCHER_RUN(&run, "--run", "run", "--status", "blk0");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	CHECK_HAS(run.out, "name               blk0\n");
	CHECK_HAS(run.out, "bytes_read         1073741824\n");
	CHECK_HAS(run.out, "status             0x0f ACKNOWLEDGE DRIVER FEATURES_OK DRIVER_OK\n");
	CHECK_HAS(run.out, "last_exit          -\n");
}

/* A reply of the right form with nothing that is promised in it, or with the wrong types. */
static void test_strange_status(void)
{
	static const char no_keys[] = "{\"ok\":true}";
	static const char other_types[] = "{\"ok\":true,\"launcher\":[],\"devices\":{}}";
	static const char other_numbers[] =
		"{\"ok\":true,\"launcher\":{\"pid\":\"x\",\"sandbox_missing\":3},\"devices\":[1,null,{\"pid\":-1e300,"
		"\"bytes_read\":1e300,\"uptime_s\":1e300,\"requests\":1e300,\"name\":7}]}";
	const char *const replies[] = {no_keys, other_types, other_numbers};
	size_t i;

	begin();
	for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		start_server("{\"command\":\"status\"}", replies[i]);
		LAUNCHER_RUN(&run, "--run", "run", "--status");
		CHECK_STR(run.err, "");
		CHECK_HAS(run.out, "NAME  TYPE  ZONE  STATE");
		CHECK_INT(run.code, 0);
	}
}

static void test_logs(void)
{
	char reply[256];

	begin();
	snprintf(reply, sizeof(reply), "{\"ok\":true,\"devices\":[{\"name\":\"blk0\",\"log\":\"%s/l\"}]}",
		 launcher_folder);
	start_server("{\"command\":\"status\",\"name\":\"blk0\"}", reply);
	launcher_write("l", "one\n\x1b]0;x\x07 \xc3\xa9 \xff\xc2\x9b\ttwo\nno newline");
	LAUNCHER_RUN(&run, "--run", "run", "--logs", "blk0");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.out, "one\n?]0;x? \xc3\xa9 ???\ttwo\nno newline");
	CHECK_INT(unlink("l"), 0);
	LAUNCHER_RUN(&run, "--run", "run", "--logs", "blk0");
	CHECK_HAS(run.err, "/l: No such file or directory\n");
	CHECK_INT(run.code, 1);

	start_server("{\"command\":\"status\"}", STATUS);
	LAUNCHER_RUN(&run, "--run", "run", "--logs", "launcher");
	CHECK_HAS(run.err, "launcher: has no log file; hvisor-launch runs in the foreground and writes there\n");
	CHECK_INT(run.code, 1);

	/* Of a launcher that is gone. */
	stop_server();
	CHECK_INT(mkdir("logs", 0700), 0);
	launcher_write("logs/blk0.log", "last words\n");
	LAUNCHER_RUN(&run, "--run", "run", "--log-dir", "logs", "--logs", "blk0");
	CHECK_HAS(run.err, "this is its last log");
	CHECK_STR(run.out, "last words\n");
	CHECK_INT(run.code, 0);
	LAUNCHER_RUN(&run, "--run", "run", "--log-dir", "logs", "--logs", "../logs/blk0");
	CHECK_STR(run.err, "hvisor-launch: ../logs/blk0: is no name of a device\n");
	CHECK_INT(run.code, 1);
	LAUNCHER_RUN(&run, "--run", "run", "--log-dir", "logs", "--logs", "blk1");
	CHECK_HAS(run.err, "no hvisor-launch runs with run folder");
	CHECK_INT(run.code, 1);
}

struct follow {
	int out;
	const char *want;
	size_t at;
	char text[4096];
};

static int follow_has(void *arg)
{
	struct follow *follow = arg;
	ssize_t n = read(follow->out, follow->text + follow->at, sizeof(follow->text) - 1 - follow->at);

	follow->at += n > 0 ? (size_t)n : 0;
	follow->text[follow->at] = 0;
	return strstr(follow->text, follow->want) != NULL;
}

static void follow_until(struct follow *follow, const char *want)
{
	follow->want = want;
	if (!test_wait(follow_has, follow, 10000))
		TEST_FAIL("no \"%s\" came; there is\n%s", want, follow->text);
}

static void append(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void test_follow(void)
{
	struct follow follow = {0};
	char reply[256];
	char line[32];
	int pipefd[2];
	int status;
	pid_t pid;
	int i;

	begin();
	snprintf(reply, sizeof(reply), "{\"ok\":true,\"devices\":[{\"log\":\"%s/l\"}]}", launcher_folder);
	start_server("{\"command\":\"status\",\"name\":\"blk0\"}", reply);
	for (i = 1; i <= 3000; i++) {
		snprintf(line, sizeof(line), "line %d\n", i);
		append("l", line);
	}
	CHECK_INT(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (dup2(pipefd[1], 1) == 1)
			execl(launcher_path(), "hvisor-launch", "--run", "run", "--logs", "blk0", "-f", NULL);
		_exit(127);
	}
	close(pipefd[1]);
	follow.out = pipefd[0];
	CHECK_INT(fcntl(follow.out, F_SETFL, O_NONBLOCK), 0);
	follow_until(&follow, "line 3000\n");
	CHECK_INT(strncmp(follow.text, "line 2991\n", 10), 0);
	append("l", "added\n");
	follow_until(&follow, "added\n");
	/* A line in two pieces. */
	append("l", "begin ");
	follow_until(&follow, "begin ");
	append("l", "end\n");
	follow_until(&follow, "begin end\n");
	/* Rotation: the last line of the old file and the first one of the new are both there. */
	append("l", "before\n");
	CHECK_INT(rename("l", "l.1"), 0);
	append("l", "after\n");
	follow_until(&follow, "before\nafter\n");
	CHECK_INT(rename("l", "l.1"), 0);
	append("l", "again\n");
	follow_until(&follow, "after\nagain\n");
	CHECK_INT(truncate("l", 0), 0);
	append("l", "cut\n");
	follow_until(&follow, "again\ncut\n");
	/* It ends with the launcher. */
	append("l", "last\n");
	stop_server();
	follow_until(&follow, "cut\nlast\n");
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 0);
}

/* A reply with two descriptors of which one is wanted: none stays open. */
static void test_descriptors(void)
{
	static const struct client_request request = {.command = "console", .name = "console0"};
	static char reply[] = "{\"ok\":true}\n";
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {.header = {CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {reply, sizeof(reply) - 1};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct errors errors;
	int first_free, passed = -1;
	cJSON *answer;
	int fd[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	memcpy(CMSG_DATA(&control.header), fd, sizeof(fd));
	CHECK_INT(sendmsg(fd[1], &message, 0), iov.iov_len);
	first_free = dup(fd[0]);
	close(first_free);
	errors_init(&errors);
	answer = client_ask_descriptor(fd[0], &request, 5000, &passed, &errors);
	CHECK(answer != NULL);
	CHECK_INT(passed, first_free);
	close(passed);
	CHECK_INT(dup(fd[0]), first_free);
	cJSON_Delete(answer);
	errors_finish(&errors);
}

static void size_is(uint64_t bytes, const char *want)
{
	char buffer[HUMAN_MAX];

	CHECK_STR(human_size(buffer, bytes), want);
}

static void time_is(double seconds, const char *want)
{
	char buffer[HUMAN_MAX];

	CHECK_STR(human_time(buffer, seconds), want);
}

static void clean_is(const char *text, const char *want)
{
	char copy[64];

	strcpy(copy, text);
	CHECK_STR(utf8_clean(copy), want);
}

static void test_words(void)
{
	size_is(0, "0 B");
	size_is(1023, "1023 B");
	size_is(1024, "1 KiB");
	size_is(1535, "1.4 KiB");
	size_is(1536, "1.5 KiB");
	size_is(1048575, "1023 KiB");
	size_is(64 << 20, "64 MiB");
	size_is(UINT64_MAX, "15.9 EiB");
	time_is(-1, "0 s");
	time_is(0.04, "0.0 s");
	time_is(3.21, "3.2 s");
	time_is(59.6, "60 s");
	time_is(600, "10 min");
	time_is(7201, "2 h");
	time_is(86400.0 * 400, "400 d");
	clean_is("plain \xe4\xb8\xad\n\t", "plain \xe4\xb8\xad\n\t");
	clean_is("\x7f\xc2\x85|\xe4\xb8|\xf4\x90\x80\x80|\xed\xa0\x80", "???|??|????|???");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"client_no_launcher", test_no_launcher, 0},
		{"client_requests", test_requests, 0},
		{"client_refusals", test_refusals, 0},
		{"client_status", test_status, 0},
		{"client_status_of_one", test_status_of_one, 0},
		{"client_strange_status", test_strange_status, 0},
		{"client_logs", test_logs, 0},
		{"client_follow", test_follow, 0},
		{"client_descriptors", test_descriptors, 0},
		{"client_words", test_words, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
