/* SPDX-License-Identifier: MIT */
/*
 * The life of a device, for the targets of the backends: the input is the script of a guest's driver, of the world
 * around it, and of whoever starts and kills backends. The backend is the real one, a step of its loop at a time in
 * this process; the registers are the model's.
 *
 * A script is tame or wild. A tame driver keeps to what a driver may do with memory: its buffers are apart, and it
 * leaves them alone while the device has them. What it says in them is as hostile as that of a wild one. So whatever
 * the device does beyond its rights is seen: a byte changed that it may not write, a chain completed twice or never, a
 * length that is not true. A wild driver puts anything anywhere; then the memory's ends are watched.
 */
#ifndef HVISOR_TESTS_LIFE_H
#define HVISOR_TESTS_LIFE_H

#include "common/backend.h"
#include "common/vmmio.h"
#include "tests/fuzz/input.h"

#define LIFE_QUEUES_MAX 8u
#define LIFE_NUM_MAX 16u
#define LIFE_BUFFERS_MAX 160u
#define LIFE_RINGS_GPA 0x10000u
#define LIFE_DATA_GPA 0x100000u
#define LIFE_ODD_GPA 0x200000u
#define LIFE_DATA_SIZE (192u << 10)

/* The zone's memory: rings, buffers, and a page that only wild drivers use. */
enum life_span {
	LIFE_RINGS,
	LIFE_DATA,
	LIFE_ODD,
	LIFE_SPANS,
};

/* Memory with bytes around it that nobody may touch. */
struct life_block {
	uint8_t *bytes;
	size_t size;
};

struct life_buffer {
	uint32_t at; /* in LIFE_DATA */
	uint32_t len;
	bool write; /* by the device */
};

struct life_chain {
	bool out; /* the device has it */
	uint32_t table; /* of indirect descriptors, in LIFE_DATA; 0: none */
	uint32_t nbuffers;
	uint64_t writable; /* bytes that the device may say it wrote */
	struct life_buffer buffer[LIFE_BUFFERS_MAX];
};

struct life_queue {
	bool live; /* the driver has set it up */
	uint16_t num;
	uint16_t avail_idx;
	uint16_t seen; /* used->idx */
	uint16_t nout;
	uint16_t owner[LIFE_NUM_MAX]; /* of a descriptor: 1 + the head of its chain, 0 free */
	struct life_chain chain[LIFE_NUM_MAX];
};

struct life;

/* What a target says of its device. */
struct life_type {
	struct backend *backend;
	const struct backend_ops *ops;
	/* Chooses the shape, the first configuration space and the bytes of it that the driver may write. */
	void (*make)(struct life *life, uint8_t *config, uint8_t *writable);
	/* A process begins: backend->device and the options. backend is zero but for what every backend has. */
	void (*begin)(struct life *life);
	/* It is gone: what the kernel would do to what it had. */
	void (*gone)(struct life *life);
	/* A request of the kind that queue q is for: life_chain_*(). */
	void (*request)(struct life *life, uint32_t q);
	/* The other end does something; NULL: there is none. */
	void (*peer)(struct life *life);
	/* Is every chain answered in time, if nothing breaks? */
	bool answers;
};

struct life {
	const struct life_type *type;
	struct input input;
	struct region_shape shape;
	struct life_block region_block;
	struct queue_region *region;
	struct vmmio_dev dev;
	struct life_block ram[LIFE_SPANS];
	uint8_t *shadow[LIFE_SPANS]; /* what a tame driver's memory holds */
	uint8_t *state; /* of each byte of LIFE_DATA: not 0, it is in use */
	uint32_t next; /* byte of LIFE_DATA to be given out */
	uint64_t clock_ns;
	uint64_t offered; /* features */
	uint64_t accepted;
	bool running;
	bool wild;
	struct life_queue queue[LIFE_QUEUES_MAX];
	/* The chain that is being made. */
	uint32_t cut; /* buffers are cut into such pieces; 0: they are not */
	bool failed; /* there is no room for it */
	struct life_chain next_chain;
};

/* Once in the process: the descriptors that a backend has are taken, KICK and CALL are there. */
void life_init_process(void);

/* Moves a descriptor of the target's to a place that a backend knows it by. */
void life_fd_put(int fd, int place);

/* The whole life. */
void life_run(struct life *life, const struct life_type *type, const uint8_t *data, size_t size);

/* life_ring.c */

void life_memory_init(struct life *life);
/* Nothing was written that must not be. */
void life_memory_check(struct life *life);
void life_block_make(struct life_block *block, size_t size);
void life_block_check(const struct life_block *block);
void life_block_free(struct life_block *block);

/* The rings of queue q as the driver lays them out. */
struct region_queue life_rings(uint32_t q, uint16_t num);
void life_queue_begin(struct life *life, uint32_t q, uint16_t num);
/* The device gave it back, with all its chains. */
void life_queue_end(struct life *life, uint32_t q);
/* Takes what the device has completed. */
void life_queue_take(struct life *life, uint32_t q);

/* A chain is begun, gets buffers, and is made available. bytes are at the buffer's front. */
void life_chain_begin(struct life *life);
void life_chain_add(struct life *life, bool write, uint32_t len, const void *bytes, size_t nbytes);
/* The device has no more than so many bytes to say. */
void life_chain_limit(struct life *life, uint64_t most);
void life_chain_send(struct life *life, uint32_t q);

/* Anything anywhere, as wild drivers do. */
void life_ring_wild(struct life *life, uint32_t q);
void life_scribble(struct input *input, void *bytes, size_t size);

#endif
