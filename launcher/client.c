/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "control.h"
#include "human.h"
#include "rundir.h"
#include "utf8.h"

#define LIMIT_QUICK_MS 10000 /* what the launcher answers at once */
#define LIMIT_LONG_MS 600000 /* what waits for backends, perhaps for all of them in turn */

int client_connect(const char *run_dir)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;
	int error;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONTROL_SOCKET, run_dir) >=
	    (int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int send_request(int fd, const struct client_request *request)
{
	cJSON *object = cJSON_CreateObject();
	char *text;
	size_t len;
	size_t at = 0;
	int error = 0;

	cJSON_AddStringToObject(object, "command", request->command);
	if (request->name)
		cJSON_AddStringToObject(object, "name", request->name);
	if (request->level)
		cJSON_AddStringToObject(object, "level", request->level);
	if (request->link)
		cJSON_AddStringToObject(object, "link", request->link);
	text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* in the place of the terminating NUL */
	while (at < len && !error) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			error = -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	free(text);
	return error;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The first descriptor that came is what *passed gets; others are closed. */
static void take_descriptor(int fd, int *passed)
{
	if (*passed >= 0)
		close(fd);
	else
		*passed = fd;
}

/* Of a message, the descriptors that came with it: there is room for two, as CMSG_SPACE() rounds up. */
static void take_descriptors(struct msghdr *message, int *passed)
{
	struct cmsghdr *header;
	size_t i, n;
	int fd;

	for (header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
			take_descriptor(fd, passed);
		}
	}
}

static ssize_t receive_some(int fd, char *text, size_t size, int *passed)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {text, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (!passed)
		return recv(fd, text, size, MSG_DONTWAIT);
	message.msg_control = &control;
	message.msg_controllen = sizeof(control);
	n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n >= 0)
		take_descriptors(&message, passed);
	return n;
}

/*
 * One line into text of size bytes, as a string without the newline, and what comes with it into *passed if that is not
 * NULL. 0, or -errno: -ECONNRESET for an end before it.
 */
static int receive_line(int fd, char *text, size_t size, int limit_ms, int *passed)
{
	int64_t end = now_ms() + limit_ms;
	size_t at = 0;

	while (at < size - 1) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int64_t left = end - now_ms();
		char *newline;
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
		n = receive_some(fd, text + at, size - 1 - at, passed);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		newline = memchr(text + at, '\n', (size_t)n);
		at += (size_t)n;
		if (newline) {
			*newline = 0;
			return 0;
		}
	}
	return -EMSGSIZE;
}

static void complain_io(struct errors *errors, const char *command, int error, int limit_ms)
{
	if (error == -ECONNRESET || error == -EPIPE)
		errors_add(errors, "%s: hvisor-launch ended, or does not answer this user; see its log", command);
	else if (error == -ETIMEDOUT)
		errors_add(errors, "%s: hvisor-launch has not answered within %d s; see its log", command,
			   limit_ms / 1000);
	else
		errors_add(errors, "%s: the control socket: %s", command, strerror(-error));
}

/* The launcher said no. With names in the reply it was that no device has the name. */
static void complain_reply(struct errors *errors, const cJSON *reply, const char *name)
{
	const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "error"));
	const cJSON *names = cJSON_GetObjectItemCaseSensitive(reply, "names");
	const char *known[HVISOR_DEVICES_MAX];
	char list[HVISOR_DEVICES_MAX * (HVISOR_NAME_MAX + 2)] = "";
	const char *near;
	const cJSON *item;
	size_t at = 0;
	size_t n = 0;

	cJSON_ArrayForEach(item, names)
	{
		if (!cJSON_IsString(item) || n == HVISOR_DEVICES_MAX || at >= sizeof(list))
			continue;
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", n ? ", " : "", item->valuestring);
		known[n++] = item->valuestring;
	}
	if (!names || !name) {
		errors_add(errors, "%s", error ? error : "hvisor-launch refused without a reason");
		return;
	}
	near = config_nearest(name, known, n);
	errors_add(errors, "%s: no device has this name; there %s %s%s%s%s", name, n == 1 ? "is" : "are",
		   n ? list : "none", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* Words of the launcher may come from a backend; this is for their way to a terminal. */
static void clean(cJSON *item)
{
	for (; item; item = item->next) {
		if (item->string)
			utf8_clean(item->string);
		if (item->valuestring)
			utf8_clean(item->valuestring);
		clean(item->child);
	}
}

cJSON *client_ask(int fd, const struct client_request *request, int limit_ms, struct errors *errors)
{
	return client_ask_descriptor(fd, request, limit_ms, NULL, errors);
}

cJSON *client_ask_descriptor(int fd, const struct client_request *request, int limit_ms, int *passed,
			     struct errors *errors)
{
	char *text = malloc(CONTROL_REPLY_MAX + 1);
	cJSON *reply = NULL;
	int error = text ? send_request(fd, request) : -ENOMEM;

	if (!error)
		error = receive_line(fd, text, CONTROL_REPLY_MAX + 1, limit_ms, passed);
	if (error) {
		complain_io(errors, request->command, error, limit_ms);
		goto out;
	}
	reply = cJSON_Parse(text);
	clean(reply);
	if (!cJSON_IsObject(reply)) {
		errors_add(errors, "%s: the reply of hvisor-launch is no JSON; is it of another version?",
			   request->command);
	} else if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "ok"))) {
		complain_reply(errors, reply, request->name);
	} else {
		free(text);
		return reply;
	}
out:
	cJSON_Delete(reply);
	free(text);
	return NULL;
}

static int show_status(const struct options *options, int fd, struct errors *errors)
{
	struct client_request request = {.command = "status", .name = options->name};
	cJSON *reply = client_ask(fd, &request, LIMIT_QUICK_MS, errors);
	char *text;

	if (!reply)
		return LAUNCH_EXIT_FAILED;
	if (options->json) {
		text = cJSON_Print(reply);
		printf("%s\n", text ? text : "{\"ok\":false,\"errors\":[\"no memory\"]}");
		free(text);
	} else {
		client_print_status(reply, options->name != NULL, stdout);
	}
	cJSON_Delete(reply);
	return LAUNCH_EXIT_OK;
}

/* The log of the device, or of the launcher itself, by the running launcher. */
static int show_log(const struct options *options, int fd, struct errors *errors)
{
	bool own = strcmp(options->name, CONTROL_NAME_LAUNCHER) == 0;
	struct client_request request = {.command = "status", .name = own ? NULL : options->name};
	cJSON *reply = client_ask(fd, &request, LIMIT_QUICK_MS, errors);
	const cJSON *object;
	const char *path;
	int code = LAUNCH_EXIT_FAILED;

	if (!reply)
		return code;
	object = own ? cJSON_GetObjectItemCaseSensitive(reply, "launcher")
		     : cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(reply, "devices"), 0);
	path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "log"));
	if (path)
		code = client_print_log(path, options->follow, fd, stdout, errors);
	else
		errors_add(errors, "%s: has no log file; hvisor-launch runs in the foreground and writes there",
			   options->name);
	cJSON_Delete(reply);
	return code;
}

/* What a launcher that is gone has left in the log folder. */
static int show_old_log(const struct options *options, struct errors *errors)
{
	char *path;
	int code = LAUNCH_EXIT_FAILED;

	if (strchr(options->name, '/')) {
		errors_add(errors, "%s: is no name of a device", options->name);
		return code;
	}
	if (asprintf(&path, "%s/%s.log", options->launch.log_dir, options->name) < 0) {
		errors_add(errors, "no memory");
		return code;
	}
	if (access(path, R_OK) == 0) {
		fprintf(stderr, "hvisor-launch: no hvisor-launch runs with run folder %s; this is its last log, %s\n",
			options->launch.run_dir, path);
		code = client_print_log(path, false, -1, stdout, errors);
	}
	free(path);
	return code;
}

/* A console whose launcher is gone may be served all the same. */
static bool has_endpoint(const struct options *options)
{
	const struct rundir run = {.path = (char *)(uintptr_t)options->launch.run_dir, .lock_fd = -1};
	char *path = strchr(options->name, '/') ? NULL : rundir_path(&run, options->name, NULL);
	bool has = path && access(path, R_OK | W_OK) == 0;

	free(path);
	return has;
}

static int resize(const struct options *options, int fd, struct errors *errors)
{
	struct client_request request = {.command = "resize", .name = options->name};
	cJSON *reply = client_ask(fd, &request, LIMIT_QUICK_MS, errors);
	const cJSON *capacity = cJSON_GetObjectItemCaseSensitive(reply, "capacity");
	char size[HUMAN_MAX];

	if (!reply)
		return LAUNCH_EXIT_FAILED;
	if (cJSON_IsNumber(capacity) && capacity->valuedouble >= 0)
		printf("%s: %s (%.0f bytes)\n", options->name, human_size(size, (uint64_t)capacity->valuedouble),
		       capacity->valuedouble);
	cJSON_Delete(reply);
	return LAUNCH_EXIT_OK;
}

static int ask_only(const struct options *options, int fd, const char *command, int limit_ms, struct errors *errors)
{
	struct client_request request = {
		.command = command, .name = options->name, .level = options->level, .link = options->link};
	cJSON *reply = client_ask(fd, &request, limit_ms, errors);

	cJSON_Delete(reply);
	return reply ? LAUNCH_EXIT_OK : LAUNCH_EXIT_FAILED;
}

static int act(const struct options *options, int fd, struct errors *errors)
{
	switch (options->action) {
	case OPTIONS_STATUS:
		return show_status(options, fd, errors);
	case OPTIONS_LOGS:
		return show_log(options, fd, errors);
	case OPTIONS_RESIZE:
		return resize(options, fd, errors);
	case OPTIONS_CONSOLE:
		return client_console(options, fd, errors);
	case OPTIONS_RESTART:
		return ask_only(options, fd, "restart", LIMIT_LONG_MS, errors);
	case OPTIONS_STOP:
		return ask_only(options, fd, "stop", LIMIT_LONG_MS, errors);
	case OPTIONS_START:
		return ask_only(options, fd, "start", LIMIT_LONG_MS, errors);
	case OPTIONS_LOG_LEVEL:
		return ask_only(options, fd, "log-level", LIMIT_QUICK_MS, errors);
	case OPTIONS_LINK:
		return ask_only(options, fd, "link", LIMIT_QUICK_MS, errors);
	default:
		return LAUNCH_EXIT_USAGE;
	}
}

static void complain_connect(struct errors *errors, const char *run_dir, int error)
{
	if (error == -EACCES || error == -EPERM)
		errors_add(errors, "run folder %s: connect: %s; ask as root", run_dir, strerror(-error));
	else
		errors_add(errors,
			   "no hvisor-launch runs with run folder %s (connect: %s); start it with hvisor-launch "
			   "[options] virtio_cfg.json, or name its folder with --run",
			   run_dir, strerror(-error));
}

int client_main(const struct options *options, struct errors *errors)
{
	int fd = client_connect(options->launch.run_dir);
	int code = LAUNCH_EXIT_FAILED;

	if (fd >= 0) {
		code = act(options, fd, errors);
		close(fd);
	} else {
		if (options->action == OPTIONS_LOGS)
			code = show_old_log(options, errors);
		if (options->action == OPTIONS_CONSOLE && has_endpoint(options))
			code = client_console(options, -1, errors);
		if (code != LAUNCH_EXIT_OK && errors->count == 0)
			complain_connect(errors, options->launch.run_dir, fd);
	}
	if (code != LAUNCH_EXIT_OK && options->json)
		check_print_errors(errors, stdout);
	return code;
}
