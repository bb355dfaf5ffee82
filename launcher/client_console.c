/* SPDX-License-Identifier: MIT */
/* hvisor-launch --console */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "client_recent.h"
#include "common/console.h"
#include "rundir.h"

#define LIMIT_MS 10000
#define CHUNK 4096

/* Where the poll()ed descriptors stand. */
enum end {
	END_SIGNAL,
	END_CONSOLE,
	END_STDIN,
	END_STDOUT,
	ENDS,
};

/* Bytes on their way. */
struct flow {
	uint8_t *bytes;
	size_t at;
	size_t len;
};

struct session {
	const struct options *options;
	char *path; /* of the terminal or socket */
	uint32_t port;
	int fd; /* of it */
	int memory_fd; /* -1: there is no recent output */
	int signal_fd;
	int out_fd; /* what standard output is, but never blocking */
	bool raw; /* own terminal: it was changed, and was like this */
	struct termios before;
	struct flow output; /* to out_fd */
	struct flow input; /* to fd */
	bool leaving; /* the rest of input is to be written, and then it is over */
	bool gone; /* the console's end has gone: the rest of output is to be written */
	int signal; /* that ended it, 0 none */
	uint8_t input_bytes[CHUNK];
	uint8_t output_bytes[CHUNK];
};

/* The terminal that we run on */

/* Tells the guest of the size of our window; the backend looks whenever the terminal is closed, too. */
static void pass_window(const struct session *session)
{
	struct winsize size;
	int fd;

	if (!isatty(session->fd) || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
		return;
	if (ioctl(session->fd, TIOCSWINSZ, &size) < 0)
		return;
	fd = open(session->path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		close(fd);
}

static int raw_begin(struct session *session)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO))
		return 0;
	if (tcgetattr(STDIN_FILENO, &session->before) < 0)
		return -errno;
	raw = session->before;
	cfmakeraw(&raw);
	session->raw = true;
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0 ? -errno : 0;
}

/* At once: a terminal that takes no output may never drain. */
static void raw_end(struct session *session)
{
	if (session->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &session->before);
	session->raw = false;
}

/* What ends us is taken from a descriptor, so that our terminal is as before whatever comes. */
static int signals_begin(struct session *session)
{
	static const int ending[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGWINCH};
	sigset_t set;
	size_t i;

	/* The end of stdout's reader ends the session by its error. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		sigaddset(&set, ending[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return session->signal_fd < 0 ? -errno : 0;
}

/* A terminal or pipe is opened anew, so that whoever shares it with us finds it as before; a file does not block. */
static void output_begin(struct session *session)
{
	session->out_fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_APPEND);
	if (session->out_fd < 0)
		session->out_fd = dup(STDOUT_FILENO);
}

/* False: it is over. */
static bool handle_signal(struct session *session)
{
	struct signalfd_siginfo info;

	while (read(session->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGWINCH) {
			session->signal = (int)info.ssi_signo;
			return false;
		}
		pass_window(session);
	}
	return true;
}

/* The flows */

static bool flow_waits(const struct flow *flow)
{
	return flow->at < flow->len;
}

/* False: nobody takes it any more. */
static bool flow_write(struct flow *flow, int fd)
{
	ssize_t n = write(fd, flow->bytes + flow->at, flow->len - flow->at);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	flow->at += (size_t)n;
	return true;
}

static void handle_output(struct session *session)
{
	ssize_t n = read(session->fd, session->output_bytes, sizeof(session->output_bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session->gone = true;
		return;
	}
	if (session->output.bytes != session->output_bytes)
		free(session->output.bytes);
	session->output = (struct flow){.bytes = session->output_bytes, .len = (size_t)n};
}

static void handle_stdin(struct session *session)
{
	ssize_t n = read(STDIN_FILENO, session->input_bytes, sizeof(session->input_bytes));
	uint8_t *escape;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	session->input = (struct flow){.bytes = session->input_bytes, .len = n > 0 ? (size_t)n : 0};
	escape = session->options->escape >= 0
			 ? memchr(session->input_bytes, session->options->escape, session->input.len)
			 : NULL;
	if (escape)
		session->input.len = (size_t)(escape - session->input_bytes);
	session->leaving = n <= 0 || escape;
}

static bool session_goes_on(const struct session *session)
{
	if (session->gone)
		return flow_waits(&session->output);
	return !session->leaving || flow_waits(&session->input);
}

static void session_run(struct session *session)
{
	bool good = true;

	while (good && session_goes_on(session)) {
		bool in = flow_waits(&session->input);
		bool out = flow_waits(&session->output);
		struct pollfd fds[ENDS] = {
			[END_SIGNAL] = {.fd = session->signal_fd, .events = POLLIN},
			[END_CONSOLE] = {.fd = session->gone || (out && !in) ? -1 : session->fd,
					 .events = (short)((out ? 0 : POLLIN) | (in ? POLLOUT : 0))},
			[END_STDIN] = {.fd = in || session->leaving ? -1 : STDIN_FILENO, .events = POLLIN},
			[END_STDOUT] = {.fd = out ? session->out_fd : -1, .events = POLLOUT},
		};

		if (poll(fds, ENDS, -1) < 0 && errno != EINTR)
			break;
		if (fds[END_SIGNAL].revents)
			good = handle_signal(session);
		if (good && fds[END_STDOUT].revents)
			good = flow_write(&session->output, session->out_fd);
		if (good && (fds[END_CONSOLE].revents & POLLOUT))
			session->gone = !flow_write(&session->input, session->fd);
		if (good && !out && (fds[END_CONSOLE].revents & (POLLIN | POLLHUP | POLLERR)))
			handle_output(session);
		if (good && fds[END_STDIN].revents)
			handle_stdin(session);
	}
}

/* Beginning and end */

static const char *escape_name(int escape, char buffer[16])
{
	if (escape < 0)
		return "none: only a signal ends this";
	if (escape == 0x7f)
		return "the delete key";
	if (escape < ' ')
		snprintf(buffer, 16, "Ctrl-%c", escape + '@');
	else
		snprintf(buffer, 16, "%c", escape);
	return buffer;
}

static int complain(const struct session *session, struct errors *errors, const char *what, int error)
{
	errors_add(errors, "%s: %s: %s", session->options->name, what, strerror(error));
	return -1;
}

static int open_terminal(struct session *session, struct errors *errors)
{
	session->fd = open(session->path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (session->fd < 0)
		return complain(session, errors, session->path, errno);
	if (!isatty(session->fd)) {
		errors_add(errors, "%s: %s is no terminal", session->options->name, session->path);
		return -1;
	}
	/* As other programs for terminals do, so that two do not share what is said. */
	if (flock(session->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		errors_add(errors, "%s: another program is attached to %s; leave it first", session->options->name,
			   session->path);
		return -1;
	}
	return 0;
}

static int open_socket(struct session *session, bool taken, struct errors *errors)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (taken) {
		errors_add(errors, "%s: somebody is connected to %s, which takes one client at a time",
			   session->options->name, session->path);
		return -1;
	}
	if (strlen(session->path) >= sizeof(address.sun_path))
		return complain(session, errors, session->path, ENAMETOOLONG);
	strcpy(address.sun_path, session->path);
	session->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (session->fd < 0 || connect(session->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return complain(session, errors, session->path, errno);
	return fcntl(session->fd, F_SETFL, O_NONBLOCK) < 0 ? complain(session, errors, session->path, errno) : 0;
}

/* The endpoint, by what it is. */
static int open_endpoint(struct session *session, bool taken, struct errors *errors)
{
	struct stat st;

	if (stat(session->path, &st) < 0)
		return complain(session, errors, session->path, errno);
	if (S_ISSOCK(st.st_mode))
		return open_socket(session, taken, errors);
	if (!S_ISREG(st.st_mode))
		return open_terminal(session, errors);
	errors_add(errors, "%s: its output goes into the file %s; nobody can be attached to it", session->options->name,
		   session->path);
	return -1;
}

/* Of the launcher: where the endpoint is, and the memory with the recent output. */
static int ask_launcher(struct session *session, int control, struct errors *errors)
{
	const struct client_request request = {.command = "console", .name = session->options->name};
	cJSON *reply = client_ask_descriptor(control, &request, LIMIT_MS, &session->memory_fd, errors);
	const char *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "path"));
	const cJSON *port = cJSON_GetObjectItemCaseSensitive(reply, "port");
	int result = reply ? 0 : -1;

	if (reply && !path) {
		errors_add(errors, "%s: has no terminal yet", session->options->name);
		result = -1;
	}
	session->path = path ? strdup(path) : NULL;
	session->port = cJSON_IsNumber(port) ? (uint32_t)port->valueint : 0;
	if (path && !session->path)
		result = complain(session, errors, "its path", ENOMEM);
	cJSON_Delete(reply);
	return result;
}

static int ask_run_dir(struct session *session, struct errors *errors)
{
	const struct rundir run = {.path = (char *)(uintptr_t)session->options->launch.run_dir, .lock_fd = -1};
	char *link = rundir_path(&run, session->options->name, NULL);

	session->path = link ? realpath(link, NULL) : NULL;
	if (!session->path)
		complain(session, errors, link ? link : "its path", link ? errno : ENOMEM);
	free(link);
	return session->path ? 0 : -1;
}

static int session_open(struct session *session, int control, struct errors *errors)
{
	bool attached;
	char key[16];
	int error;

	if ((control >= 0 ? ask_launcher(session, control, errors) : ask_run_dir(session, errors)) < 0)
		return -1;
	attached = client_recent_attached(session->memory_fd, session->port);
	if (open_endpoint(session, attached, errors) < 0)
		return -1;
	output_begin(session);
	error = signals_begin(session);
	if (!error && isatty(STDIN_FILENO))
		fprintf(stderr, "%s is the console of a zone; the key to leave it is %s.\r\n", session->options->name,
			escape_name(session->options->escape, key));
	if (control < 0)
		fprintf(stderr, "%s: no hvisor-launch runs, so its recent output is not at hand.\r\n",
			session->options->name);
	else if (attached)
		fprintf(stderr, "%s: another program has %s open too; what the guest says goes to either.\r\n",
			session->options->name, session->path);
	if (!error)
		error = raw_begin(session);
	if (error)
		return complain(session, errors, "this terminal", -error);
	session->output.bytes =
		client_recent_take(session->memory_fd, session->port, session->fd, &session->output.len);
	pass_window(session);
	return 0;
}

static void session_close(struct session *session)
{
	const int fds[] = {session->fd, session->memory_fd, session->signal_fd, session->out_fd};
	size_t i;

	raw_end(session);
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	if (session->output.bytes != session->output_bytes)
		free(session->output.bytes);
	free(session->path);
}

/* As if it had not been caught: whoever waits for us is told. */
static void end_by_signal(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	raise(number);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int client_console(const struct options *options, int control, struct errors *errors)
{
	static struct session session;
	int code = LAUNCH_EXIT_FAILED;
	bool raw;

	session = (struct session){.options = options, .fd = -1, .memory_fd = -1, .signal_fd = -1, .out_fd = -1};
	if (session_open(&session, control, errors) == 0) {
		session_run(&session);
		code = LAUNCH_EXIT_OK;
	}
	raw = session.raw;
	session_close(&session);
	if (raw && !session.signal)
		fprintf(stderr, "\n");
	if (session.gone) {
		errors_add(errors, "%s: its backend or launcher has ended it", options->name);
		code = LAUNCH_EXIT_FAILED;
	}
	if (session.signal)
		end_by_signal(session.signal);
	return code;
}
