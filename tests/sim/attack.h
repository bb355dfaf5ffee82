/* SPDX-License-Identifier: MIT */
/*
 * Attacks on a device by its guest, each with a name and what it may come to. They know the device by its registers and
 * the guest's memory alone, through struct attack_guest, and so are the same in the simulator and in the guest of a
 * virtual machine; nothing else of tests/ is used here.
 *
 * An attack resets the device first, and leaves it in whatever state it brought it to.
 */
#ifndef HVISOR_ATTACK_H
#define HVISOR_ATTACK_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTACK_WINDOW 0x200u
#define ATTACK_AREA (1u << 20) /* bytes of memory that an attack needs, in one piece */
#define ATTACK_BEHIND 0x2000u /* bytes behind it that the device may come to write, unless it is the end */
#define ATTACK_REGIONS_MAX 2u
#define ATTACK_OTHERS_MAX 4u

struct attack_region {
	uint64_t gpa;
	uint64_t size;
};

/* How a guest gets at the device, and at its own memory. */
struct attack_guest {
	void *arg;
	/* By CPU 0 or, of another thread, 1; size is 1, 2, 4 or 8, offset is in the window. */
	uint64_t (*read)(void *arg, uint32_t cpu, uint32_t offset, uint32_t size);
	void (*write)(void *arg, uint32_t cpu, uint32_t offset, uint32_t size, uint64_t value);
	/* Does the part of the device's other end: sends something to the guest, takes what came. Called while waiting.
	 */
	void (*feed)(void *arg); /* NULL: it does nothing, and queues that only move by it are not attacked */
	bool unaligned; /* accesses at any offset are possible */
	bool quick; /* sweeps write one value to each place, not all */
	bool edge; /* the area is the end of its region */
	uint64_t window; /* its guest physical address */
	uint64_t area_gpa; /* ATTACK_AREA bytes */
	uint8_t *area;
	uint32_t nregions; /* of the guest's memory, all of it */
	struct attack_region region[ATTACK_REGIONS_MAX];
	uint32_t nothers; /* addresses of memory that is somebody else's, wherever it is */
	uint64_t other[ATTACK_OTHERS_MAX];
	/* An attack begins. */
	void (*begin)(void *arg, const char *attack, const char *queue); /* NULL: nobody wants to know */
	/* What has been touched or read that must not be; NULL: nothing. */
	const char *(*trespass)(void *arg);
	uint32_t accesses; /* how long a storm is */
	int timeout_ms; /* for an outcome */
};

/* What became of an attack; an attack's table entry has those that are allowed. */
enum attack_outcome {
	ATTACK_RESET = 1, /* the device asks for a reset */
	ATTACK_ERROR = 2, /* the request came back with an error */
	ATTACK_DONE = 4, /* the request came back, or all of them did */
	ATTACK_REFUSED = 8, /* the register model did not take it */
	ATTACK_BORNE = 16, /* nothing was asked of the device that would have an answer */
	ATTACK_TAKEN = 32, /* the register model took what it must not */
	ATTACK_SILENT = 64, /* no answer at all in time */
};

/* Which queue of which device type, and how its chains look. */
struct attack_queue {
	const char *name;
	uint32_t device_id; /* virtio 1.2, chapter 5 */
	uint32_t index;
	bool device_writes; /* the chain's payload */
	uint32_t front; /* bytes of a header before the payload */
	uint32_t type; /* in the first word of the header */
	bool status; /* a byte behind it, not 0 for an error */
	bool fed; /* nothing is done there unless the other end sends */
	uint64_t without; /* features that are not to be negotiated */
};

/* An attack under way. */
struct attack {
	const struct attack_guest *guest;
	const struct attack_queue *queue;
	uint32_t num; /* of the queue as it is set up */
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	struct vring_desc *desc; /* NULL: not in the attack's area */
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx;
	uint16_t used_idx; /* as last seen */
	uint64_t offered;
	uint64_t random;
};

struct attack_entry {
	const char *name;
	const char *queue; /* NULL: any */
	bool edge; /* for guests whose area is the end of a region */
	uint32_t allowed; /* of enum attack_outcome */
	enum attack_outcome (*run)(struct attack *attack);
};

/* All queues that are attacked, and all attacks, each list ends with a NULL name. */
extern const struct attack_queue attack_queues[];
extern const struct attack_entry *const attack_lists[];

/* The lists, by subject. */
extern const struct attack_entry attack_chain_list[];
extern const struct attack_entry attack_ring_list[];
extern const struct attack_entry attack_register_list[];
extern const struct attack_entry attack_type_list[];

/*
 * Makes all attacks that fit on all queues of the device. After each an honest driver must be served, and nothing
 * touched that is not the guest's: after that no more are made. Prints those that did not come to what they may, or
 * took long.
 */
struct attack_count {
	uint32_t made;
	uint32_t wrong;
};

struct attack_count attack_all(const struct attack_guest *guest);

/* What attacks are made of. */

/* Places in the area. */
#define ATTACK_DESC 0u /* room for each ring of 1024 entries */
#define ATTACK_AVAIL 0x4000u
#define ATTACK_USED 0x6000u
#define ATTACK_OTHER 0xa000u /* a page with the rings of a second queue, of up to 32 entries */
#define ATTACK_TABLE 0x10000u /* an indirect table of up to 1024 entries */
#define ATTACK_FRONT 0x20000u /* a header */
#define ATTACK_STATUS 0x21000u
#define ATTACK_DATA 0x30000u
#define ATTACK_DATA_BYTES 0x80000u
#define ATTACK_NUM 16u /* descriptors of a queue, unless an attack wants another number */

void *attack_at(const struct attack *attack, uint32_t place);
uint64_t attack_gpa(const struct attack *attack, uint32_t place);

/* Of 4 bytes. */
uint32_t attack_read(struct attack *attack, uint32_t offset);
void attack_write(struct attack *attack, uint32_t offset, uint32_t value);
/* Two registers: low and the one behind it. */
void attack_write_address(struct attack *attack, uint32_t low, uint64_t address);
uint64_t attack_random(struct attack *attack);
bool attack_needs_reset(struct attack *attack);

/* Resets the device and says ACKNOWLEDGE and DRIVER. */
void attack_greet(struct attack *attack);
/* Writes the features and FEATURES_OK. False if that stays clear. */
bool attack_accept(struct attack *attack, uint64_t features);
/* Sets the attacked queue up and makes it ready. */
void attack_set_queue(struct attack *attack, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used);
/* Another one, of up to 32 entries, in the page at place; its rings are empty. */
void attack_set_other(struct attack *attack, uint32_t index, uint32_t num, uint32_t place);
void attack_driver_ok(struct attack *attack);
/* All of it as an honest driver does; the rings are empty. */
void attack_start(struct attack *attack);

void attack_desc(struct vring_desc *desc, uint64_t gpa, uint32_t len, uint32_t flags, uint32_t next);
/*
 * A chain in table, from its entry first on: what the queue's kind has before and behind the payload, and that at gpa.
 * Returns how many entries it has.
 */
uint32_t attack_chain(struct attack *attack, struct vring_desc *table, uint32_t first, uint64_t gpa, uint32_t len);
/* The payload of that chain. */
struct vring_desc *attack_payload(struct attack *attack, struct vring_desc *table, uint32_t first);
/* The ring's entry is an indirect descriptor for so many bytes of the table at ATTACK_TABLE. */
void attack_indirect(struct attack *attack, uint32_t entry, uint32_t bytes);

/* Makes the head available, and notifies. */
void attack_offer(struct attack *attack, uint16_t head);
void attack_notify(struct attack *attack);
/* Waits until the device needs a reset or has used something. */
enum attack_outcome attack_await(struct attack *attack);
/* The same for at most so long; ATTACK_SILENT then. */
enum attack_outcome attack_await_ms(struct attack *attack, int ms);
/* Head 0, notified and waited for. */
enum attack_outcome attack_try(struct attack *attack);
/* The device is started, and given a chain with that payload. */
enum attack_outcome attack_with_payload(struct attack *attack, uint64_t gpa, uint32_t len);
/* A chain as it should be, on a device that is started. */
enum attack_outcome attack_honest(struct attack *attack);

/* CLOCK_MONOTONIC */
uint64_t attack_now_ns(void);

#endif
