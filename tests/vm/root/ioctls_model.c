/* SPDX-License-Identifier: MIT */
#include "tests/vm/root/ioctls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/region.h"
#include "common/vmmio.h"

#define PAGE 4096ull
#define MEMORY_SIZE_MAX (1ull << 40)
#define PHYS_MAX (1ull << 52)
#define IRQS 1024u
#define RANGES_MAX 16u
#define RESERVED_BEGIN 0x50000000ull /* tests/vm/dts/root.dts */
#define RESERVED_END 0x80000000ull
#define EVENTS (REGION_EV_STATUS | REGION_EV_CONFIG | REGION_EV_CONTROL)

typedef unsigned __int128 wide;

static struct {
	uint64_t begin, end;
} ram[RANGES_MAX];
static uint32_t nram;

void model_init(void)
{
	unsigned long long begin, end;
	char line[256];
	FILE *file = fopen("/proc/iomem", "re");

	while (file && nram < RANGES_MAX && fgets(line, sizeof(line), file)) {
		if (strstr(line, "System RAM") && sscanf(line, "%llx-%llx", &begin, &end) == 2) {
			ram[nram].begin = begin;
			ram[nram++].end = end + 1;
		}
	}
	if (file)
		fclose(file);
	if (nram == 0 || ram[0].end == 1) {
		printf("root's memory is not to be seen in /proc/iomem\n");
		exit(2);
	}
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < (wide)b + b_size && b < (wide)a + a_size;
}

static bool wraps(uint64_t start, uint64_t size)
{
	return (wide)start + size > (wide)UINT64_MAX + 1;
}

static bool is_roots(uint64_t start, uint64_t size)
{
	uint64_t first = start & ~(PAGE - 1);
	wide end = ((wide)start + size + PAGE - 1) & ~((wide)PAGE - 1);
	uint32_t i;

	for (i = 0; i < nram; i++) {
		if (first < ram[i].end && ram[i].begin < end)
			return true;
	}
	return false;
}

bool model_for_zones(uint64_t start, uint64_t size)
{
	return start >= RESERVED_BEGIN && start < RESERVED_END && size <= RESERVED_END - start;
}

static errnos range_errors(uint64_t start, uint64_t size)
{
	if (size == 0 || wraps(start, size))
		return ERRNO(EINVAL);
	return is_roots(start, size) ? ERRNO(EPERM) : 0;
}

static errnos memory_errors(const struct hvisor_memory *memory, uint32_t n)
{
	errnos errors = 0;
	uint32_t i, k;

	if (n == 0 || n > HVISOR_MEMORY_MAX)
		return ERRNO(EINVAL);
	for (i = 0; i < n; i++) {
		const struct hvisor_memory *a = &memory[i];

		if (a->size == 0 || a->size > MEMORY_SIZE_MAX || (a->size | a->zone0_ipa | a->zonex_ipa) % PAGE) {
			errors |= ERRNO(EINVAL);
			continue;
		}
		if ((wide)a->zone0_ipa + a->size > PHYS_MAX || wraps(a->zonex_ipa, a->size))
			errors |= ERRNO(ERANGE);
		if (is_roots(a->zone0_ipa, a->size))
			errors |= ERRNO(EPERM);
		for (k = 0; k < i; k++) {
			if (overlap(a->zone0_ipa, a->size, memory[k].zone0_ipa, memory[k].size) ||
			    overlap(a->zonex_ipa, a->size, memory[k].zonex_ipa, memory[k].size))
				errors |= ERRNO(EINVAL);
		}
	}
	return errors;
}

static bool zone_has_devices(const struct model *model, uint32_t zone)
{
	uint32_t i;

	for (i = 0; i < HVISOR_DEVICES_MAX; i++) {
		if (model->device[i].exists && model->device[i].add.zone == zone)
			return true;
	}
	return false;
}

static bool zone_is_same(const struct hvisor_zone_set *a, const struct hvisor_zone_set *b)
{
	return a->nmemory == b->nmemory && memcmp(a->memory, b->memory, a->nmemory * sizeof(a->memory[0])) == 0;
}

static errnos zone_set_errors(const struct model *model, const struct hvisor_zone_set *set)
{
	errnos errors = memory_errors(set->memory, set->nmemory);
	uint32_t z, i, k;

	if (set->zone == 0 || set->zone >= HVISOR_ZONES_MAX)
		return errors | ERRNO(EINVAL);
	if (set->nmemory > HVISOR_MEMORY_MAX || (!errors && zone_is_same(&model->zone[set->zone], set)))
		return errors;
	if (zone_has_devices(model, set->zone))
		errors |= ERRNO(EBUSY);
	for (z = 1; z < HVISOR_ZONES_MAX; z++) {
		for (i = 0; z != set->zone && i < model->zone[z].nmemory; i++) {
			for (k = 0; k < set->nmemory; k++) {
				if (overlap(model->zone[z].memory[i].zone0_ipa, model->zone[z].memory[i].size,
					    set->memory[k].zone0_ipa, set->memory[k].size))
					errors |= ERRNO(EADDRINUSE);
			}
		}
	}
	return errors;
}

static bool window_in_memory(const struct hvisor_zone_set *zone, const struct hvisor_device_add *add)
{
	uint32_t i;

	for (i = 0; i < zone->nmemory; i++) {
		if (overlap(add->base, add->size, zone->memory[i].zonex_ipa, zone->memory[i].size))
			return true;
	}
	return false;
}

static bool device_is_same(const struct hvisor_device_add *a, const struct hvisor_device_add *b)
{
	return a->irq == b->irq && a->device_id == b->device_id && a->nqueues == b->nqueues &&
	       a->queue_size_max == b->queue_size_max && a->config_len == b->config_len && a->features == b->features &&
	       memcmp(a->config_writable, b->config_writable, sizeof(a->config_writable)) == 0;
}

static errnos add_errors(const struct model *model, const struct hvisor_device_add *add)
{
	const struct region_shape shape = {add->device_id, add->nqueues, add->queue_size_max, add->config_len,
					   add->features};
	errnos errors = 0;
	bool zone_exists = add->zone > 0 && add->zone < HVISOR_ZONES_MAX && model->zone[add->zone].nmemory > 0;
	uint32_t i;

	if (!region_shape_valid(&shape) || add->device_id == 0 || add->irq == 0 || add->irq >= IRQS ||
	    add->size < VMMIO_WINDOW_MIN || (add->base | add->size) % 8 || (wide)add->base + add->size > UINT64_MAX ||
	    add->name[0] == '\0' || !memchr(add->name, '\0', sizeof(add->name)) ||
	    (zone_exists && window_in_memory(&model->zone[add->zone], add)))
		errors |= ERRNO(EINVAL);
	if (!zone_exists)
		errors |= ERRNO(ENOENT) | (add->zone == 0 || add->zone >= HVISOR_ZONES_MAX ? ERRNO(EINVAL) : 0);
	for (i = 0; i < HVISOR_DEVICES_MAX; i++) {
		const struct hvisor_device_add *other = &model->device[i].add;

		if (!model->device[i].exists || other->zone != add->zone)
			continue;
		if (other->base == add->base && other->size == add->size)
			return errors | (device_is_same(other, add) ? 0 : ERRNO(EEXIST));
		if (other->irq == add->irq || overlap(other->base, other->size, add->base, add->size))
			errors |= ERRNO(EADDRINUSE);
	}
	if (model->ndevices == HVISOR_DEVICES_MAX)
		errors |= ERRNO(ENOSPC);
	return errors;
}

static errnos eventfd_errors(int fd)
{
	uint32_t i;

	for (i = 0; i < FDS; i++) {
		if (fds[i] == fd)
			return i < EVENTFDS ? 0 : ERRNO(EINVAL);
	}
	return ERRNO(EBADF);
}

static errnos load_errors(const struct call *call)
{
	const struct hvisor_zone_load *load = &call->arg.load;
	uint64_t first = load->zone0_ipa & ~(PAGE - 1);
	errnos errors = 0;

	if (load->size == 0 || load->size > UINT32_MAX)
		return ERRNO(EINVAL);
	if ((wide)load->zone0_ipa + load->size > PHYS_MAX)
		errors |= ERRNO(ERANGE);
	if (is_roots(first, load->size + load->zone0_ipa - first))
		errors |= ERRNO(EPERM);
	return errors || (call->data < PLACE_BAD && load->size <= LOAD_MAX) ? errors : ERRNO(EFAULT);
}

static errnos start_errors(const struct call *call)
{
	const struct hvisor_zone_start *start = &call->arg.start;
	const struct zone_config *config = call->config;
	errnos errors = 0;
	uint32_t i;

	if (start->zone == 0 || start->zone >= HVISOR_ZONES_MAX || start->size < sizeof(*config) ||
	    start->size > HVISOR_ZONE_CONFIG_MAX)
		return ERRNO(EINVAL);
	if (call->data >= PLACE_BAD || start->size > sizeof(*config))
		return ERRNO(EFAULT);
	if (config->zone != start->zone || config->nregions > CONFIG_REGIONS)
		errors |= ERRNO(EINVAL);
	for (i = 0; i < config->nregions && i < CONFIG_REGIONS; i++) {
		if (config->region[i].type != 2)
			errors |= range_errors(config->region[i].physical, config->region[i].size);
	}
	return errors;
}

/* What is wrong with a call about a device. */
static errnos device_errors(const struct model *model, const struct call *call)
{
	const union ioctl_argument *arg = &call->arg;
	uint32_t id = arg->del.id;
	const struct model_device *device = &model->device[id % HVISOR_DEVICES_MAX];
	errnos errors = 0;

	if (id >= HVISOR_DEVICES_MAX || !device->exists)
		errors = ERRNO(ENOENT);
	switch (call->cmd) {
	case HVISOR_DEVICE_ATTACH:
		errors |= eventfd_errors(arg->attach.kick_fd) | eventfd_errors(arg->attach.call_fd);
		errors |= device->exists && device->holds ? ERRNO(EBUSY) : 0;
		return errors | (call->no_fds ? ERRNO(EMFILE) : 0);
	case HVISOR_DEVICE_VIEW:
		return errors | (call->no_fds ? ERRNO(EMFILE) : 0);
	case HVISOR_DEVICE_OWNER:
		return errors | (arg->owner.pid == child ? 0 : ERRNO(ESRCH));
	case HVISOR_DEVICE_KICK:
		return errors | (arg->kick.events & ~EVENTS ? ERRNO(EINVAL) : 0);
	case HVISOR_DEVICE_FAIL:
		return errors | (arg->fail.fail > 1 ? ERRNO(EINVAL) : 0);
	default: /* HVISOR_DEVICE_DEL */
		return errors | (device->exists && device->holds ? ERRNO(EBUSY) : 0);
	}
}

static errnos get_errors(const struct model *model, uint32_t id)
{
	while (id < HVISOR_DEVICES_MAX && !model->device[id].exists)
		id++;
	return id < HVISOR_DEVICES_MAX ? 0 : ERRNO(ENOENT);
}

static errnos call_errors(const struct model *model, const struct call *call)
{
	const union ioctl_argument *arg = &call->arg;

	switch (call->cmd) {
	case HVISOR_INFO:
		return arg->info.event_fd < 0 ? 0 : eventfd_errors(arg->info.event_fd);
	case HVISOR_ZONE_SET:
		return zone_set_errors(model, &arg->zone_set);
	case HVISOR_DEVICE_ADD:
		return add_errors(model, &arg->add);
	case HVISOR_DEVICE_GET:
		return get_errors(model, arg->get.id);
	case HVISOR_DEVICE_ATTACH:
	case HVISOR_DEVICE_OWNER:
	case HVISOR_DEVICE_VIEW:
	case HVISOR_DEVICE_KICK:
	case HVISOR_DEVICE_FAIL:
	case HVISOR_DEVICE_DEL:
		return device_errors(model, call);
	case HVISOR_EVENT_NEXT:
		return ERRNO(EAGAIN); /* nothing happens without zones */
	case HVISOR_CONFIG_VERSION:
	case HVISOR_ZONE_LIST:
		return 0;
	case HVISOR_ZONE_LOAD:
		return load_errors(call);
	case HVISOR_ZONE_START:
		return start_errors(call);
	case HVISOR_ZONE_SHUTDOWN:
		return arg->shutdown.zone == 0 || arg->shutdown.zone >= HVISOR_ZONES_MAX ? ERRNO(EINVAL)
											 : ERRNO(ENOENT);
	case HVISOR_MEMORY_CHECK:
		return range_errors(arg->check.zone0_ipa, arg->check.size);
	default:
		return ERRNO(ENOTTY);
	}
}

errnos model_errors(const struct model *model, const struct call *call)
{
	errnos errors = call_errors(model, call);

	/* What is no call of ours may be refused for its pointer or for its number. */
	if (call->place >= PLACE_BAD)
		return ERRNO(EFAULT) | (errors & ERRNO(ENOTTY));
	/* It is done all the same. */
	return errors == 0 && call->place == PLACE_READ_ONLY ? ERRNO(EFAULT) : errors;
}

errnos model_errors_always(const struct call *call)
{
	static const struct model none;

	if (call->cmd == HVISOR_ZONE_SHUTDOWN)
		return model_errors(&none, call);
	return model_errors(&none, call) &
	       ~(ERRNO(ENOENT) | ERRNO(EBUSY) | ERRNO(EADDRINUSE) | ERRNO(EEXIST) | ERRNO(ENOSPC));
}

errnos model_errors_ever(const struct call *call)
{
	static const struct model none;
	errnos errors = model_errors(&none, call) | (call->place == PLACE_READ_ONLY ? ERRNO(EFAULT) : 0);

	switch (call->cmd) {
	case HVISOR_ZONE_SET:
		return errors | ERRNO(EBUSY) | ERRNO(EADDRINUSE);
	case HVISOR_DEVICE_ADD:
		return errors | ERRNO(EEXIST) | ERRNO(EADDRINUSE) | ERRNO(EINVAL) | ERRNO(ENOSPC);
	case HVISOR_DEVICE_ATTACH:
	case HVISOR_DEVICE_DEL:
		return errors | ERRNO(EBUSY);
	default:
		return errors;
	}
}

const char *model_take(struct model *model, const struct call *call, const union ioctl_argument *answer)
{
	const union ioctl_argument *arg = &call->arg;
	struct model_device *device = &model->device[answer->del.id % HVISOR_DEVICES_MAX];
	uint32_t i;

	switch (call->cmd) {
	case HVISOR_INFO:
		return answer->info.abi_version == HVISOR_ABI_VERSION && answer->info.devices_max == HVISOR_DEVICES_MAX
			       ? NULL
			       : "it says something else of itself";
	case HVISOR_ZONE_SET:
		model->zone[arg->zone_set.zone] = arg->zone_set;
		return NULL;
	case HVISOR_DEVICE_ADD:
		if (answer->add.id >= HVISOR_DEVICES_MAX)
			return "the id is too high";
		device = &model->device[answer->add.id];
		if (device->exists != answer->add.existed)
			return device->exists ? "the id is in use" : "a device that does not exist did";
		if (device->exists)
			return device->add.base == arg->add.base && device->add.zone == arg->add.zone
				       ? NULL
				       : "another device";
		for (i = 0; i < answer->add.id && model->device[i].exists; i++)
			;
		if (i != answer->add.id)
			return "a lower id is free";
		*device = (struct model_device){.exists = true, .add = arg->add};
		device->add.id = answer->add.id;
		device->add.existed = 0;
		model->ndevices++;
		return NULL;
	case HVISOR_DEVICE_GET:
		return model_compare(model, &answer->get);
	case HVISOR_DEVICE_OWNER:
		device->owner = arg->owner.pid;
		return NULL;
	case HVISOR_DEVICE_FAIL:
		device->failed = arg->fail.fail;
		return NULL;
	case HVISOR_DEVICE_DEL:
		device->exists = false;
		model->ndevices--;
		return NULL;
	case HVISOR_ZONE_LIST:
		return answer->list.count == (arg->list.count > 0) && answer->list.zones[0].zone == 0
			       ? NULL
			       : "there are other zones than root";
	default:
		return NULL;
	}
}

const char *model_compare(const struct model *model, const struct hvisor_device_get *get)
{
	const struct model_device *device = &model->device[get->id % HVISOR_DEVICES_MAX];
	uint32_t flags = (device->holds ? HVISOR_DEVICE_ATTACHED : 0) | (device->failed ? HVISOR_DEVICE_FAILED : 0);

	if (get->id >= HVISOR_DEVICES_MAX || !device->exists)
		return "a device that was not made";
	if (memcmp(&get->device, &device->add, sizeof(device->add)) != 0)
		return "it is not as it was made";
	if (get->flags != flags)
		return "flags";
	if (get->owner_pid != device->owner)
		return "owner";
	/* There is no driver, and no zone to interrupt. */
	if (get->accesses || get->notifications || get->interrupts || get->bad_accesses || get->wait_max_ns ||
	    get->hold_max_ns)
		return "counters";
	return NULL;
}

const char *model_conflict(const struct model *model)
{
	const struct hvisor_device_add *a, *b;
	uint32_t i, k;

	for (i = 0; i < HVISOR_DEVICES_MAX; i++) {
		a = &model->device[i].add;
		if (!model->device[i].exists)
			continue;
		if (a->zone == 0 || a->zone >= HVISOR_ZONES_MAX || a->size < VMMIO_WINDOW_MIN ||
		    wraps(a->base, a->size))
			return "a device that cannot be";
		for (k = 0; k < i; k++) {
			b = &model->device[k].add;
			if (model->device[k].exists && a->zone == b->zone &&
			    (a->irq == b->irq || overlap(a->base, a->size, b->base, b->size)))
				return "two devices in each other's way";
		}
	}
	return NULL;
}
