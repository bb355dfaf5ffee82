/* SPDX-License-Identifier: MIT */
#include "tests/sim/work.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_ids.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "tests/sim/net_rig.h"
#include "tests/test.h"

#define LIMIT_MS 20000
#define BLOCK 4096u
#define BLOCKS 64u
#define RNG_LEN 32u
#define PIECE 700u /* of a console's stream; more than one page in some rounds */
#define FRAME 200u
#define NET_SEGMENTS                                                                                                   \
	(1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_USO4 |         \
	 1ull << VIRTIO_NET_F_GUEST_USO6 | 1ull << VIRTIO_NET_F_GUEST_UFO)

static const char *const names[] = {
	[CONFIG_BLK] = "blk0", [CONFIG_NET] = "net0", [CONFIG_CONSOLE] = "console0", [CONFIG_RNG] = "rng0"};

const char *work_keys(enum config_type type)
{
	static const char *const keys[] = {
		[CONFIG_BLK] = "\"type\": \"blk\", \"img\": \"disk.img\"",
		[CONFIG_NET] = "\"type\": \"net\", \"tap\": \"" WORK_TAP "\", \"mac\": [82, 84, 0, 18, 52, 86]",
		[CONFIG_CONSOLE] = "\"type\": \"console\"",
		[CONFIG_RNG] = "\"type\": \"rng\"",
	};

	return keys[type];
}

void work_init(struct work *work, struct rig *rig, enum config_type type, uint32_t index)
{
	*work = (struct work){.rig = rig, .type = type, .index = index, .cpu = index, .host = -1};
	strcpy(work->name, names[type]);
}

void work_finish(struct work *work)
{
	if (work->open)
		work_close(work);
	if (work->host >= 0)
		close(work->host);
	work->host = -1;
}

static int packet_socket(void)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(NET_RIG_TYPE)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0);
	address.sll_ifindex = (int)if_nametoindex(WORK_TAP);
	CHECK(address.sll_ifindex > 0);
	CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void work_meet(struct work *work)
{
	char path[400];

	if (work->host >= 0)
		close(work->host);
	work->host = -1;
	if (work->type == CONFIG_NET)
		work->host = packet_socket();
	if (work->type != CONFIG_CONSOLE)
		return;
	snprintf(path, sizeof(path), "%s/%s", work->rig->run_dir, work->name);
	work->host = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (work->host < 0)
		TEST_FAIL("%s: %s", path, strerror(errno));
}

static void rng_open(struct work *work, struct guest *guest)
{
	struct work_rng *rng = &work->rng;

	CHECK_INT(guest_dev_probe(&rng->dev, guest, rig_base(work->index), rig_irq(work->index), work->cpu), 0);
	CHECK_INT(rng->dev.device_id, VIRTIO_ID_RNG);
	CHECK_INT(guest_dev_negotiate(&rng->dev, work->cpu, ~0ull), 0);
	CHECK_INT(guest_vq_open(&rng->vq, &rng->dev, work->cpu, 0, 8, 0), 0);
	CHECK_INT(guest_dev_start(&rng->dev, work->cpu), 0);
	rng->area_gpa = guest_alloc(guest, WORK_BATCH * RNG_LEN);
	CHECK(rng->area_gpa);
}

static void watch(struct work *work, struct guest_dev *dev, struct guest_vq *a, struct guest_vq *b, struct guest_vq *c)
{
	work->dev = dev;
	work->queue[0] = a;
	work->queue[1] = b;
	work->queue[2] = c;
	work->nqueues = c ? 3 : b ? 2 : 1;
}

void work_open(struct work *work)
{
	const struct guest_blk_options blk = {
		.queue_size = 16, .depth = WORK_BATCH, .data_max = BLOCK, .cpu = work->cpu, .timeout_ms = LIMIT_MS};
	/* Frames of one buffer, so that few are enough. */
	const struct guest_net_options net = {.without = NET_SEGMENTS, .rx_buffers = 8};
	struct guest *guest = &work->rig->guest;
	uint64_t base = rig_base(work->index);
	uint32_t irq = rig_irq(work->index);

	work->irq_seen = 0;
	switch (work->type) {
	case CONFIG_BLK:
		CHECK_INT(guest_blk_open(&work->blk, guest, base, irq, &blk), 0);
		watch(work, &work->blk.dev, &work->blk.queue[0].vq, NULL, NULL);
		break;
	case CONFIG_NET:
		CHECK_INT(guest_net_open(&work->net, guest, base, irq, &net), 0);
		guest_net_fill(&work->net, 0, 0);
		watch(work, &work->net.dev, &work->net.pair[0].rx, &work->net.pair[0].tx, &work->net.ctrl);
		break;
	case CONFIG_CONSOLE:
		CHECK_INT(guest_console_open(&work->console, guest, base, irq, GUEST_CONSOLE_BUFFER, false), 0);
		watch(work, &work->console.dev, &work->console.port[0].rx, &work->console.port[0].tx, NULL);
		break;
	default:
		rng_open(work, guest);
		watch(work, &work->rng.dev, &work->rng.vq, NULL, NULL);
	}
	work->open = true;
}

void work_close(struct work *work)
{
	work->open = false;
	switch (work->type) {
	case CONFIG_BLK:
		guest_blk_close(&work->blk);
		break;
	case CONFIG_NET:
		guest_net_close(&work->net);
		break;
	case CONFIG_CONSOLE:
		guest_console_close(&work->console);
		break;
	default:
		CHECK_INT(guest_dev_reset(&work->rng.dev, work->cpu), 0);
		guest_vq_close(&work->rng.vq);
		guest_free(work->rng.dev.guest, work->rng.area_gpa, WORK_BATCH * RNG_LEN);
	}
}

/* Sleeps until the device interrupts, as a driver does whose queues are empty. */
static void await_interrupt(struct work *work, const char *what)
{
	uint32_t i;

	for (i = 0; i < work->nqueues; i++) {
		if (guest_vq_interrupts(work->queue[i], true))
			return;
	}
	if (!guest_dev_wait(work->dev, work->cpu, &work->irq_seen, LIMIT_MS))
		TEST_FAIL("%s: no interrupt in %d s while %s", work->name, LIMIT_MS / 1000, what);
}

static void await_host(struct work *work, short events, const char *what)
{
	struct pollfd pfd = {.fd = work->host, .events = events};

	if (poll(&pfd, 1, LIMIT_MS) != 1)
		TEST_FAIL("%s: nothing in %d s: %s", work->name, LIMIT_MS / 1000, what);
}

/* blk */

static void block_fill(uint8_t *data, uint32_t block, uint32_t version)
{
	uint32_t i;

	for (i = 0; i < BLOCK; i++)
		data[i] = (uint8_t)(block * 37 + version * 101 + i * 3 + (i >> 8));
}

static void blk_add(struct work *work, uint32_t type, uint32_t block)
{
	struct guest_blk_request *request = guest_blk_get(&work->blk, 0);

	CHECK(request);
	request->type = type;
	request->user = block;
	request->sector = block * (BLOCK / GUEST_BLK_SECTOR);
	request->len = type == VIRTIO_BLK_T_FLUSH ? 0 : BLOCK;
	if (type == VIRTIO_BLK_T_OUT)
		block_fill(request->data, block, work->round);
	else
		memset(request->data, 0xa5, BLOCK);
	CHECK_INT(guest_blk_submit(&work->blk, request), 0);
}

static void blk_finish(struct work *work, uint32_t n)
{
	struct guest_blk_request *request;
	uint8_t want[BLOCK];

	guest_blk_kick(&work->blk, 0);
	while (n > 0) {
		request = guest_blk_reap(&work->blk, 0);
		if (!request) {
			await_interrupt(work, "a disk's requests are to come back");
			continue;
		}
		CHECK_INT(request->error, 0);
		if (request->type == VIRTIO_BLK_T_IN) {
			block_fill(want, (uint32_t)request->user, work->round);
			CHECK_MEM(request->data, want, BLOCK);
		}
		guest_blk_put(&work->blk, request);
		n--;
	}
	CHECK(!guest_blk_reap(&work->blk, 0));
}

static void blk_do(struct work *work)
{
	uint32_t block = work->round * 3 % BLOCKS;
	uint32_t i;

	for (i = 0; i < WORK_BATCH - 1; i++)
		blk_add(work, VIRTIO_BLK_T_OUT, (block + i) % BLOCKS);
	blk_add(work, VIRTIO_BLK_T_FLUSH, 0);
	blk_finish(work, WORK_BATCH);
	for (i = 0; i < WORK_BATCH - 1; i++)
		blk_add(work, VIRTIO_BLK_T_IN, (block + i) % BLOCKS);
	blk_finish(work, WORK_BATCH - 1);
}

/* rng */

static void rng_do(struct work *work)
{
	static const uint8_t none[RNG_LEN];
	struct guest_buffer buffer = {.len = RNG_LEN, .device_writes = true};
	struct work_rng *rng = &work->rng;
	bool done[WORK_BATCH] = {false};
	uint8_t *area = guest_at(rng->dev.guest, rng->area_gpa, WORK_BATCH * RNG_LEN);
	uint32_t left = WORK_BATCH;
	uint32_t len;
	uint32_t i;
	bool *token;

	memset(area, 0, WORK_BATCH * RNG_LEN);
	for (i = 0; i < WORK_BATCH; i++) {
		buffer.gpa = rng->area_gpa + i * RNG_LEN;
		CHECK(guest_vq_add(&rng->vq, &buffer, 1, &done[i]) >= 0);
	}
	guest_vq_kick(&rng->vq, work->cpu);
	while (left > 0) {
		token = guest_vq_get(&rng->vq, &len);
		if (!token) {
			await_interrupt(work, "buffers are to be filled");
			continue;
		}
		CHECK(!*token);
		CHECK_INT(len, RNG_LEN);
		*token = true;
		left--;
	}
	for (i = 0; i < WORK_BATCH; i++)
		CHECK(memcmp(area + i * RNG_LEN, none, RNG_LEN) != 0);
	CHECK(!guest_vq_get(&rng->vq, NULL));
}

/* console */

static void stream_fill(uint8_t *bytes, uint32_t len, uint32_t round, uint32_t way)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(round * 13 + way * 111 + i * 7 + (i >> 8));
}

/* The next len bytes of the output are these, and there are no more. */
static void console_take(struct work *work, const uint8_t *want, uint32_t len)
{
	uint8_t got[WORK_BATCH * PIECE];
	uint32_t at = 0;
	ssize_t n;

	while (at < len) {
		await_host(work, POLLIN, "a console's output is to come");
		n = read(work->host, got + at, sizeof(got) - at);
		CHECK(n > 0 || (n < 0 && errno == EAGAIN));
		at += n > 0 ? (uint32_t)n : 0;
	}
	CHECK_INT(at, len);
	CHECK_MEM(got, want, len);
}

static void console_output(struct work *work)
{
	uint8_t bytes[WORK_BATCH * PIECE];
	uint32_t i;

	stream_fill(bytes, sizeof(bytes), work->round, 0);
	for (i = 0; i < WORK_BATCH; i++)
		CHECK(guest_console_send(&work->console, 0, bytes + i * PIECE, PIECE));
	console_take(work, bytes, sizeof(bytes));
	while (!guest_console_sent(&work->console, 0))
		await_interrupt(work, "a console's output is to be taken");
}

static void console_input(struct work *work)
{
	uint8_t bytes[WORK_BATCH * PIECE];
	uint8_t got[GUEST_CONSOLE_BUFFER * 2];
	uint32_t given = 0;
	uint32_t at = 0;
	uint32_t len;
	ssize_t n;

	stream_fill(bytes, sizeof(bytes), work->round, 1);
	while (at < sizeof(bytes)) {
		n = given < sizeof(bytes) ? write(work->host, bytes + given, sizeof(bytes) - given) : 0;
		given += n > 0 ? (uint32_t)n : 0;
		len = guest_console_receive(&work->console, 0, got + at);
		at += len;
		CHECK(at <= sizeof(bytes));
		if (len == 0)
			await_interrupt(work, "a console's input is to come");
	}
	CHECK_MEM(got, bytes, sizeof(bytes));
	CHECK_INT(guest_console_receive(&work->console, 0, got), 0);
}

static void console_character(struct work *work)
{
	uint32_t word = 'a' + work->round % 26;
	uint8_t want = (uint8_t)word;

	guest_dev_config_write(&work->console.dev, work->cpu, offsetof(struct virtio_console_config, emerg_wr), &word,
			       sizeof(word));
	console_take(work, &want, 1);
}

/* The driver sees one size or the other, and never half of each. */
static void console_resize(struct work *work)
{
	static const struct winsize size[2] = {{.ws_col = 0x0102, .ws_row = 0x0203},
					       {.ws_col = 0x0301, .ws_row = 0x0102}};
	const struct winsize *want = &size[work->round % 2];
	const struct winsize *other = &size[(work->round + 1) % 2];
	uint16_t is[2];

	CHECK_INT(ioctl(work->host, TIOCSWINSZ, want), 0);
	for (;;) {
		guest_dev_config(&work->console.dev, work->cpu, offsetof(struct virtio_console_config, cols), is,
				 sizeof(is));
		if (is[0] == want->ws_col && is[1] == want->ws_row)
			return;
		/* A new terminal is of the size that the configuration has. */
		if ((is[0] != other->ws_col || is[1] != other->ws_row) && (is[0] != 80 || is[1] != 24))
			TEST_FAIL("a window of %u columns and %u rows", is[0], is[1]);
		await_interrupt(work, "a window's size is to be told");
	}
}

static void console_do(struct work *work)
{
	console_output(work);
	console_input(work);
	console_character(work);
	console_resize(work);
}

/* net */

static void net_host_take(struct work *work, uint32_t *next)
{
	uint8_t frame[FRAME * 2];
	int64_t number;
	ssize_t n;

	while ((n = recv(work->host, frame, sizeof(frame), 0)) > 0) {
		number = net_rig_number(frame, (uint32_t)n);
		CHECK(number >= 0 && number < work->tx_next);
		if (number < *next)
			TEST_FAIL("frame %lld of the guest's came after %u", (long long)number, *next - 1);
		work->tx_lost += (uint64_t)number - *next;
		*next = (uint32_t)number + 1;
	}
}

/* A batch; what was lost of it is known when the device has taken them all: it gives them to the tap before. */
static void net_output(struct work *work)
{
	uint32_t next = work->tx_next;
	uint8_t frame[FRAME];
	uint32_t done = 0;
	uint32_t i;

	for (i = 0; i < WORK_BATCH; i++) {
		net_rig_frame(frame, FRAME, net_rig_host_mac, net_rig_mac, work->tx_next++);
		CHECK(guest_net_send(&work->net, 0, NULL, frame, FRAME));
	}
	guest_net_kick(&work->net, 0);
	while (done < WORK_BATCH) {
		i = guest_net_sent(&work->net, 0);
		done += i;
		if (i == 0)
			await_interrupt(work, "frames are to be sent");
	}
	CHECK_INT(done, WORK_BATCH);
	net_host_take(work, &next);
	work->tx_lost += work->tx_next - next;
}

/* What is sent while no backend is there, or just before, may be lost: sent on until one has come that was sent last.
 */
static void net_input(struct work *work)
{
	uint64_t end = test_now_ns() + LIMIT_MS * 1000000ull;
	struct virtio_net_hdr_v1 header;
	static uint8_t frame[GUEST_NET_FRAME_MAX];
	uint32_t next = work->rx_next;
	uint32_t i;
	int n;

	do {
		for (i = 0; i < WORK_BATCH; i++) {
			net_rig_frame(frame, FRAME, net_rig_mac, net_rig_host_mac, work->rx_next++);
			(void)!send(work->host, frame, FRAME, 0);
		}
		guest_dev_wait(work->dev, work->cpu, &work->irq_seen, 20);
		while ((n = guest_net_receive(&work->net, 0, &header, frame, NULL)) >= 0) {
			int64_t number = net_rig_number(frame, (uint32_t)n);

			CHECK(number < work->rx_next);
			if (number < next)
				TEST_FAIL("frame %lld for the guest came after %u", (long long)number, next - 1);
			work->rx_lost += (uint64_t)number - next;
			next = (uint32_t)number + 1;
		}
		guest_net_fill(&work->net, 0, 0);
		if (test_now_ns() > end)
			TEST_FAIL("%s: frames for the guest do not come", work->name);
	} while (next != work->rx_next);
}

static void net_do(struct work *work)
{
	uint8_t on = work->round % 2;

	CHECK_INT(guest_net_control(&work->net, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), VIRTIO_NET_OK);
	net_output(work);
	net_input(work);
}

void work_do(struct work *work)
{
	work->round++;
	switch (work->type) {
	case CONFIG_BLK:
		blk_do(work);
		break;
	case CONFIG_NET:
		net_do(work);
		break;
	case CONFIG_CONSOLE:
		console_do(work);
		break;
	default:
		rng_do(work);
	}
}
