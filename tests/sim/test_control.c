/* SPDX-License-Identifier: MIT */
/* The control socket: who is answered, and clients that mean harm. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/control.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

static char text[CONTROL_REPLY_MAX];

static int dial(struct rig *rig)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONTROL_SOCKET, rig->run_dir) <
	      sizeof(address.sun_path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void say(int fd, const char *line)
{
	CHECK_INT(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* The next line that comes within 20 s, without its newline; NULL: the connection has ended. */
static const char *hear(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	size_t n = 0;

	for (;;) {
		CHECK_INT(poll(&pfd, 1, 20000), 1);
		if (recv(fd, text + n, 1, 0) != 1)
			return NULL;
		if (text[n] == '\n')
			break;
		CHECK(++n < sizeof(text));
	}
	text[n] = '\0';
	return text;
}

static const char *ask(int fd, const char *line)
{
	say(fd, line);
	return hear(fd);
}

static void check_alive(struct rig *rig)
{
	int fd = dial(rig);

	CHECK(fd >= 0);
	CHECK_HAS(ask(fd, "{\"command\":\"status\"}\n"), "\"ok\":true");
	close(fd);
}

static void serve(struct rig *rig, uint32_t n)
{
	struct rig_disk disk[2] = {{.size = 1 << 20}, {.size = 1 << 20}};

	rig_init(rig, 16);
	rig_config_disks(rig, disk, n, NULL);
	rig_serve(rig, n);
}

static void test_requests(void)
{
	struct rig rig;
	int fd;

	serve(&rig, 2);
	fd = dial(&rig);
	CHECK(fd >= 0);
	CHECK_HAS(ask(fd, "{\"command\":\"status\",\"name\":\"blk1\"}\n"), "\"name\":\"blk1\"");
	CHECK(!strstr(text, "\"name\":\"blk0\""));
	CHECK_STR(ask(fd, "{\"command\":\"log-level\",\"name\":\"blk0\",\"level\":\"debug\"}\n"), "{\"ok\":true}");
	CHECK_STR(ask(fd, "{\"command\":\"restart\",\"name\":\"all\"}\n"), "{\"ok\":true}");
	CHECK_INT(rig_starts(&rig, "blk0"), 2);
	CHECK_INT(rig_starts(&rig, "blk1"), 2);
	CHECK_STR(ask(fd, "{\"command\":\"stop\",\"name\":\"blk0\"}\n"), "{\"ok\":true}");
	CHECK_STR(ask(fd, "{\"command\":\"start\",\"name\":\"blk0\"}\n"), "{\"ok\":true}");
	CHECK_INT(rig_starts(&rig, "blk0"), 3);
	CHECK_STR(ask(fd, "{\"command\":\"resize\",\"name\":\"blk0\"}\n"), "{\"ok\":true,\"capacity\":1048576}");
	/* Several at once, each answered in its turn. */
	say(fd, "{\"command\":\"restart\",\"name\":\"blk0\"}\n{\"command\":\"status\",\"name\":\"blk0\"}\n"
		"{\"command\":\"stop\",\"name\":\"blk0\"}\n{\"command\":\"status\",\"name\":\"blk0\"}\n");
	CHECK_STR(hear(fd), "{\"ok\":true}");
	CHECK_HAS(hear(fd), "\"state\":\"running\"");
	CHECK_STR(hear(fd), "{\"ok\":true}");
	CHECK_HAS(hear(fd), "\"state\":\"stopped\"");
	close(fd);
	rig_finish(&rig);
}

static void test_bad_requests(void)
{
	static const char *const bad[][2] = {
		{"\n", "one JSON object a line"},
		{"status\n", "one JSON object a line"},
		{"[]\n", "one JSON object a line"},
		{"{\"command\":\n", "one JSON object a line"},
		{"{}\n", "\\\"command\\\" must be"},
		{"{\"command\":7}\n", "\\\"command\\\" must be"},
		{"{\"command\":\"Status\"}\n", "\\\"command\\\" must be"},
		{"{\"command\":\"restart\"}\n", "restart needs the name"},
		{"{\"command\":\"restart\",\"name\":7}\n", "restart needs the name"},
		{"{\"command\":\"start\",\"name\":\"all\"}\n", "there is no device all"},
		{"{\"command\":\"stop\",\"name\":null}\n", "stop needs the name"},
		{"{\"command\":\"stop\",\"name\":\"blk9\"}\n", "\"names\":[\"blk0\"]"},
		{"{\"command\":\"log-level\",\"name\":\"blk0\"}\n", "\\\"level\\\" must be"},
		{"{\"command\":\"log-level\",\"name\":\"blk0\",\"level\":\"loud\"}\n", "\\\"level\\\" must be"},
		{"{\"command\":\"log-level\",\"name\":\"blk0\",\"level\":2}\n", "\\\"level\\\" must be"},
		{"{\"command\":\"link\",\"name\":\"blk0\"}\n", "\\\"link\\\" must be up or down"},
		{"{\"command\":\"link\",\"name\":\"blk0\",\"link\":1}\n", "\\\"link\\\" must be up or down"},
		{"{\"command\":\"link\",\"name\":\"blk0\",\"link\":\"up\"}\n", "blk0: a blk device has no link"},
		{"\x01\x02\xff\xfe{}\n", "one JSON object a line"},
	};
	struct rig rig;
	size_t i;
	int fd;

	serve(&rig, 1);
	fd = dial(&rig);
	CHECK(fd >= 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_HAS(ask(fd, bad[i][0]), bad[i][1]);
		CHECK_HAS(text, "{\"ok\":false,\"error\":\"");
	}
	CHECK_HAS(ask(fd, "{\"command\":\"status\"}\n"), "\"state\":\"running\"");
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	close(fd);
	rig_finish(&rig);
}

static void test_long_requests(void)
{
	static char line[8 * CONTROL_REQUEST_MAX];
	struct rig rig;
	size_t i;
	int fd;

	serve(&rig, 1);
	/* Too deep for its length, and too long. */
	fd = dial(&rig);
	memset(line, '[', CONTROL_REQUEST_MAX - 1);
	strcpy(line + CONTROL_REQUEST_MAX - 2, "\n");
	CHECK_HAS(ask(fd, line), "one JSON object a line");
	memset(line, 'x', sizeof(line));
	CHECK_INT(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	CHECK_HAS(hear(fd), "at most 4096 bytes");
	CHECK(!hear(fd));
	close(fd);
	/* The longest that is allowed. */
	fd = dial(&rig);
	i = (size_t)snprintf(line, sizeof(line), "{\"command\":\"status\"");
	memset(line + i, ' ', CONTROL_REQUEST_MAX - 2 - i);
	strcpy(line + CONTROL_REQUEST_MAX - 2, "}\n");
	CHECK_HAS(ask(fd, line), "\"ok\":true");
	close(fd);
	check_alive(&rig);
	rig_finish(&rig);
}

/* A client that has closed its sending side still gets its answers. */
static void test_half_closed(void)
{
	struct rig rig;
	int fd;

	serve(&rig, 1);
	fd = dial(&rig);
	say(fd, "{\"command\":\"restart\",\"name\":\"blk0\"}\n{\"command\":\"status\"}\n");
	CHECK_INT(shutdown(fd, SHUT_WR), 0);
	CHECK_STR(hear(fd), "{\"ok\":true}");
	CHECK_HAS(hear(fd), "\"state\":\"running\"");
	CHECK(!hear(fd));
	close(fd);
	/* One that goes away while it waits. */
	fd = dial(&rig);
	say(fd, "{\"command\":\"restart\",\"name\":\"blk0\"}\n");
	close(fd);
	rig_await_starts(&rig, "blk0", 3);
	check_alive(&rig);
	rig_finish(&rig);
}

static uint64_t launcher_number(struct rig *rig, const char *file, const char *key)
{
	char path[64];
	char line[256];
	uint64_t number = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/%s", rig->launcher, file);
	in = fopen(path, "re");
	CHECK(in);
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, key, strlen(key)) == 0)
			number = strtoull(line + strlen(key), NULL, 10);
	}
	fclose(in);
	return number;
}

/* Clients that connect and say nothing, or half a request, or ask and never listen. */
static void test_crowd(void)
{
	static const char request[] = "{\"command\":\"status\"}\n";
	uint64_t memory;
	int fd[200];
	struct rig rig;
	size_t i;
	int n;

	serve(&rig, 1);
	check_alive(&rig);
	memory = launcher_number(&rig, "status", "VmRSS:");
	for (i = 0; i < 200; i++) {
		fd[i] = dial(&rig);
		CHECK(fd[i] >= 0);
		if (i % 3 == 1)
			say(fd[i], "{\"command\":\"sta");
		/* As much as the sockets take. */
		for (n = 0; i % 3 == 2 && n < 100000; n++) {
			if (send(fd[i], request, sizeof(request) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
		}
		if (i % 20 == 0)
			check_alive(&rig);
	}
	check_alive(&rig);
	CHECK(launcher_number(&rig, "status", "VmRSS:") < memory + 4096);
	for (i = 0; i < 200; i++)
		close(fd[i]);
	check_alive(&rig);
	rig_finish(&rig);
}

/* Another user is refused even if the folder and the socket let it in. */
static void test_peer(void)
{
	char path[400];
	struct stat st;
	struct rig rig;
	int status;
	pid_t pid;
	int fd;

	serve(&rig, 1);
	snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, rig.run_dir);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(stat(rig.run_dir, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0700);
	CHECK_INT(chmod(path, 0666), 0);
	CHECK_INT(chmod(rig.run_dir, 0755), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK_INT(setgid(65534), 0);
		CHECK_INT(setuid(65534), 0);
		fd = dial(&rig);
		CHECK(fd >= 0);
		send(fd, "{\"command\":\"stop\"}\n", 19, MSG_NOSIGNAL);
		CHECK_STR(hear(fd), "{\"ok\":false,\"error\":\"only root and user 0 may control this launcher\"}");
		CHECK(!hear(fd));
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	check_alive(&rig);
	rig_finish(&rig);
}

/* The answer to the end comes before the end. */
static void test_stop_all(void)
{
	struct rig rig;
	int watcher;
	int fd;

	serve(&rig, 2);
	watcher = dial(&rig);
	fd = dial(&rig);
	CHECK_STR(ask(fd, "{\"command\":\"stop\"}\n"), "{\"ok\":true}");
	CHECK(!hear(watcher));
	CHECK(!hear(fd));
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	CHECK_INT(rig_pid(&rig, "blk1"), 0);
	CHECK_INT(WEXITSTATUS(rig_end_launcher(&rig, 0)), 0);
	CHECK(dial(&rig) < 0);
	close(fd);
	close(watcher);
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"control_requests", test_requests, 0},
		{"control_bad_requests", test_bad_requests, 0},
		{"control_long_requests", test_long_requests, 0},
		{"control_half_closed", test_half_closed, 0},
		{"control_crowd", test_crowd, 0},
		{"control_stop_all", test_stop_all, 0},
		/* The rest need root, to become somebody else. */
		{"control_peer", test_peer, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	if (geteuid() != 0)
		printf("# not without root: %s\n", tests[--n].name);
	return test_main(argc, argv, tests, n);
}
