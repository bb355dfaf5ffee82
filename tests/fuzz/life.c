/* SPDX-License-Identifier: MIT */
/* The driver's registers, the backend's birth and death, and the script that plays them. */
#include "tests/fuzz/life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/backend_loop.h"

#define CPU 1u
#define TURNS_TO_BE_QUIET 3
#define TURNS_TO_ANSWER 300
#define TURN_NS 1000000u
#define WAIT_MS 1000

void life_fd_put(int fd, int place)
{
	INPUT_CHECK(fd >= 0);
	if (fd == place)
		return;
	INPUT_CHECK(dup2(fd, place) == place);
	close(fd);
}

void life_init_process(void)
{
	int fd;

	for (fd = BACKEND_FD_KICK; fd < BACKEND_FD_END; fd++)
		life_fd_put(open("/dev/null", O_RDWR | O_CLOEXEC), fd);
	life_fd_put(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), BACKEND_FD_KICK);
	life_fd_put(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), BACKEND_FD_CALL);
	INPUT_CHECK(backend_loop_signals() == 0);
}

/* The backend */

static bool turn(struct life *life)
{
	struct backend *b = life->type->backend;
	uint32_t q;
	bool did;

	if (!life->running)
		return false;
	life->clock_ns += TURN_NS;
	b->now_ns = life->clock_ns;
	did = backend_loop_turn(b);
	for (q = 0; q < life->shape.nqueues; q++)
		life_queue_take(life, q);
	return did;
}

static void backend_start(struct life *life)
{
	static const uint64_t gpa[LIFE_SPANS] = {LIFE_RINGS_GPA, LIFE_DATA_GPA, LIFE_ODD_GPA};
	struct backend *b = life->type->backend;
	uint32_t i;

	vmmio_attach(&life->dev);
	memset(b, 0, sizeof(*b));
	b->ops = life->type->ops;
	strcpy(b->name, "fuzzed");
	b->region = life->region;
	INPUT_CHECK(region_open(b->region, (core_u32)life->region_block.size, &b->shape));
	region_config_recover(b->region);
	b->mem.nspans = LIFE_SPANS;
	for (i = 0; i < LIFE_SPANS; i++)
		b->mem.span[i] = (struct gmem_span){gpa[i], life->ram[i].size, life->ram[i].bytes};
	b->now_ns = life->clock_ns;
	life->type->begin(life);
	INPUT_CHECK(b->ops->start(b) == 0);
	life->running = true;
	backend_loop_start(b);
	if (life->clock_ns < b->now_ns)
		life->clock_ns = b->now_ns;
}

/* By SIGTERM, or killed between two turns. */
static void backend_end(struct life *life, bool killed)
{
	uint32_t q;

	if (!life->running)
		return;
	if (!killed)
		backend_loop_stop(life->type->backend);
	life->type->gone(life);
	for (q = 0; q < life->shape.nqueues; q++)
		life_queue_take(life, q);
	life_memory_check(life);
	life->running = false;
	vmmio_detach(&life->dev);
}

static void backend_restart(struct life *life)
{
	uint8_t how = input_u8(&life->input);
	uint32_t i;

	backend_end(life, how & 1);
	/* A hostile one leaves what it wants; what becomes of the chains in flight is its guest's bad luck. */
	for (i = 0; i < (how >> 4); i++) {
		life->wild = true;
		life_scribble(&life->input, life->region, life->region_block.size);
	}
	if (how & 2)
		return;
	backend_start(life);
}

/* The loop sleeps, and is woken at once. */
static void backend_sleep(struct life *life)
{
	uint64_t one = 1;

	if (!life->running)
		return;
	INPUT_CHECK(write(BACKEND_FD_KICK, &one, sizeof(one)) == sizeof(one));
	INPUT_CHECK(backend_loop_sleep(life->type->backend) == 0);
}

/* Waits for what the kernel does for the backend, as its loop would. */
static void backend_wait(struct life *life)
{
	struct backend *b = life->type->backend;
	struct pollfd fds[BACKEND_POLLFDS_MAX];
	uint32_t n = 0;

	if (b->ready_queues && b->ops->prepare_sleep && !b->ops->prepare_sleep(b, fds, &n) && n > 0)
		poll(fds, n, WAIT_MS);
}

/* Registers */

/* A write; it returns when the CPU would go on. */
static void driver_write(struct life *life, uint64_t offset, uint32_t size, uint64_t value)
{
	uint32_t effects = vmmio_write(&life->dev, offset, size, value, CPU);
	uint64_t one = 1;
	int turns;

	if (effects & VMMIO_KICK)
		INPUT_CHECK(write(BACKEND_FD_KICK, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
	if (!(effects & VMMIO_HOLD))
		return;
	INPUT_CHECK(life->running);
	for (turns = 0; vmmio_quiesced(&life->dev) != 1u << CPU; turns++) {
		INPUT_CHECK(turns < TURNS_TO_BE_QUIET);
		turn(life);
	}
}

static uint32_t driver_read(struct life *life, uint64_t offset)
{
	uint64_t value;

	vmmio_read(&life->dev, offset, 4, &value);
	return (uint32_t)value;
}

static void driver_reset(struct life *life)
{
	uint32_t q;

	driver_write(life, VMMIO_STATUS, 4, 0);
	INPUT_CHECK(driver_read(life, VMMIO_STATUS) == 0);
	for (q = 0; q < life->shape.nqueues; q++)
		life_queue_end(life, q);
	life->accepted = 0;
}

static void queue_write_address(struct life *life, uint64_t reg, uint64_t address)
{
	driver_write(life, reg, 4, (uint32_t)address);
	driver_write(life, reg + 4, 4, address >> 32);
}

static void queue_set_up(struct life *life, uint32_t q, uint16_t num)
{
	struct region_queue queue = life_rings(q, num);

	life_queue_begin(life, q, num);
	driver_write(life, VMMIO_QUEUE_SEL, 4, q);
	driver_write(life, VMMIO_QUEUE_NUM, 4, queue.num);
	queue_write_address(life, VMMIO_QUEUE_DESC_LOW, queue.desc);
	queue_write_address(life, VMMIO_QUEUE_DRIVER_LOW, queue.driver);
	queue_write_address(life, VMMIO_QUEUE_DEVICE_LOW, queue.device);
	driver_write(life, VMMIO_QUEUE_READY, 4, 1);
	if (!driver_read(life, VMMIO_QUEUE_READY))
		life_queue_end(life, q);
}

static void driver_probe(struct life *life)
{
	uint8_t kind = input_u8(&life->input);
	uint16_t num = (uint16_t)(2u << (kind & 3));
	uint64_t features = life->offered;
	uint32_t q;

	driver_reset(life);
	/* Of the features of the device itself, and of the ring's, some. */
	if (kind & 4)
		features &= input_u32(&life->input) | 0xffffffff00000000u;
	if (kind & 8)
		features &= input_u64(&life->input) | VMMIO_F_VERSION_1;
	driver_write(life, VMMIO_STATUS, 4, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	for (q = 0; q < 2; q++) {
		driver_write(life, VMMIO_DRIVER_FEATURES_SEL, 4, q);
		driver_write(life, VMMIO_DRIVER_FEATURES, 4, (uint32_t)(features >> 32 * q));
	}
	driver_write(life, VMMIO_STATUS, 4, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK);
	life->accepted = features;
	for (q = 0; q < life->shape.nqueues; q++) {
		if (!(kind & 16) || q % 2 == 0)
			queue_set_up(life, q, num);
	}
	driver_write(life, VMMIO_STATUS, 4,
		     VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK | VMMIO_S_DRIVER_OK);
	turn(life);
}

/* Disables a queue, in one of the two ways that there are, and perhaps sets it up anew. */
static void driver_queue(struct life *life, uint32_t q)
{
	uint8_t kind = input_u8(&life->input);

	driver_write(life, VMMIO_QUEUE_SEL, 4, q);
	if (kind & 1)
		driver_write(life, VMMIO_QUEUE_READY, 4, 0);
	else
		driver_write(life, VMMIO_QUEUE_RESET, 4, 1);
	if (driver_read(life, VMMIO_QUEUE_READY))
		return;
	life_queue_end(life, q);
	if (kind & 2)
		queue_set_up(life, q, (uint16_t)(2u << (kind >> 6)));
}

/* Any register, with any value; a tame driver leaves the queues' addresses alone, and keeps to its own way of resets.
 */
static void driver_any(struct life *life)
{
	static const uint16_t tame[] = {VMMIO_QUEUE_NOTIFY,        VMMIO_INTERRUPT_ACK,       VMMIO_QUEUE_SEL,
					VMMIO_DEVICE_FEATURES_SEL, VMMIO_DRIVER_FEATURES_SEL, VMMIO_SHM_SEL};
	uint16_t offset = input_u16(&life->input);
	uint32_t size = 1u << input_u8(&life->input) % 4;
	uint64_t value;

	if (life->wild)
		offset %= VMMIO_WINDOW_MIN + 8;
	else
		offset = tame[offset % (sizeof(tame) / sizeof(tame[0]))];
	driver_write(life, offset, size, input_u32(&life->input));
	vmmio_read(&life->dev, offset, size, &value);
}

static void driver_config(struct life *life)
{
	uint32_t at = input_u8(&life->input) % REGION_CONFIG_MAX;
	uint32_t size = 1u << input_u8(&life->input) % 4;

	driver_write(life, VMMIO_CONFIG + at, size, input_u64(&life->input));
}

static void driver_interrupt(struct life *life)
{
	driver_write(life, VMMIO_INTERRUPT_ACK, 4, driver_read(life, VMMIO_INTERRUPT_STATUS));
}

/* A chain of any buffers. */
static void driver_chain(struct life *life, uint32_t q)
{
	static const uint32_t len[] = {0, 1, 2, 8, 12, 16, 17, 511, 512, 513, 4096, 65535};
	uint8_t n = input_u8(&life->input) % 8;
	const uint8_t *bytes;
	uint8_t kind;
	size_t got;

	life_chain_begin(life);
	while (n-- > 0) {
		kind = input_u8(&life->input);
		bytes = input_block(&life->input, kind & 64 ? input_u8(&life->input) : 0, &got);
		life_chain_add(life, kind & 128, len[(kind & 63) % (sizeof(len) / sizeof(len[0]))], bytes, got);
	}
	life_chain_send(life, q);
}

/* The launcher. */
static void launcher_control(struct life *life)
{
	struct region_control *control = &life->region->control;
	uint8_t kind = input_u8(&life->input);

	if (kind & 1)
		control->resize_seq++;
	if (kind & 2)
		control->link_down = kind >> 7;
	vmmio_ring(life->region, REGION_EV_CONTROL);
}

static void wild_memory(struct life *life)
{
	struct life_block *block = &life->ram[input_u8(&life->input) % LIFE_SPANS];

	life_scribble(&life->input, block->bytes, block->size);
}

/* The script */

static void step(struct life *life)
{
	uint8_t op = input_u8(&life->input);
	uint32_t q = (op >> 5) % life->shape.nqueues;
	uint8_t n;

	switch (op & 31) {
	case 0 ... 7:
		life->type->request(life, q);
		break;
	case 8:
		driver_chain(life, q);
		break;
	case 9 ... 12:
		driver_write(life, VMMIO_QUEUE_NOTIFY, 4, q);
		turn(life);
		break;
	case 13:
		for (n = op >> 5; n > 0; n--)
			turn(life);
		break;
	case 14:
		life->clock_ns += (uint64_t)input_u16(&life->input) * 1000000u;
		turn(life);
		break;
	case 15:
		driver_probe(life);
		break;
	case 16:
		driver_reset(life);
		break;
	case 17:
		driver_queue(life, q);
		break;
	case 18:
		driver_config(life);
		break;
	case 19:
		driver_any(life);
		break;
	case 20 ... 21:
		backend_restart(life);
		break;
	case 22:
		launcher_control(life);
		break;
	case 23:
		backend_sleep(life);
		break;
	case 24:
		driver_interrupt(life);
		break;
	case 25 ... 28:
		if (life->type->peer)
			life->type->peer(life);
		break;
	case 29 ... 30:
		if (life->wild)
			life_ring_wild(life, q);
		break;
	default:
		if (life->wild)
			wild_memory(life);
		break;
	}
}

static bool is_served(const struct life *life)
{
	return (vmmio_status(&life->dev) & (VMMIO_S_DRIVER_OK | VMMIO_S_NEEDS_RESET)) == VMMIO_S_DRIVER_OK;
}

static bool anything_out(const struct life *life)
{
	uint32_t q;

	for (q = 0; q < life->shape.nqueues; q++) {
		if (life->queue[q].nout > 0)
			return true;
	}
	return false;
}

/* A tame driver that waits is answered, unless it has broken its device. */
static void answers_check(struct life *life)
{
	int turns;

	if (life->wild || !life->type->answers)
		return;
	if (!life->running)
		backend_start(life);
	for (turns = 0; anything_out(life) && is_served(life); turns++) {
		INPUT_CHECK(turns < TURNS_TO_ANSWER);
		life->clock_ns += 100000000000u; /* the lowest limit lets a request pass */
		if (!turn(life))
			backend_wait(life);
	}
}

static void life_make(struct life *life)
{
	uint8_t config[REGION_CONFIG_MAX] = {0};
	uint8_t writable[REGION_CONFIG_MAX / 8] = {0};

	life->wild = input_u8(&life->input) & 1;
	life->running = false;
	life->accepted = 0;
	memset(&life->shape, 0, sizeof(life->shape));
	memset(life->queue, 0, sizeof(life->queue));
	life_memory_init(life);
	life->type->make(life, config, writable);
	life->shape.device_id = life->type->ops->device_id;
	life->shape.queue_size_max = LIFE_NUM_MAX;
	life->offered = life->shape.device_features;
	INPUT_CHECK(region_shape_valid(&life->shape) && life->shape.nqueues <= LIFE_QUEUES_MAX);
	life_block_make(&life->region_block, region_size(&life->shape));
	life->region = (void *)life->region_block.bytes;
	region_init(life->region, &life->shape, config);
	life->region->control.log_level = LOG_ERROR;
	vmmio_init(&life->dev, life->region, &life->shape, config, writable);
	life->clock_ns = backend_loop_now_ns();
}

void life_run(struct life *life, const struct life_type *type, const uint8_t *data, size_t size)
{
	uint32_t i;

	life->type = type;
	life->input = (struct input){.at = data, .left = size};
	life_make(life);
	backend_start(life);
	driver_probe(life);
	while (life->input.left > 0)
		step(life);
	answers_check(life);
	/* A last reset: whoever set it up anew would not want to find the old one's traces. */
	driver_reset(life);
	backend_end(life, false);
	life_block_check(&life->region_block);
	for (i = 0; i < LIFE_SPANS; i++)
		life_block_check(&life->ram[i]);
	life_block_free(&life->region_block);
}
