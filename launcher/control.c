/* SPDX-License-Identifier: MIT */
#include "launcher/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/console.h"
#include "launcher/console.h"
#include "launcher/control_server.h"

#define CLIENTS_MAX 32u
#define LOOK_NS 1000000u /* between two looks whether a backend has done what it was told in its region */
#define LOOK_LIMIT_NS 5000000000u

/* How long a client may take to finish a request or to take a reply. Nobody is cut short while it waits for us. */
#define CLIENT_BUSY_NS (30 * 1000000000ull)
/* How long one may say nothing, to see the launcher end. */
#define CLIENT_IDLE_NS (86400 * 1000000000ull)

enum client_wait {
	WAIT_NOTHING,
	WAIT_RUNNING, /* until the devices run */
	WAIT_STOPPED,
	WAIT_RESIZED,
	WAIT_LINK,
	WAIT_END, /* of the launcher */
};

struct control_client {
	struct control *control;
	struct control_client *next;
	struct loop_source source;
	struct loop_timer limit;
	enum client_wait wait;
	struct device *device; /* that it waits for; NULL: all */
	struct loop_timer look; /* for WAIT_RESIZED and WAIT_LINK: the next look at what the backend has done */
	uint64_t look_until_ns;
	uint64_t capacity;
	char *reply; /* being sent */
	int reply_fd; /* goes with its first byte; -1: none */
	size_t reply_len;
	size_t sent;
	bool last; /* close when the reply is sent */
	bool silent; /* it has said all that it will */
	size_t len;
	char request[CONTROL_REQUEST_MAX];
};

static void client_close(struct control_client *client)
{
	struct control *control = client->control;
	struct control_client **at = &control->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	control->nclients--;
	close(loop_remove(control->supervisor->loop, &client->source));
	loop_clear_timer(control->supervisor->loop, &client->limit);
	loop_clear_timer(control->supervisor->loop, &client->look);
	if (client->reply_fd >= 0)
		close(client->reply_fd);
	free(client->reply);
	free(client);
}

static void handle_limit(struct loop_timer *timer)
{
	client_close(loop_container(timer, struct control_client, limit));
}

static void handle_look(struct loop_timer *timer)
{
	control_answer(loop_container(timer, struct control_client, look)->control);
}

/* What the client has to do next, and until when: take a reply, or else say something; nothing while it waits. */
static void client_expect(struct control_client *client)
{
	struct loop *loop = client->control->supervisor->loop;
	uint32_t events = client->reply ? EPOLLOUT : client->wait || client->silent ? 0 : EPOLLIN;

	loop_change(loop, &client->source, events);
	if (events)
		loop_set_timer(loop, &client->limit,
			       loop_now_ns() + (client->reply || client->len ? CLIENT_BUSY_NS : CLIENT_IDLE_NS));
	else
		loop_clear_timer(loop, &client->limit);
}

static ssize_t client_send_some(struct control_client *client)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {client->reply + client->sent, client->reply_len - client->sent};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (client->reply_fd >= 0) {
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &client->reply_fd, sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	return sendmsg(client->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Sends what the socket takes. False: the client is gone. */
static bool client_send(struct control_client *client)
{
	ssize_t n = client_send_some(client);

	if (n > 0 && client->reply_fd >= 0) {
		close(client->reply_fd);
		client->reply_fd = -1;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	client->sent += n > 0 ? (size_t)n : 0;
	if (client->sent < client->reply_len)
		return true;
	free(client->reply);
	client->reply = NULL;
	return !client->last;
}

/* Takes reply. */
static void client_reply(struct control_client *client, cJSON *reply)
{
	static const char no_memory[] = "{\"ok\":false,\"error\":\"the launcher has no memory\"}";
	char *text = reply ? cJSON_PrintUnformatted(reply) : NULL;

	cJSON_Delete(reply);
	if (!text)
		text = strdup(no_memory);
	if (!text) {
		client->last = true;
		return;
	}
	client->reply = text;
	client->reply_len = strlen(text) + 1;
	text[client->reply_len - 1] = '\n'; /* in the place of the terminator, which is not needed any more */
	client->sent = 0;
}

static cJSON *error_reply(const char *format, ...) __attribute__((format(printf, 1, 2)));

static cJSON *error_reply(const char *format, ...)
{
	cJSON *reply = cJSON_CreateObject();
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cJSON_AddFalseToObject(reply, "ok");
	cJSON_AddStringToObject(reply, "error", text);
	return reply;
}

static cJSON *ok_reply(void)
{
	cJSON *reply = cJSON_CreateObject();

	cJSON_AddTrueToObject(reply, "ok");
	return reply;
}

static cJSON *unknown_name_reply(const struct supervisor *supervisor, const char *name)
{
	cJSON *reply = error_reply("there is no device %s", name);
	cJSON *names = cJSON_AddArrayToObject(reply, "names");
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(supervisor->device[i].config->name));
	return reply;
}

/* What has become of a device that somebody asked for; NULL if that is what was wanted. */
static cJSON *outcome_reply(const struct device *device, enum client_wait wait)
{
	if (wait != WAIT_RUNNING || device->state == DEVICE_RUNNING)
		return NULL;
	return error_reply("%s is %s%s%s", device->config->name, device_state_name(device->state),
			   device->reason[0] ? ": " : "", device->reason);
}

static bool backend_has_done(const struct device *device, enum client_wait wait)
{
	const struct queue_region *view = device->view;

	if (wait == WAIT_LINK)
		return device_link_seen(device);
	return core_load_acquire(&view->device.resize_ack) == core_load(&view->control.resize_seq);
}

/* The backend shows in its region what it has done, and nobody says when it has not: we look again. */
static bool look_over(struct control_client *client, cJSON **reply)
{
	const struct device *device = client->device;
	uint64_t now = loop_now_ns();
	bool serves = !device_settled(device) || device->state == DEVICE_RUNNING;

	if (serves && !backend_has_done(device, client->wait)) {
		if (now < client->look_until_ns) {
			loop_set_timer(client->control->supervisor->loop, &client->look, now + LOOK_NS);
			return false;
		}
		*reply = error_reply("%s: its backend does not look at the new %s", device->config->name,
				     client->wait == WAIT_LINK ? "state of the link" : "size");
		return true;
	}
	*reply = ok_reply();
	if (client->wait == WAIT_RESIZED)
		cJSON_AddNumberToObject(*reply, "capacity", (double)client->capacity);
	return true;
}

/* Has what the client waits for come about? Then *reply is the answer. */
static bool wait_over(struct control_client *client, cJSON **reply)
{
	struct supervisor *supervisor = client->control->supervisor;
	const struct device *device;
	uint32_t i;

	*reply = NULL;
	if (client->wait == WAIT_RESIZED || client->wait == WAIT_LINK)
		return look_over(client, reply);
	for (i = 0; i < supervisor->ndevices; i++) {
		device = &supervisor->device[i];
		if (client->device && client->device != device)
			continue;
		if (client->wait == WAIT_END ? device->child.pid != 0 : !device_settled(device)) {
			cJSON_Delete(*reply);
			return false;
		}
		/* Of all devices, those that were stopped stay so. */
		if (!*reply && (client->device || device->state != DEVICE_STOPPED))
			*reply = outcome_reply(device, client->wait);
	}
	if (!*reply)
		*reply = ok_reply();
	return true;
}

static void request_devices(struct control_client *client, enum device_request request, enum client_wait wait)
{
	struct supervisor *supervisor = client->control->supervisor;
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++) {
		struct device *device = &supervisor->device[i];

		if (client->device ? client->device == device : device->state != DEVICE_STOPPED)
			device_request(device, request);
	}
	client->wait = wait;
}

/* The commands: each returns its reply, or NULL if that is to come when what the client waits for has come about. */

static cJSON *command_status(struct control_client *client, const cJSON *request)
{
	(void)request;
	return control_status(client->control, client->device);
}

static cJSON *command_start(struct control_client *client, const cJSON *request)
{
	(void)request;
	request_devices(client, DEVICE_START, WAIT_RUNNING);
	return NULL;
}

static cJSON *command_restart(struct control_client *client, const cJSON *request)
{
	(void)request;
	request_devices(client, DEVICE_RESTART, WAIT_RUNNING);
	return NULL;
}

static cJSON *command_stop(struct control_client *client, const cJSON *request)
{
	(void)request;
	if (client->device) {
		request_devices(client, DEVICE_STOP, WAIT_STOPPED);
	} else {
		client->control->end(client->control->end_arg);
		client->wait = WAIT_END;
	}
	return NULL;
}

static cJSON *command_log_level(struct control_client *client, const cJSON *request)
{
	const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "level"));
	enum log_level level;
	int error;

	for (level = LOG_ERROR; word && level <= LOG_DEBUG; level++) {
		if (strcmp(word, logfile_level_name(level)) != 0)
			continue;
		error = device_set_log_level(client->device, level);
		if (error)
			return error_reply("%s: its backend cannot be told: %s", client->device->config->name,
					   strerror(-error));
		return ok_reply();
	}
	return error_reply("\"level\" must be error, warning, info or debug");
}

/* The backend was told, or not, with result; finishes errors. */
static cJSON *await_backend(struct control_client *client, enum client_wait wait, int result, struct errors *errors)
{
	cJSON *reply = NULL;

	if (result == 0) {
		client->wait = wait;
		client->look_until_ns = loop_now_ns() + LOOK_LIMIT_NS;
	} else {
		reply = error_reply("%s", errors->line && errors->line[0] ? errors->line[0] : "no memory");
	}
	errors_finish(errors);
	return reply;
}

static cJSON *command_resize(struct control_client *client, const cJSON *request)
{
	struct errors errors;

	(void)request;
	errors_init(&errors);
	return await_backend(client, WAIT_RESIZED, device_resize(client->device, &client->capacity, &errors), &errors);
}

static cJSON *command_link(struct control_client *client, const cJSON *request)
{
	const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "link"));
	struct errors errors;
	bool up = word && strcmp(word, CONTROL_LINK_UP) == 0;

	if (!up && (!word || strcmp(word, CONTROL_LINK_DOWN) != 0))
		return error_reply("\"link\" must be up or down");
	errors_init(&errors);
	return await_backend(client, WAIT_LINK, device_set_link(client->device, up, &errors), &errors);
}

/* "console0.1": the device, and the number of its port; NULL for a name without a port. */
static struct device *find_port(struct supervisor *supervisor, const char *name, uint32_t *port)
{
	const char *dot = strchr(name, '.');
	char device[HVISOR_NAME_MAX];
	char *end;

	*port = 0;
	if (!dot)
		return supervisor_find(supervisor, name);
	if (dot - name >= HVISOR_NAME_MAX || dot[1] < '1' || dot[1] > '9')
		return NULL;
	snprintf(device, sizeof(device), "%.*s", (int)(dot - name), name);
	*port = (uint32_t)strtoul(dot + 1, &end, 10);
	return *end ? NULL : supervisor_find(supervisor, device);
}

/* To read only, and with an offset of its own. */
static int open_memory(const struct device *device)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", device->kept.file[CONSOLE_PLACE_MEMORY]);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static cJSON *command_console(struct control_client *client, const cJSON *request)
{
	struct supervisor *supervisor = client->control->supervisor;
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "name"));
	uint32_t number;
	const struct device *device = find_port(supervisor, name, &number);
	cJSON *reply;

	if (!device)
		return unknown_name_reply(supervisor, name);
	if (device->config->type != CONFIG_CONSOLE)
		return error_reply("%s is no console, but a %s device", name, config_type_name(device->config->type));
	if (number >= device->config->console.nports)
		return error_reply("%s has %u port%s, from %s on", device->config->name, device->config->console.nports,
				   device->config->console.nports == 1 ? "" : "s", device->config->name);
	client->reply_fd = open_memory(device);
	if (client->reply_fd < 0)
		return error_reply("%s has not been served yet; it is %s", name, device_state_name(device->state));
	reply = ok_reply();
	control_add_port(reply, device, number);
	cJSON_AddNumberToObject(reply, "port", number);
	return reply;
}

enum command_name {
	NAME_NEEDED,
	NAME_OR_ALL,
	NAME_OPTIONAL, /* without one: all */
	NAME_OF_PORT, /* the command looks it up */
};

static const struct command {
	const char *word;
	enum command_name name;
	cJSON *(*run)(struct control_client *client, const cJSON *request);
} commands[] = {
	{"status", NAME_OPTIONAL, command_status},     {"restart", NAME_OR_ALL, command_restart},
	{"stop", NAME_OPTIONAL, command_stop},         {"start", NAME_NEEDED, command_start},
	{"log-level", NAME_NEEDED, command_log_level}, {"resize", NAME_NEEDED, command_resize},
	{"link", NAME_NEEDED, command_link},           {"console", NAME_OF_PORT, command_console},
};

static const struct command *find_command(const char *word)
{
	size_t i;

	for (i = 0; word && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(word, commands[i].word) == 0)
			return &commands[i];
	}
	return NULL;
}

static cJSON *client_do(struct control_client *client, const cJSON *request)
{
	const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "command"));
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(request, "name");
	const struct command *command = find_command(word);
	const char *name = cJSON_GetStringValue(item);

	client->device = NULL;
	if (!command)
		return error_reply(
			"\"command\" must be status, restart, stop, start, log-level, resize, link or console");
	if (item ? !name : command->name != NAME_OPTIONAL)
		return error_reply("%s needs the name of a device: \"name\"", command->word);
	if (name && command->name != NAME_OF_PORT &&
	    !(command->name == NAME_OR_ALL && strcmp(name, CONTROL_NAME_ALL) == 0)) {
		client->device = supervisor_find(client->control->supervisor, name);
		if (!client->device)
			return unknown_name_reply(client->control->supervisor, name);
	}
	return command->run(client, request);
}

/* One line without its newline. */
static void client_request(struct control_client *client, const char *line, size_t len)
{
	cJSON *request = cJSON_ParseWithLength(line, len);
	cJSON *reply;

	if (cJSON_IsObject(request))
		reply = client_do(client, request);
	else
		reply = error_reply("a request is one JSON object a line");
	cJSON_Delete(request);
	if (reply || (client->wait && wait_over(client, &reply))) {
		client->wait = WAIT_NOTHING;
		client_reply(client, reply);
	}
}

/* Handles one complete line of those that have come, unless an earlier one is not answered yet. */
static bool client_next_request(struct control_client *client)
{
	const char *end = memchr(client->request, '\n', client->len);
	size_t n;

	if (client->reply || client->wait || client->last)
		return false;
	if (!end) {
		if (client->len < sizeof(client->request))
			return false;
		client->last = true;
		client_reply(client, error_reply("a request has at most %d bytes", CONTROL_REQUEST_MAX));
		return true;
	}
	n = (size_t)(end - client->request);
	client_request(client, client->request, n);
	client->len -= n + 1;
	memmove(client->request, end + 1, client->len);
	return true;
}

/* Requests and replies in turn, until the client or a device has to do something. False: the client is gone. */
static bool client_go_on(struct control_client *client)
{
	do {
		if (client->reply && !client_send(client))
			return false;
	} while (client_next_request(client));
	client_expect(client);
	return client->reply || client->wait || !(client->last || client->silent);
}

static bool client_receive(struct control_client *client)
{
	size_t room = sizeof(client->request) - client->len;
	ssize_t n;

	if (room == 0)
		return true;
	n = recv(client->source.fd, client->request + client->len, room, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->len += (size_t)n;
	client->silent = n == 0;
	return true;
}

static void handle_client(struct loop_source *source, uint32_t events)
{
	struct control_client *client = loop_container(source, struct control_client, source);
	bool there = true;

	if (events & EPOLLIN)
		there = client_receive(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		there = false;
	if (!there || !client_go_on(client))
		client_close(client);
}

static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

/* Nobody can keep others out by connecting: the one whose time is up first makes room. */
static void drop_most_idle(struct control *control)
{
	struct control_client *client;
	struct control_client *idle = NULL;

	for (client = control->clients; client; client = client->next) {
		if (client->limit.set && (!idle || client->limit.due_ns < idle->limit.due_ns))
			idle = client;
	}
	if (idle)
		client_close(idle);
}

static void handle_listen(struct loop_source *source, uint32_t events)
{
	struct control *control = loop_container(source, struct control, listen);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct control_client *client;

	(void)events;
	if (fd < 0)
		return;
	if (control->nclients == CLIENTS_MAX)
		drop_most_idle(control);
	client = control->nclients < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	client->control = control;
	client->reply_fd = -1;
	client->source.handle = handle_client;
	client->limit.handle = handle_limit;
	client->look.handle = handle_look;
	if (loop_add(control->supervisor->loop, &client->source, fd, EPOLLIN) != 0) {
		close(fd);
		free(client);
		return;
	}
	client->next = control->clients;
	control->clients = client;
	control->nclients++;
	if (!peer_allowed(fd)) {
		client->last = true;
		client_reply(client, error_reply("only root and user %u may control this launcher", geteuid()));
	}
	if (!client_go_on(client))
		client_close(client);
}

static struct control_client *find_answered(struct control *control, cJSON **reply)
{
	struct control_client *client;

	for (client = control->clients; client; client = client->next) {
		if (client->wait && wait_over(client, reply))
			return client;
	}
	return NULL;
}

void control_answer(struct control *control)
{
	struct control_client *client;
	cJSON *reply;

	/* From the beginning each time: its next request may change anything. */
	while ((client = find_answered(control, &reply))) {
		client->wait = WAIT_NOTHING;
		client_reply(client, reply);
		if (!client_go_on(client))
			client_close(client);
	}
}

static void handle_changed(struct loop_timer *timer)
{
	control_answer(loop_container(timer, struct control, changed));
}

void control_changed(struct control *control)
{
	loop_set_timer(control->supervisor->loop, &control->changed, loop_now_ns());
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The run folder's lock is ours, so this is a dead launcher's. The folder lets nobody else in meanwhile. */
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && chmod(path, 0600) == 0 &&
	    listen(fd, (int)CLIENTS_MAX) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

int control_open(struct control *control, struct errors *errors)
{
	int error;
	int fd;

	control->listen.fd = -1;
	control->listen.handle = handle_listen;
	control->changed.handle = handle_changed;
	control->began_ns = loop_now_ns();
	if (asprintf(&control->path, "%s/%s", control->supervisor->run->path, CONTROL_SOCKET) < 0)
		control->path = NULL;
	fd = control->path ? listen_at(control->path) : -ENOMEM;
	error = fd < 0 ? fd : loop_add(control->supervisor->loop, &control->listen, fd, EPOLLIN);
	if (error == 0)
		return 0;
	if (fd >= 0)
		close(fd);
	errors_add(errors, "cannot listen on %s/%s: %s", control->supervisor->run->path, CONTROL_SOCKET,
		   strerror(-error));
	return -1;
}

void control_stop_listening(struct control *control)
{
	if (control->listen.fd < 0)
		return;
	close(loop_remove(control->supervisor->loop, &control->listen));
	unlink(control->path);
}

void control_close(struct control *control)
{
	control_stop_listening(control);
	while (control->clients)
		client_close(control->clients);
	if (control->supervisor)
		loop_clear_timer(control->supervisor->loop, &control->changed);
	free(control->path);
	control->path = NULL;
}
