/* SPDX-License-Identifier: MIT */
/* hvisor-blk: a block device (virtio 1.2, section 5.2) with a raw image in a file or on a block device. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blk.h"

#define QUEUE_BATCH 32u /* chains taken from a queue in one turn, ... */
#define QUEUE_BATCH_BYTES (1u << 20) /* ... or until their data is so much */
#define RING_BATCH 16u /* operations given to the kernel at a time: the driver makes new ones meanwhile */
#define TODO_BATCH 16u
#define BOUNCE_KEEP (256u << 10)
#define FENCE_TRIES 30000u
#define FENCE_PAUSE_NS 1000000

static struct blk device;
static struct backend backend;

static struct blk *blk_of(struct backend *b)
{
	return b->device;
}

uint64_t blk_image_size(void)
{
	off_t size = lseek(BLK_FD_IMAGE, 0, SEEK_END);

	return size < 0 ? 0 : (uint64_t)size;
}

/* Options and start */

static int option_bool(const char *value, bool *out)
{
	uint64_t n;
	int error = backend_number(value, 0, 1, &n);

	if (!error)
		*out = n;
	return error;
}

static int option_word(const char *value, const char *const *words, int n, int *out)
{
	int i;

	for (i = 0; i < n; i++) {
		if (strcmp(value, words[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int option_serial(struct blk *blk, const char *value)
{
	size_t len = strlen(value);

	if (len > sizeof(blk->serial))
		return -EINVAL;
	memset(blk->serial, 0, sizeof(blk->serial));
	memcpy(blk->serial, value, len);
	return 0;
}

static int blk_option(struct backend *b, const char *key, const char *value)
{
	static const char *const caches[] = {"writeback", "writethrough", "none"};
	static const char *const engines[] = {"auto", "io_uring", "preadv"};
	struct blk *blk = blk_of(b);
	uint64_t n;
	int word;

	if (strcmp(key, "readonly") == 0)
		return option_bool(value, &blk->readonly);
	if (strcmp(key, "discard") == 0)
		return option_bool(value, &blk->discard);
	if (strcmp(key, "serial") == 0)
		return option_serial(blk, value);
	if (strcmp(key, "block_size") == 0) {
		if (backend_number(value, BLK_SECTOR, BLK_BLOCK_MAX, &n) || (n & (n - 1)))
			return -EINVAL;
		blk->block_size = (uint32_t)n;
		return 0;
	}
	if (strcmp(key, "cache") == 0) {
		if (option_word(value, caches, 3, &word))
			return -EINVAL;
		blk->cache = (enum blk_cache)word;
		return 0;
	}
	if (strcmp(key, "engine") == 0) {
		if (option_word(value, engines, 3, &word))
			return -EINVAL;
		blk->engine = (enum blk_engine)word;
		return 0;
	}
	return -EINVAL;
}

static int fence_set(short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = BLK_FENCE_OFFSET, .l_len = 1};

	return fcntl(BLK_FD_IMAGE, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Waits until nothing of a killed predecessor is left in the kernel: BLK_FENCE_OFFSET. */
static int fence_wait(void)
{
	struct timespec pause = {.tv_nsec = FENCE_PAUSE_NS};
	int error;
	uint32_t i;

	for (i = 0; i < FENCE_TRIES; i++) {
		error = fence_set(F_WRLCK);
		if (error != -EAGAIN && error != -EACCES)
			break;
		nanosleep(&pause, NULL);
	}
	if (error)
		log_error("waiting for the writes of the backend before this one: %s", strerror(-error));
	return error;
}

/* Images opened past the page cache: the zone's memory cannot be given to the disk as it is. */
static int bounce_init(struct blk *blk)
{
	void *at;
	int error = blk->readonly ? 0 : fence_wait();

	if (error)
		return error;
	at = mmap(NULL, (size_t)BLK_SLOTS * BLK_BOUNCE_SIZE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) {
		log_error("no memory for bounce buffers: %s", strerror(errno));
		return -errno;
	}
	blk->bounce = at;
	return 0;
}

static void engine_init(struct blk *blk)
{
	int error = blk->engine == BLK_ENGINE_PREADV ? -ENOSYS : blk_ring_init();

	blk->ring_on = error == 0;
	if (error && blk->engine == BLK_ENGINE_IO_URING)
		log_warning("no io_uring with restrictions here (%s): preadv is used instead", strerror(-error));
	else if (error && blk->engine == BLK_ENGINE_AUTO)
		log_info("no io_uring with restrictions here (%s): preadv is used instead", strerror(-error));
	if (blk->ring_on && blk->engine == BLK_ENGINE_AUTO)
		blk_inline_init(blk);
}

/* Slots that were never used stay untouched, and take no memory. */
static struct blk_request *slot_first(struct blk *blk)
{
	if (!blk->free_slot && blk->slots_used < BLK_SLOTS) {
		blk->free_slot = &blk->slot[blk->slots_used++];
		blk->free_slot->next = NULL;
	}
	return blk->free_slot;
}

/* Config. What is in the region may be a hostile predecessor's. */

static const struct virtio_blk_config *config_now(struct backend *b)
{
	return (const void *)backend_config(b);
}

static uint64_t config_capacity(struct backend *b)
{
	__virtio64 capacity;

	memcpy(&capacity, &config_now(b)->capacity, sizeof(capacity));
	capacity = le64toh(capacity);
	return capacity <= INT64_MAX / BLK_SECTOR ? capacity : INT64_MAX / BLK_SECTOR;
}

/* What a completed write promises: virtio 1.2, 5.2.6.2. A reset puts the driver's byte back: vmmio.h. */
static void writeback_update(struct blk *blk)
{
	struct backend *b = blk->backend;

	if (!(b->features & (1ull << VIRTIO_BLK_F_FLUSH)))
		blk->writeback = false;
	else if (b->features & (1ull << VIRTIO_BLK_F_CONFIG_WCE))
		blk->writeback = core_load(&config_now(b)->wce) != 0;
	else
		blk->writeback = blk->cache != BLK_CACHE_WRITETHROUGH;
}

static void capacity_update(struct blk *blk)
{
	struct backend *b = blk->backend;
	core_u32 *done_seq = &b->region->device.resize_ack;
	uint32_t seq = core_load(&b->region->control.resize_seq);
	uint64_t size, capacity;
	__virtio64 bytes;

	if (seq == core_load(done_seq))
		return;
	size = blk_image_size();
	capacity = size / blk->block_size * (blk->block_size / BLK_SECTOR);
	if (size % blk->block_size)
		log_warning("the image has %llu bytes, not a multiple of %u: the rest is not used",
			    (unsigned long long)size, blk->block_size);
	if (capacity == 0) {
		log_error("the image has no block any more: the capacity stays at %llu sectors",
			  (unsigned long long)blk->capacity);
	} else if (capacity != blk->capacity) {
		log_info("the capacity is %llu sectors now, was %llu", (unsigned long long)capacity,
			 (unsigned long long)blk->capacity);
		bytes = htole64(capacity);
		region_config_update(b->region, offsetof(struct virtio_blk_config, capacity), &bytes, sizeof(bytes));
		blk->capacity = capacity;
		backend_interrupt(b, REGION_INT_CONFIG);
	}
	core_store_release(done_seq, seq);
}

static int blk_start(struct backend *b)
{
	struct blk *blk = blk_of(b);
	struct stat st;
	int error;

	if (b->shape.config_len < offsetof(struct virtio_blk_config, max_secure_erase_sectors)) {
		log_error("the region's config has %u bytes, which is no block device", b->shape.config_len);
		return -EINVAL;
	}
	if (blk->cache == BLK_CACHE_NONE) {
		error = bounce_init(blk);
		if (error)
			return error;
	}
	blk->no_discard = fstat(BLK_FD_IMAGE, &st) < 0 || !S_ISBLK(st.st_mode);
	engine_init(blk);
	blk->capacity = config_capacity(b);
	if (blk->capacity > blk_image_size() / BLK_SECTOR)
		log_warning("the image has %llu bytes, less than the capacity of %llu sectors",
			    (unsigned long long)blk_image_size(), (unsigned long long)blk->capacity);
	capacity_update(blk);
	return 0;
}

static void blk_driver_ok(struct backend *b)
{
	static const uint8_t off;

	/* virtio 1.2, 5.2.5.2: for a driver that cannot flush it is off from the beginning. */
	if (!(b->features & (1ull << VIRTIO_BLK_F_FLUSH)) && core_load(&config_now(b)->wce))
		region_config_update(b->region, offsetof(struct virtio_blk_config, wce), &off, sizeof(off));
	writeback_update(blk_of(b));
}

static void blk_config(struct backend *b)
{
	writeback_update(blk_of(b));
}

static void blk_control(struct backend *b)
{
	capacity_update(blk_of(b));
}

/* Requests */

static void request_free(struct blk *blk, struct blk_request *request)
{
	blk->in_hand[request->queue]--;
	request->next = blk->free_slot;
	blk->free_slot = request;
}

static void count_request(struct blk *blk, const struct blk_request *request)
{
	struct region_device *counters = &blk->backend->region->device;

	backend_count(&counters->requests, 1);
	if (request->verdict != VIRTIO_BLK_S_OK)
		backend_count(&counters->errors, 1);
	if (request->type == VIRTIO_BLK_T_IN)
		backend_count(&counters->bytes_read, request->done);
	else if (request->type == VIRTIO_BLK_T_OUT)
		backend_count(&counters->bytes_written, request->done);
	else if (request->type == VIRTIO_BLK_T_DISCARD)
		backend_count(&counters->own[BLK_OWN_DISCARDED], request->done);
	else if (request->type == VIRTIO_BLK_T_WRITE_ZEROES)
		backend_count(&counters->own[BLK_OWN_ZEROED], request->done);
}

static void request_finish(struct blk *blk, struct blk_request *request)
{
	*request->status = request->verdict;
	virtq_push(&blk->backend->vq[request->queue], request->head, blk_request_used_len(request));
	blk->dirty_queues |= 1ull << request->queue;
	count_request(blk, request);
	request_free(blk, request);
}

static void todo_add(struct blk *blk, struct blk_request *request)
{
	request->next = NULL;
	if (blk->todo.last)
		blk->todo.last->next = request;
	else
		blk->todo.first = request;
	blk->todo.last = request;
}

static struct blk_request *todo_take(struct blk *blk)
{
	struct blk_request *request = blk->todo.first;

	if (request) {
		blk->todo.first = request->next;
		if (!blk->todo.first)
			blk->todo.last = NULL;
	}
	return request;
}

static void io_done(struct blk *blk, struct blk_request *request, int64_t result)
{
	uint64_t *own = blk->backend->region->device.own;

	if (result >= 0 && request->io.op == BLK_OP_SYNC)
		backend_count(&own[BLK_OWN_FLUSHES], 1);
	if (result >= 0 && request->io.op == BLK_OP_WRITE && (request->io.flags & RWF_DSYNC))
		backend_count(&own[BLK_OWN_SYNC_WRITES], 1);
	blk_request_io_done(blk, request, result);
}

static bool io_at_once(struct blk *blk, const struct blk_io *io, int64_t *result)
{
	/* Before Linux 6.12 a ring cannot discard. */
	if (blk->ring_on && io->op != BLK_OP_DISCARD)
		return blk->engine == BLK_ENGINE_AUTO && blk_inline_try(blk, io, result);
	*result = blk_io_now(io, 0);
	return true;
}

/* Does the request's next operation, or begins it. One with more to do goes to the end of the list. */
static void request_go(struct blk *blk, struct blk_request *request)
{
	uint64_t *own = blk->backend->region->device.own;
	int64_t result;

	if (!blk_request_step(blk, request)) {
		request_finish(blk, request);
		return;
	}
	if (!io_at_once(blk, &request->io, &result)) {
		backend_count(&own[BLK_OWN_RING], 1);
		blk_ring_add(blk, request);
		return;
	}
	backend_count(&own[BLK_OWN_INLINE], 1);
	io_done(blk, request, result);
	if (blk_request_over(request))
		request_finish(blk, request);
	else
		todo_add(blk, request);
}

/* An operation of the ring ended. What no worker could be found for is done here. */
static void ring_done(struct blk *blk, struct blk_request *request, int64_t result)
{
	blk->in_ring--;
	if (request->io.op == BLK_OP_FALLOCATE)
		blk->fallocates--;
	if (result == -EAGAIN || result == -ECANCELED || result == -EINTR)
		result = blk_io_now(&request->io, 0);
	io_done(blk, request, result);
	if (blk_request_over(request))
		request_finish(blk, request);
	else
		todo_add(blk, request);
}

static bool ring_reap(struct blk *blk)
{
	struct blk_request *request;
	bool did = false;
	int64_t result;

	while (blk->in_ring > 0 && (request = blk_ring_next(&result))) {
		ring_done(blk, request, result);
		did = true;
	}
	return did;
}

static bool todo_run(struct blk *blk)
{
	struct blk_request *request;
	uint32_t n;

	for (n = 0; n < TODO_BATCH && (request = todo_take(blk)); n++)
		request_go(blk, request);
	return n > 0;
}

/* One bounded turn of a queue. Returns how many chains it took. */
static uint32_t queue_run(struct blk *blk, uint32_t q)
{
	struct backend *b = blk->backend;
	struct blk_request *request;
	uint64_t bytes = 0;
	const char *why;
	uint32_t n;
	int got;

	for (n = 0; n < QUEUE_BATCH && bytes < QUEUE_BATCH_BYTES && blk->prepared < RING_BATCH; n++) {
		request = slot_first(blk);
		if (!request)
			break;
		got = virtq_pop(&b->vq[q], &blk->chain);
		if (got == 0)
			break;
		why = got < 0 ? b->vq[q].why : blk_request_init(blk, request, (uint16_t)q, &blk->chain);
		if (why) {
			backend_break(b, q, why);
			break;
		}
		blk->free_slot = request->next;
		blk->in_hand[q]++;
		bytes += request->left;
		request_go(blk, request);
	}
	return n;
}

/* All queues in turn; the first one is another one each time, so that none gets all of the slots. */
static uint32_t queues_run(struct blk *blk)
{
	struct backend *b = blk->backend;
	uint32_t taken = 0;
	uint32_t i, q;

	for (i = 0; i < b->shape.nqueues && !b->broken; i++) {
		q = (blk->next_queue + i) % b->shape.nqueues;
		if (b->ready_queues & (1ull << q))
			taken += queue_run(blk, q);
	}
	blk->next_queue = (blk->next_queue + 1) % b->shape.nqueues;
	return taken;
}

/* Gives the bounce buffers of a burst back. */
static void bounce_trim(struct blk *blk)
{
	if (blk->bounced < BOUNCE_KEEP || blk->in_ring > 0 || blk->todo.first)
		return;
	madvise(blk->bounce, (size_t)BLK_SLOTS * BLK_BOUNCE_SIZE, MADV_DONTNEED);
	blk->bounced = 0;
}

static bool blk_run(struct backend *b)
{
	struct blk *blk = blk_of(b);
	bool did;

	blk->image_size_known = false;
	did = ring_reap(blk);
	did |= todo_run(blk);
	blk->batch = queues_run(blk);
	did |= blk->batch > 0;
	blk_ring_enter(blk);
	did |= ring_reap(blk);
	backend_publish(b, &blk->dirty_queues);
	bounce_trim(blk);
	/* With no slot left, only what ends is work. */
	b->passive_queues = slot_first(blk) ? 0 : UINT64_MAX;
	return did;
}

static bool blk_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	struct blk *blk = blk_of(b);

	*n = 0;
	if (blk->todo.first)
		return true;
	if (blk->in_ring == 0)
		return false;
	fds[0] = (struct pollfd){.fd = BACKEND_FD_RING, .events = POLLIN};
	*n = 1;
	return blk_ring_ready();
}

static uint32_t in_hand(const struct blk *blk, uint64_t queues)
{
	uint32_t n = 0;

	for (; queues; queues &= queues - 1)
		n += blk->in_hand[__builtin_ctzll(queues)];
	return n;
}

/* Requests of the queues that have more steps to do: their chains stay in the journal. */
static void todo_forget(struct blk *blk, uint64_t queues)
{
	struct blk_list kept = blk->todo;
	struct blk_request *request;

	blk->todo = (struct blk_list){0};
	while ((request = kept.first)) {
		kept.first = request->next;
		if (queues & (1ull << request->queue))
			request_free(blk, request);
		else
			todo_add(blk, request);
	}
}

static void blk_quiesce(struct backend *b, uint64_t queues)
{
	struct blk *blk = blk_of(b);

	for (;;) {
		ring_reap(blk);
		todo_forget(blk, queues);
		if (in_hand(blk, queues) == 0)
			break;
		blk_ring_wait(blk);
	}
	/* Whoever calls publishes what was pushed, or closes the queues. */
	blk->dirty_queues &= ~queues;
	b->passive_queues = slot_first(blk) ? 0 : UINT64_MAX;
}

static const struct backend_ops blk_ops = {
	.device_id = VIRTIO_ID_BLOCK,
	.option = blk_option,
	.start = blk_start,
	.run = blk_run,
	.quiesce = blk_quiesce,
	.driver_ok = blk_driver_ok,
	.config = blk_config,
	.control = blk_control,
	.prepare_sleep = blk_prepare_sleep,
};

int main(int argc, char **argv)
{
	int code;

	device.backend = &backend;
	device.block_size = BLK_SECTOR;
	backend.ops = &blk_ops;
	backend.device = &device;
	code = backend_main(&backend, argc, argv);
	/* Nothing is under way: the next backend need not wait until the kernel has let go of the ring. */
	if (code == BACKEND_EXIT_STOPPED && device.bounce && !device.readonly)
		fence_set(F_UNLCK);
	return code;
}
