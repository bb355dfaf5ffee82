/* SPDX-License-Identifier: MIT */
#include "tests/vm/root/ioctls_hold.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/region.h"

#define HELD_MAX 24u
#define MAPPINGS 4u
#define PAGE 4096ull
#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

struct mapping {
	char *at; /* NULL: none */
	size_t size;
	bool memory; /* of the zone */
};

struct held {
	bool used;
	bool view;
	int fd; /* -1: closed */
	uint32_t id;
	uint64_t region_size;
	uint64_t memory_offset;
	uint64_t memory_size;
	struct mapping mapping[MAPPINGS];
};

uint64_t holds_mapped, holds_touched;
static __thread struct held table[HELD_MAX];
static __thread sigjmp_buf fault;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

void holds_init(void)
{
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(SIGBUS, &action, NULL);
}

/* So many more descriptors and mappings keep the device attached. */
static void hold_count(struct model *model, struct held *held, int more)
{
	struct model_device *device;
	uint32_t i;

	if (model && !held->view) {
		device = &model->device[held->id];
		device->holds += (uint32_t)more;
		if (device->holds == 0)
			device->owner = 0;
	}
	for (i = 0; i < MAPPINGS && !held->mapping[i].at; i++)
		;
	if (held->fd < 0 && i == MAPPINGS)
		held->used = false;
}

static void close_fd(struct model *model, struct held *held)
{
	if (held->fd < 0)
		return;
	close(held->fd);
	held->fd = -1;
	hold_count(model, held, -1);
}

static void unmap(struct model *model, struct held *held, struct mapping *mapping)
{
	if (!mapping->at)
		return;
	munmap(mapping->at, mapping->size);
	mapping->at = NULL;
	hold_count(model, held, -1);
}

/* In any order. */
static void hold_end(struct model *model, struct held *held)
{
	bool fd_first = random_one_in(2);
	uint32_t i;

	if (fd_first)
		close_fd(model, held);
	for (i = 0; i < MAPPINGS; i++)
		unmap(model, held, &held->mapping[i]);
	close_fd(model, held);
}

void holds_end(struct model *model)
{
	uint32_t i;

	for (i = 0; i < HELD_MAX; i++) {
		if (table[i].used)
			hold_end(model, &table[i]);
	}
}

static const char *attachment_check(const struct model *model, const struct hvisor_device_attach *attach)
{
	const struct hvisor_zone_set *zone = &model->zone[model->device[attach->id].add.zone];
	uint32_t i;

	if (attach->attachment_fd < 0 || attach->region_fd != -1 || attach->memory_fd != -1)
		return "descriptors";
	if (attach->nmemory != zone->nmemory ||
	    memcmp(attach->memory, zone->memory, zone->nmemory * sizeof(zone->memory[0])) != 0)
		return "it is another memory";
	for (i = 1; i < zone->nmemory; i++) {
		if (attach->memory_offset[i] != attach->memory_offset[i - 1] + zone->memory[i - 1].size)
			return "offsets of the memory";
	}
	return NULL;
}

static uint64_t region_bytes(const struct hvisor_device_add *add)
{
	const struct region_shape shape = {add->device_id, add->nqueues, add->queue_size_max, add->config_len,
					   add->features};

	return region_size(&shape);
}

const char *hold(struct model *model, unsigned long cmd, const union ioctl_argument *answer)
{
	bool view = cmd == HVISOR_DEVICE_VIEW;
	struct held *held = &table[random_below(HELD_MAX)];
	const char *wrong = NULL;
	uint32_t i;

	if (held->used)
		hold_end(model, held);
	*held = (struct held){.used = true,
			      .view = view,
			      .id = answer->del.id,
			      .fd = view ? answer->view.region_fd : answer->attach.attachment_fd,
			      .region_size = view ? answer->view.region_size : answer->attach.region_size,
			      .memory_offset = view ? 0 : answer->attach.memory_offset[0]};
	for (i = 0; !view && i < answer->attach.nmemory && i < HVISOR_MEMORY_MAX; i++)
		held->memory_size += answer->attach.memory[i].size;
	hold_count(model, held, 1);
	if (model && !view)
		wrong = attachment_check(model, &answer->attach);
	if (model && held->region_size != region_bytes(&model->device[held->id].add))
		wrong = "the region's size";
	return held->fd < 0 ? "no descriptor" : wrong;
}

static bool fits(uint64_t offset, uint64_t length, uint64_t base, uint64_t size)
{
	return offset >= base && length <= size && offset - base <= size - length;
}

static void map(struct model *model, struct held *held, struct mapping *mapping)
{
	const uint64_t offsets[] = {0,
				    PAGE,
				    held->region_size - PAGE,
				    held->region_size,
				    held->memory_offset,
				    held->memory_offset,
				    held->memory_offset + PAGE,
				    held->memory_offset - PAGE,
				    held->memory_offset + held->memory_size - PAGE,
				    held->memory_offset + held->memory_size,
				    0x80000000,
				    1ull << 62,
				    random_next() & ~(PAGE - 1) & INT64_MAX};
	const uint64_t lengths[] = {PAGE,
				    PAGE,
				    2 * PAGE,
				    held->region_size,
				    held->region_size + PAGE,
				    held->memory_size,
				    held->memory_size + PAGE,
				    random_below(1u << 20) + 1,
				    1ull << 46,
				    UINT64_MAX - PAGE + 1};
	uint64_t offset = offsets[random_below(COUNT(offsets))];
	uint64_t length = lengths[random_below(COUNT(lengths))];
	uint64_t rounded = (length + PAGE - 1) & ~(PAGE - 1);
	int prot = random_one_in(8) ? (int)random_below(8) : PROT_READ | PROT_WRITE;
	int flags = random_one_in(8) ? MAP_PRIVATE : MAP_SHARED;
	bool memory = !held->view && fits(offset, rounded, held->memory_offset, held->memory_size);
	bool region = fits(offset, rounded, 0, held->region_size);
	bool allowed = (memory || region) && flags == MAP_SHARED && !(prot & PROT_EXEC) && length > 0;
	char *at;

	if (held->fd < 0 || mapping->at)
		return;
	at = mmap(NULL, length, prot, flags, held->fd, (off_t)offset);
	if ((at != MAP_FAILED) != allowed && !(at == MAP_FAILED && errno == ENOMEM))
		fail("a mapping of %s%u, [%#llx, %#llx) with %d, %d: %s", held->view ? "view of " : "", held->id,
		     (unsigned long long)offset, (unsigned long long)(offset + length), prot, flags,
		     at == MAP_FAILED ? strerror(errno) : "success");
	if (at == MAP_FAILED)
		return;
	*mapping = (struct mapping){at, rounded, memory};
	hold_count(model, held, 1);
	__atomic_fetch_add(&holds_mapped, 1, __ATOMIC_RELAXED);
}

/* The zone does not run, so its memory is not there; nor may a mapping become what it could not have been. */
static void touch(const struct held *held, const struct mapping *mapping)
{
	volatile uint32_t *word;

	if (!mapping->at)
		return;
	word = (volatile uint32_t *)(void *)(mapping->at + random_below((uint32_t)(mapping->size / PAGE)) * PAGE +
					     random_below(PAGE / 4) * 4);
	if (mprotect(mapping->at, mapping->size, PROT_READ | PROT_EXEC) == 0)
		fail("a mapping of device %u can be made executable", held->id);
	if (mremap(mapping->at, mapping->size, mapping->size + PAGE, MREMAP_MAYMOVE) != MAP_FAILED)
		fail("a mapping of device %u can be made longer", held->id);
	if (mprotect(mapping->at, mapping->size, PROT_READ | PROT_WRITE) != 0)
		fail("a mapping of device %u: %s", held->id, strerror(errno));
	__atomic_fetch_add(&holds_touched, 1, __ATOMIC_RELAXED);
	if (sigsetjmp(fault, 0) != 0) {
		if (!mapping->memory)
			fail("the region of device %u is not there", held->id);
		return;
	}
	*word = (uint32_t)random_next();
	if (mapping->memory)
		fail("the memory of device %u, whose zone does not run, is there: %#x", held->id, *word);
}

/* As a backend would, whatever the region has in it. */
static void signal_module(void)
{
	uint64_t count;

	eventfd_write(fds[random_below(EVENTFDS)], random_one_in(8) ? UINT64_MAX - 1 : 1);
	if (read(fds[random_below(EVENTFDS)], &count, sizeof(count)) < 0 && errno != EAGAIN)
		fail("an eventfd: %s", strerror(errno));
}

/* The descriptor is for mapping only. */
static void ask(const struct held *held)
{
	struct hvisor_device_del del = {.id = held->id};

	if (held->fd >= 0 && (ioctl(held->fd, HVISOR_DEVICE_DEL, &del) == 0 || errno != ENOTTY))
		fail("a call through the descriptor of device %u", held->id);
}

void hold_do(struct model *model)
{
	uint32_t first = random_below(HELD_MAX);
	struct mapping *mapping;
	struct held *held;
	uint32_t i;

	for (i = 0; i < HELD_MAX && !table[(first + i) % HELD_MAX].used; i++)
		;
	if (i == HELD_MAX)
		return;
	held = &table[(first + i) % HELD_MAX];
	mapping = &held->mapping[random_below(MAPPINGS)];
	switch (random_below(16)) {
	case 0:
		hold_end(model, held);
		return;
	case 1:
		close_fd(model, held);
		return;
	case 2:
		unmap(model, held, mapping);
		return;
	case 3:
		ask(held);
		return;
	case 4:
	case 5:
		signal_module();
		return;
	case 6:
	case 7:
	case 8:
	case 9:
		map(model, held, mapping);
		return;
	default:
		touch(held, mapping);
		return;
	}
}
