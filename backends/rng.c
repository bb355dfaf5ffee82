/* SPDX-License-Identifier: MIT */
/* hvisor-rng: an entropy device (virtio 1.2, section 5.4) with the random bytes of root's kernel. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/backend.h"
#include "common/rate.h"
#include "common/rng.h"

/*
 * Of one turn. A chain may be of any length, and a device "MAY use less than the entire buffer length" (virtio 1.2,
 * 5.4.6.2): nobody waits behind a single request for gigabytes.
 */
#define RNG_BATCH 64u
#define RNG_BATCH_BYTES (256u << 10)
#define RNG_CHAIN_BYTES (64u << 10)

struct rng {
	uint64_t per_s;
	uint64_t chain_bytes; /* the most that one chain is given */
	struct rate rate;
	struct log_gate error_gate;
	struct virtq_chain chain;
};

static struct rng device;
static struct backend backend;

static struct rng *rng_of(struct backend *b)
{
	return b->device;
}

static int rng_option(struct backend *b, const char *key, const char *value)
{
	if (strcmp(key, "rate") == 0)
		return backend_number(value, 0, RNG_RATE_MAX, &rng_of(b)->per_s);
	return -EINVAL;
}

/* Not by the C library, whose own may map memory of its own, which the policy forbids. Bytes, or -errno. */
static int64_t random_get(void *at, size_t len)
{
	long n = syscall(SYS_getrandom, at, len, 0);

	return n < 0 ? -errno : n;
}

static int rng_start(struct backend *b)
{
	struct rng *rng = rng_of(b);
	uint64_t burst;
	int64_t got;
	uint8_t byte;

	/* Early in root's life the kernel has none yet: it is waited for here, and never while a guest is served. */
	got = random_get(&byte, 1);
	if (got < 0) {
		log_error("getrandom: %s", strerror((int)-got));
		return (int)got;
	}
	burst = rng->per_s / 10 > RNG_BURST_MIN ? rng->per_s / 10 : RNG_BURST_MIN;
	rate_init(&rng->rate, rng->per_s, burst, b->now_ns);
	rng->chain_bytes = rng->per_s && burst < RNG_CHAIN_BYTES ? burst : RNG_CHAIN_BYTES;
	return 0;
}

/* Fills the first len bytes of the chain. Returns how many it filled: fewer if the zone's memory is gone. */
static uint32_t chain_fill(struct rng *rng, uint64_t len, uint64_t now_ns)
{
	const struct iovec *iov = rng->chain.iov;
	uint64_t suppressed;
	uint32_t filled = 0;
	size_t at = 0;
	int64_t got;

	while (filled < len) {
		size_t room = iov->iov_len - at < len - filled ? iov->iov_len - at : len - filled;

		got = random_get((uint8_t *)iov->iov_base + at, room);
		if (got < 0) {
			if (log_gate_open(&rng->error_gate, now_ns, &suppressed))
				log_error("getrandom: %s (%llu such lines held back)", strerror((int)-got),
					  (unsigned long long)suppressed);
			break;
		}
		filled += (uint32_t)got;
		at += (size_t)got;
		if (at == iov->iov_len) {
			iov++;
			at = 0;
		}
	}
	return filled;
}

/* Answers the chain in hand. False if the rate does not let it yet: then it is given back, and waited for. */
static bool chain_answer(struct backend *b)
{
	struct rng *rng = rng_of(b);
	struct region_device *counters = &b->region->device;
	uint64_t len = rng->chain.write_len < rng->chain_bytes ? rng->chain.write_len : rng->chain_bytes;
	uint32_t filled;

	b->wake_ns = rate_take(&rng->rate, len, b->now_ns);
	if (b->wake_ns) {
		virtq_unpop(&b->vq[0], rng->chain.head);
		b->passive_queues = 1;
		backend_count(&counters->own[RNG_OWN_LIMITED], 1);
		return false;
	}
	filled = chain_fill(rng, len, b->now_ns);
	virtq_push(&b->vq[0], rng->chain.head, filled);
	backend_count(&counters->requests, 1);
	backend_count(&counters->bytes_read, filled);
	if (filled < len)
		backend_count(&counters->errors, 1);
	return true;
}

static bool rng_run(struct backend *b)
{
	struct rng *rng = rng_of(b);
	uint64_t before = core_load(&b->region->device.bytes_read);
	uint32_t n;
	int got;

	b->wake_ns = 0;
	b->passive_queues = 0;
	for (n = 0; n < RNG_BATCH && core_load(&b->region->device.bytes_read) - before < RNG_BATCH_BYTES; n++) {
		got = virtq_pop(&b->vq[0], &rng->chain);
		if (got == 0)
			break;
		if (got < 0 || rng->chain.nread > 0) {
			/* virtio 1.2, 5.4.6.1 */
			backend_break(b, 0, got < 0 ? b->vq[0].why : "a buffer that the device is to read");
			break;
		}
		if (!chain_answer(b))
			break;
	}
	if (virtq_publish(&b->vq[0]))
		backend_interrupt(b, REGION_INT_USED);
	return n > 0;
}

/* Nothing is ever under way between two turns. */
static void rng_quiesce(struct backend *b, uint64_t queues)
{
	(void)b;
	(void)queues;
}

static const struct backend_ops rng_ops = {
	.device_id = VIRTIO_ID_RNG,
	.option = rng_option,
	.start = rng_start,
	.run = rng_run,
	.quiesce = rng_quiesce,
};

int main(int argc, char **argv)
{
	backend.ops = &rng_ops;
	backend.device = &device;
	return backend_main(&backend, argc, argv);
}
