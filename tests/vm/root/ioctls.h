/* SPDX-License-Identifier: MIT */
/*
 * Calls of the module at random: what the parts of the program ioctls share. ioctls_model.c is what kmod/hvisor_uapi.h
 * promises, ioctls_make.c makes calls up, ioctls_call.c makes them, ioctls_hold.c has what they hand out, and ioctls.c
 * compares.
 */
#ifndef HVISOR_TESTS_IOCTLS_H
#define HVISOR_TESTS_IOCTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kmod/hvisor_uapi.h"
#include "tests/fuzz/ioctl_script.h"

/* Errors that a call may end with. None: it has to succeed. */
typedef unsigned __int128 errnos;
#define ERRNO(number) ((errnos)1 << (number))

/* Where an argument lies, or what it points to. */
enum place {
	PLACE_GOOD,
	PLACE_PAGE_END, /* its last byte is that of the page before one that is not there */
	PLACE_READ_ONLY,
	PLACE_BAD, /* from here on it cannot be read */
	PLACE_CROSSING = PLACE_BAD, /* its last bytes are not there */
	PLACE_NULL,
	PLACE_UNMAPPED,
	PLACE_KERNEL,
	PLACES,
};

#define LOAD_MAX 0x4000u /* bytes of an image that can be loaded */

/* hvisor's configuration of a zone, as far as the module looks at it (hvisor's src/config.rs). */
#define CONFIG_REGIONS 64u
struct zone_config {
	uint32_t zone;
	uint64_t cpus;
	uint32_t nregions;
	struct {
		uint32_t type; /* 0 RAM, 1 I/O, 2 virtio, which has no memory */
		uint64_t physical;
		uint64_t virtual;
		uint64_t size;
	} region[CONFIG_REGIONS];
};

struct call {
	unsigned long cmd;
	enum place place; /* of the argument */
	enum place data; /* of what a field of it points to */
	bool no_fds; /* made while the process may open no more descriptors */
	const struct zone_config *config; /* of HVISOR_ZONE_START */
	union ioctl_argument arg;
};

struct model_device {
	bool exists;
	bool failed;
	uint32_t holds; /* descriptors and mappings of its attachment */
	int32_t owner;
	struct hvisor_device_add add;
};

struct model {
	struct hvisor_zone_set zone[HVISOR_ZONES_MAX]; /* zone 0: it is not declared */
	struct model_device device[HVISOR_DEVICES_MAX];
	uint32_t ndevices;
};

/* Root's memory, which no zone may have: read from /proc/iomem. */
void model_init(void);

/* What the call may fail with, as things stand. */
errnos model_errors(const struct model *model, const struct call *call);

/* While others call too: what it has to fail with however things stand, or may. */
errnos model_errors_always(const struct call *call);
errnos model_errors_ever(const struct call *call);

/* It was made, with this answer: what is so from now on. NULL, or what is wrong with the answer. */
const char *model_take(struct model *model, const struct call *call, const union ioctl_argument *answer);

/* Does a device look as it has to? NULL, or what is wrong. */
const char *model_compare(const struct model *model, const struct hvisor_device_get *get);

/* Are devices in each other's way, or in a zone's memory? NULL, or what is wrong. */
const char *model_conflict(const struct model *model);

/* Is [start, start + size) in the memory that is set apart for zones? Nothing else may be written to. */
bool model_for_zones(uint64_t start, uint64_t size);

/* splitmix64, each thread with a state of its own */
extern __thread uint64_t random_state;
uint64_t random_next(void);
uint32_t random_below(uint32_t n);
static inline bool random_one_in(uint32_t n)
{
	return random_below(n) == 0;
}

/* eventfds and other descriptors for calls to use: the first EVENTFDS are eventfds. */
#define EVENTFDS 6u
#define FDS 10u
extern int fds[FDS];
extern pid_t child; /* may be named as an owner */

/* Where a thread's arguments lie: pages that are there, and one that is not; and the same pages once more, read-only.
 */
struct room {
	char *pages;
	char *read_only;
};
void room_make(struct room *room);

/* Makes the call: 0 and the answer, or the error. */
int call_make(const struct room *room, struct call *call, union ioctl_argument *answer);

extern int hv; /* /dev/hvisor */

/* Ends the program. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The calls that there are. */
#define CALLS 17u
extern const unsigned long call_numbers[CALLS];

/* A call, made up. False: it must not be made, as nothing in the module would refuse it. */
bool make_call(struct call *call, const struct model *model);

#endif
