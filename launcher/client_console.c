/* SPDX-License-Identifier: MIT */
/* hvisor-launch --console */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "common/console.h"
#include "rundir.h"

#define ATTACH_LIMIT_MS 1000 /* for the backend to see that we have opened the terminal */
#define LIMIT_MS 10000
#define CHUNK 4096

/* Where the poll()ed descriptors stand. */
enum end {
	END_SIGNAL,
	END_TERMINAL,
	END_STDIN,
	ENDS,
};

struct session {
	const struct options *options;
	char *terminal; /* path of the link in the run folder */
	char *file; /* path of NAME.console */
	int fd; /* the console's terminal */
	int file_fd; /* -1: there is no recent output */
	int signal_fd;
	bool raw; /* own terminal: it was changed, and was like this */
	struct termios before;
	char input[CHUNK]; /* for the guest, not written yet */
	size_t input_at;
	size_t input_len;
	bool escaped; /* the rest of input is to be written, and then it is over */
	int signal; /* that ended it, 0 none */
};

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};

			poll(&pfd, 1, -1);
			continue;
		}
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* The numbers of the file as they are now; false if it is none of this version. */
static bool file_look(const struct session *session, struct console_file *file)
{
	const size_t size = offsetof(struct console_file, output);

	return session->file_fd >= 0 && pread(session->file_fd, file, size, 0) == (ssize_t)size &&
	       file->magic == CONSOLE_MAGIC && file->version == CONSOLE_VERSION;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

/*
 * Up to which position the recent output is not coming through the terminal: what the backend had given away before it
 * saw that we have opened it. With somebody else there too, it goes to either of us.
 */
static uint64_t recent_end(const struct session *session, bool was_attached, struct console_file *file)
{
	int ms;

	for (ms = 0; ms < ATTACH_LIMIT_MS && file_look(session, file) && !file->attached; ms++)
		pause_ms(1);
	return was_attached || !file->attached ? file->out_sent : file->attached_at;
}

/* Numbers and bytes are a backend's: no more than a buffer full is shown, whatever they say. */
static void show_recent(const struct session *session, bool was_attached)
{
	struct console_file *file = malloc(sizeof(*file));
	uint64_t oldest, end, at;

	if (file && file_look(session, file)) {
		end = recent_end(session, was_attached, file);
		if (pread(session->file_fd, file, sizeof(*file), 0) == sizeof(*file)) {
			struct console_file *now = file;
			uint64_t out_end = now->out_end;

			oldest = out_end > CONSOLE_OUTPUT_SIZE ? out_end - CONSOLE_OUTPUT_SIZE : 0;
			for (at = oldest; at < end && at - oldest < CONSOLE_OUTPUT_SIZE;) {
				uint64_t n = CONSOLE_OUTPUT_SIZE - at % CONSOLE_OUTPUT_SIZE;

				n = n < end - at ? n : end - at;
				if (!write_all(STDOUT_FILENO, now->output + at % CONSOLE_OUTPUT_SIZE, n))
					break;
				at += n;
			}
		}
	}
	free(file);
}

/* Tells the guest of the size of our window; the backend looks whenever the terminal is closed. */
static void pass_window(const struct session *session)
{
	struct winsize size;
	int fd;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
		return;
	if (ioctl(session->fd, TIOCSWINSZ, &size) < 0)
		return;
	fd = open(session->terminal, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
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
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
		return -errno;
	session->raw = true;
	return 0;
}

static void raw_end(struct session *session)
{
	if (session->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &session->before);
	session->raw = false;
}

/* What ends us is taken from a descriptor, so that our terminal is as before whatever comes. */
static int signals_begin(struct session *session)
{
	sigset_t set;

	/* The end of stdout's reader ends the session by its error. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return session->signal_fd < 0 ? -errno : 0;
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

static bool handle_output(struct session *session)
{
	uint8_t bytes[CHUNK];
	ssize_t n = read(session->fd, bytes, sizeof(bytes));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && write_all(STDOUT_FILENO, bytes, (size_t)n);
}

static bool handle_stdin(struct session *session)
{
	ssize_t n = read(STDIN_FILENO, session->input, sizeof(session->input));
	char *escape;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	session->input_at = 0;
	session->input_len = (size_t)n;
	escape = session->options->escape >= 0 ? memchr(session->input, session->options->escape, (size_t)n) : NULL;
	if (escape)
		session->input_len = (size_t)(escape - session->input);
	session->escaped = n == 0 || escape;
	return true;
}

static bool write_input(struct session *session)
{
	ssize_t n = write(session->fd, session->input + session->input_at, session->input_len - session->input_at);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	session->input_at += (size_t)n;
	return true;
}

static void session_run(struct session *session)
{
	bool goes_on = true;

	while (goes_on && !(session->escaped && session->input_at == session->input_len)) {
		bool full = session->input_at < session->input_len;
		struct pollfd fds[ENDS] = {
			[END_SIGNAL] = {.fd = session->signal_fd, .events = POLLIN},
			[END_TERMINAL] = {.fd = session->fd, .events = (short)(POLLIN | (full ? POLLOUT : 0))},
			[END_STDIN] = {.fd = full ? -1 : STDIN_FILENO, .events = POLLIN},
		};

		if (poll(fds, ENDS, -1) < 0 && errno != EINTR)
			break;
		if (fds[END_SIGNAL].revents)
			goes_on = handle_signal(session);
		if (goes_on && (fds[END_TERMINAL].revents & POLLOUT))
			goes_on = write_input(session);
		if (goes_on && (fds[END_TERMINAL].revents & (POLLIN | POLLHUP | POLLERR)))
			goes_on = handle_output(session);
		if (goes_on && fds[END_STDIN].revents)
			goes_on = handle_stdin(session);
	}
}

static int session_open(struct session *session, struct errors *errors)
{
	const struct rundir run = {.path = (char *)(uintptr_t)session->options->launch.run_dir, .lock_fd = -1};
	const char *name = session->options->name;
	struct console_file file = {0};
	bool was_attached;
	int error;

	session->terminal = rundir_path(&run, name, NULL);
	session->file = rundir_path(&run, name, "console");
	if (!session->terminal || !session->file) {
		errors_add(errors, "%s: no memory", name);
		return -1;
	}
	session->file_fd = open(session->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	was_attached = file_look(session, &file) && file.attached;
	session->fd = open(session->terminal, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (session->fd < 0 || !isatty(session->fd)) {
		errors_add(errors, "%s: its terminal %s: %s", name, session->terminal, strerror(errno));
		return -1;
	}
	error = signals_begin(session);
	if (!error && isatty(STDIN_FILENO))
		fprintf(stderr, "%s is the console of a zone; the key to leave it is %s.\r\n", name,
			session->options->escape == OPTIONS_ESCAPE ? "Ctrl-]"
			: session->options->escape < 0             ? "none: only a signal ends this"
								   : "the one of --escape");
	if (!error)
		error = raw_begin(session);
	if (error) {
		errors_add(errors, "%s: this terminal: %s", name, strerror(-error));
		return -1;
	}
	show_recent(session, was_attached);
	pass_window(session);
	return 0;
}

static void session_close(struct session *session)
{
	raw_end(session);
	if (session->fd >= 0)
		close(session->fd);
	if (session->file_fd >= 0)
		close(session->file_fd);
	if (session->signal_fd >= 0)
		close(session->signal_fd);
	free(session->terminal);
	free(session->file);
}

/* Is the device one that has a terminal? Asked of the launcher if it is there; else the run folder tells. */
static int check_device(const struct options *options, int control, struct errors *errors)
{
	const struct client_request request = {.command = "status", .name = options->name};
	cJSON *reply;
	const cJSON *device;
	int result = 0;

	if (control < 0)
		return 0;
	reply = client_ask(control, &request, LIMIT_MS, errors);
	device = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(reply, "devices"), 0);
	if (!reply) {
		result = -1;
	} else if (!cJSON_GetObjectItemCaseSensitive(device, "terminal_link")) {
		errors_add(errors, "%s: is no console, but a %s device", options->name,
			   cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(device, "type")));
		result = -1;
	} else if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(device, "terminal"))) {
		errors_add(errors, "%s: has no terminal yet; it is %s", options->name,
			   cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(device, "state")));
		result = -1;
	}
	cJSON_Delete(reply);
	return result;
}

int client_console(const struct options *options, int control, struct errors *errors)
{
	struct session session = {.options = options, .fd = -1, .file_fd = -1, .signal_fd = -1};
	int code = LAUNCH_EXIT_FAILED;

	if (check_device(options, control, errors) < 0)
		return code;
	if (session_open(&session, errors) == 0) {
		session_run(&session);
		code = LAUNCH_EXIT_OK;
	}
	if (session.raw)
		fprintf(stderr, "\r\n");
	session_close(&session);
	/* As if it had not been caught: whoever waits for us is told. */
	if (session.signal) {
		sigset_t set;

		signal(session.signal, SIG_DFL);
		raise(session.signal);
		sigemptyset(&set);
		sigaddset(&set, session.signal);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
	return code;
}
