/* SPDX-License-Identifier: MIT */
/*
 * The control protocol: the launcher's server among clients that keep to nothing, and the client before a launcher that
 * does not. The server has devices of each type in all states, whose regions belong to backends that write what they
 * want; as its supervisor is ending, no process is started. Each line that a client sends is answered by one line at
 * most, which is a reply.
 */
#include <stdio.h>
#include <sys/socket.h>

static int next_client = -1; /* who connects next */
static FILE *nothing;
static char image[32]; /* of the block device */

static int client_accept(int fd, void *address, void *len, int flags)
{
	int client = next_client;

	(void)fd;
	(void)address;
	(void)len;
	(void)flags;
	next_client = -1;
	return client;
}

#define accept4 client_accept
#include "launcher/control.c"
#undef accept4

#include <sys/mman.h>

#include "launcher/client.h"
#include "launcher/device.h"
#include "tests/fuzz/input.h"

#define ENDS 4u
#define DEVICES 4u

/* A client: our end of its connection. */
struct end {
	int fd; /* -1: there is none */
	uint32_t lines; /* sent and not answered */
	bool too_long; /* it may be told so once */
	size_t unended; /* bytes behind the last line */
	bool garbled; /* not every line was a request */
};

struct launcher {
	struct launch_options options;
	struct config config;
	struct loop loop;
	struct hv hv;
	struct rundir run;
	struct logfile log;
	struct supervisor supervisor;
	struct device device[DEVICES];
	struct device_program program[DEVICES];
	struct control control;
	struct end end[ENDS];
};

static uint8_t hv_answers[sizeof(struct hvisor_device_get)]; /* anything, as hvisor's side sees backends' bytes too */
static int hv_error;

/* Those of launcher/hv.c, which is not linked then. */
int hv_call(struct hv *hv, unsigned long cmd, void *argument)
{
	struct hvisor_device_get *get = argument;
	uint32_t id;

	(void)hv;
	if (cmd == HVISOR_DEVICE_GET && !hv_error) {
		id = get->id;
		memcpy(get, hv_answers, sizeof(*get));
		get->id = id;
	}
	return hv_error;
}

int hv_event(struct hv *hv, struct hvisor_event_next *event)
{
	(void)hv;
	(void)event;
	return 0;
}

static void config_make(struct config *config)
{
	static const enum config_type types[DEVICES] = {CONFIG_BLK, CONFIG_NET, CONFIG_CONSOLE, CONFIG_CONSOLE};
	static const char *const names[DEVICES] = {"blk0", "net0", "console0", "console1"};
	static struct config_device devices[DEVICES];
	uint32_t i;

	memset(devices, 0, sizeof(devices));
	for (i = 0; i < DEVICES; i++) {
		devices[i].type = types[i];
		snprintf(devices[i].name, sizeof(devices[i].name), "%s", names[i]);
	}
	devices[0].blk.img = image;
	devices[0].blk.logical_block_size = 512;
	devices[0].blk.queue_size = 256;
	devices[2].console.nports = 1;
	devices[3].console.nports = 3;
	config->device = devices;
	config->ndevices = DEVICES;
	config->path = "fuzzed.json";
}

static void launcher_init(struct launcher *l)
{
	uint32_t i;

	memset(l, 0, sizeof(*l));
	config_make(&l->config);
	INPUT_CHECK(loop_init(&l->loop) == 0);
	l->run = (struct rundir){.path = (char *)(uintptr_t) "/nowhere", .lock_fd = -1};
	l->log.fd = -1;
	l->supervisor = (struct supervisor){
		.options = &l->options,
		.config = &l->config,
		.loop = &l->loop,
		.hv = &l->hv,
		.run = &l->run,
		.log = &l->log,
		.ndevices = DEVICES,
		.device = l->device,
		.ending = true,
	};
	for (i = 0; i < DEVICES; i++) {
		struct device *device = &l->device[i];

		l->program[i] =
			(struct device_program){.type = devtype_find(l->config.device[i].type), .fd = -1, .policy = -1};
		*device = (struct device){.supervisor = &l->supervisor,
					  .config = &l->config.device[i],
					  .program = &l->program[i],
					  .log.fd = -1,
					  .made = true,
					  .child = {.pid_fd = -1, .report_fd = -1}};
		memset(device->kept.file, -1, sizeof(device->kept.file));
		device_supervise(device);
		device->view = calloc(1, sizeof(*device->view));
		INPUT_CHECK(device->view != NULL);
	}
	l->control.supervisor = &l->supervisor;
	l->control.listen.fd = -1;
	l->control.listen.handle = handle_listen;
	l->control.changed.handle = handle_changed;
	for (i = 0; i < ENDS; i++)
		l->end[i].fd = -1;
}

static void launcher_ends(void *arg)
{
	(void)arg;
}

static void launcher_finish(struct launcher *l)
{
	uint32_t i;

	control_close(&l->control);
	INPUT_CHECK(l->control.nclients == 0);
	for (i = 0; i < DEVICES; i++) {
		loop_clear_timer(&l->loop, &l->device[i].timer);
		free(l->device[i].view);
	}
	for (i = 0; i < ENDS; i++) {
		if (l->end[i].fd >= 0)
			close(l->end[i].fd);
	}
	INPUT_CHECK(l->loop.timers == NULL);
	loop_finish(&l->loop);
}

/* What the loop has to do now. */
static void launcher_turn(struct launcher *l)
{
	struct epoll_event event;
	struct loop_source *source;
	uint32_t n;

	for (n = 0; n < 64 && epoll_wait(l->loop.fd, &event, 1, 0) > 0; n++) {
		source = event.data.ptr;
		source->handle(source, event.events);
	}
	control_answer(&l->control);
	INPUT_CHECK(l->control.nclients <= CLIENTS_MAX);
}

static void end_open(struct launcher *l, struct end *end)
{
	int fd[2];

	if (end->fd >= 0)
		close(end->fd);
	INPUT_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
	*end = (struct end){.fd = fd[0]};
	next_client = fd[1];
	handle_listen(&l->control.listen, EPOLLIN);
}

static void end_send(struct end *end, const void *bytes, size_t len)
{
	const char *at = bytes;
	ssize_t n = end->fd >= 0 ? send(end->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
	ssize_t i;

	for (i = 0; i < n; i++) {
		end->unended++;
		if (end->unended >= CONTROL_REQUEST_MAX)
			end->too_long = true;
		if (at[i] == '\n') {
			end->lines++;
			end->unended = 0;
		}
	}
}

static void reply_check(const char *line, size_t len, bool garbled)
{
	cJSON *reply = cJSON_ParseWithLength(line, len);
	const cJSON *ok = cJSON_GetObjectItemCaseSensitive(reply, "ok");
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(reply, "error");

	INPUT_CHECK(cJSON_IsObject(reply) && cJSON_IsBool(ok));
	INPUT_CHECK(cJSON_IsTrue(ok) || cJSON_IsString(error));
	INPUT_CHECK(garbled || !error || !strstr(error->valuestring, "one JSON object a line"));
	cJSON_Delete(reply);
}

static void end_take(struct end *end)
{
	static char text[CONTROL_REPLY_MAX];
	const char *at = text;
	const char *newline;
	ssize_t n = end->fd >= 0 ? recv(end->fd, text, sizeof(text), MSG_DONTWAIT) : -1;
	size_t left = n > 0 ? (size_t)n : 0;

	/* A reply comes whole: it is shorter than what a socket holds. */
	while ((newline = left ? memchr(at, '\n', left) : NULL)) {
		reply_check(at, (size_t)(newline - at), end->garbled);
		INPUT_CHECK(end->lines > 0 || end->too_long);
		if (end->lines > 0)
			end->lines--;
		else
			end->too_long = false;
		left -= (size_t)(newline + 1 - at);
		at = newline + 1;
	}
	INPUT_CHECK(left == 0);
}

/* A request that is nearly one, with a word of the input's in some place. */
static void end_ask(struct end *end, struct input *input)
{
	static const char *const words[] = {"status",    "restart", "stop", "start",
					    "log-level", "resize",  "link", "console"};
	static const char *const names[] = {"blk0", "net0", "console0", "console1.2", "all", "console1.9", "blk9"};
	static const char *const values[] = {"down", "up", "debug", "error"};
	uint8_t kind = input_u8(input);
	uint8_t name = input_u8(input);
	const char *value = values[input_u8(input) % 4];
	char line[256];
	int len;

	if (name % 8 == 7)
		len = snprintf(line, sizeof(line), "{\"command\":\"%s\"}\n", words[kind & 7]);
	else
		len = snprintf(line, sizeof(line),
			       "{\"command\":\"%s\",\"name\":\"%s\",\"level\":\"%s\",\"link\":\"%s\"}\n",
			       words[kind & 7], names[name % 8], value, value);
	end_send(end, line, (size_t)len);
}

static char long_line[256 * 64];

static void server_step(struct launcher *l, struct input *input)
{
	uint8_t op = input_u8(input);
	struct end *end = &l->end[(op >> 4) % ENDS];
	struct device *device = &l->device[(op >> 4) % DEVICES];
	const uint8_t *bytes;
	size_t got;

	switch (op & 15) {
	case 0:
		end_open(l, end);
		break;
	case 1 ... 4:
		end_ask(end, input);
		break;
	case 5:
		bytes = input_block(input, input_u8(input), &got);
		end->garbled = true;
		end_send(end, bytes, got);
		if (op & 128)
			end_send(end, "\n", 1);
		break;
	case 6:
		end->garbled = true;
		end_send(end, long_line, input_u8(input) * 64u);
		break;
	case 7 ... 9:
		launcher_turn(l);
		break;
	case 10:
		end_take(end);
		break;
	case 11:
		if (end->fd >= 0)
			shutdown(end->fd, op & 128 ? SHUT_WR : SHUT_RDWR);
		break;
	case 12:
		device->state = input_u8(input) % DEVICE_STATES;
		device->child.pid = op & 128 ? getpid() : 0;
		control_answer(&l->control);
		break;
	case 13:
		bytes = input_block(input, 16, &got);
		memcpy((uint8_t *)&device->view->device + input_u8(input) % (sizeof(device->view->device) - 16), bytes,
		       got);
		memcpy(hv_answers + input_u8(input) % (sizeof(hv_answers) - 16), bytes, got);
		break;
	case 14:
		bytes = input_block(input, input_u8(input) % sizeof(device->last_exit), &got);
		memcpy(device->last_exit, bytes, got);
		memcpy(device->reason, bytes, got);
		hv_error = input_u8(input) & 1 ? -EIO : 0;
		break;
	default:
		if (end->fd >= 0)
			close(end->fd);
		end->fd = -1;
		break;
	}
}

static void server_run(struct input *input)
{
	static struct launcher l;

	launcher_init(&l);
	l.control.end = launcher_ends;
	hv_error = 0;
	end_open(&l, &l.end[0]);
	while (input->left > 0)
		server_step(&l, input);
	launcher_turn(&l);
	launcher_finish(&l);
}

/* Sends the answer, with descriptors as kind says, and ends. */
static void launcher_answers(int fd, uint8_t kind, const void *bytes, size_t len)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t nfds = kind >> 1 & 3;
	int fds[3] = {fd, fd, fd};

	if (nfds > 0) {
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(nfds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	(void)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (kind & 8)
		(void)send(fd, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}

/* The lowest descriptor that is free, which tells of one that was not closed. */
static int fd_free(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void client_run(struct input *input)
{
	static const struct client_request request = {.command = "status", .name = "blk0", .level = "debug"};
	uint8_t kind = input_u8(input);
	struct errors errors;
	int before, passed = -1;
	cJSON *reply;
	int fd[2];

	errors_init(&errors);
	INPUT_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	before = fd_free();
	launcher_answers(fd[1], kind, input->at, input->left);
	reply = client_ask_descriptor(fd[0], &request, 1000, kind & 64 ? NULL : &passed, &errors);
	INPUT_CHECK((reply == NULL) == (errors.count > 0));
	if (reply) {
		client_print_status(reply, kind & 128, nothing);
		cJSON_Delete(reply);
	}
	if (passed >= 0)
		close(passed);
	/* What is still in the socket is the kernel's. */
	INPUT_CHECK(fd_free() == before);
	close(fd[0]);
	close(fd[1]);
	errors_finish(&errors);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	(void)argc;
	(void)argv;
	memset(long_line, 'x', sizeof(long_line));
	nothing = fopen("/dev/null", "we");
	INPUT_CHECK(nothing != NULL && fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.at = data, .left = size};
	int before = fd_free();

	if (input_u8(&input) & 1)
		client_run(&input);
	else
		server_run(&input);
	INPUT_CHECK(fd_free() == before);
	return 0;
}
