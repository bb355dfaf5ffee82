/* SPDX-License-Identifier: MIT */
/* Calls made up: most of them nearly right, as what is wrong everywhere is refused at the first look. */
#include "tests/vm/root/ioctls.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

__thread uint64_t random_state;

uint64_t random_next(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_next() >> 32) % n;
}

static uint64_t edge64(void)
{
	static const uint64_t edges[] = {
		0,
		1,
		0x1ff,
		0xfff,
		0x1000,
		0x1001,
		0xffffffff,
		0x100000000,
		0x4ffff000,
		0x50000000,
		0x7ffff000,
		0x7ffffffc,
		0x80000000,
		0x90000000,
		0xbffff000,
		0xc0000000,
		1ull << 40,
		(1ull << 40) + 0x1000,
		(1ull << 52) - 0x1000,
		1ull << 52,
		1ull << 63,
		UINT64_MAX - 0xfff,
		UINT64_MAX - 7,
		UINT64_MAX,
	};

	return random_one_in(4) ? random_next() : edges[random_below(COUNT(edges))];
}

static uint32_t edge32(void)
{
	static const uint32_t edges[] = {0,   1,   2,   3,    31,   32,   63,         64,         65,        127,
					 255, 256, 257, 1019, 1020, 1024, 0x7fffffff, 0x80000000, 0xffffffff};

	return random_one_in(4) ? (uint32_t)random_next() : edges[random_below(COUNT(edges))];
}

/* Somewhere in the memory for zones, where regions often meet. */
static uint64_t zone_address(void)
{
	return 0x50000000 + random_below(64) * 0x10000ull + (random_one_in(4) ? random_below(16) * 0x1000ull : 0);
}

static uint32_t some_zone(void)
{
	return random_one_in(16) ? edge32() : 1 + random_below(random_one_in(4) ? HVISOR_ZONES_MAX : 4);
}

static uint32_t some_id(const struct model *model)
{
	uint32_t i, id = 0;

	if (random_one_in(16))
		return edge32();
	/* One that exists, if one can be found. */
	for (i = 0; i < 8; i++) {
		id = random_below(random_one_in(4) ? HVISOR_DEVICES_MAX : 32);
		if (model->device[id].exists)
			break;
	}
	return id;
}

static int some_eventfd(void)
{
	static const int bad[] = {-1, -2, 12345, INT32_MAX, INT32_MIN};

	if (random_one_in(16))
		return bad[random_below(COUNT(bad))];
	return fds[random_one_in(16) ? random_below(FDS) : random_below(EVENTFDS)];
}

static void make_memory(struct hvisor_memory *memory)
{
	memory->zone0_ipa = zone_address();
	memory->zonex_ipa = random_one_in(4) ? memory->zone0_ipa : zone_address();
	memory->size = (1 + random_below(8)) * (random_one_in(4) ? 0x10000ull : 0x1000ull);
	if (random_one_in(16))
		memory->zone0_ipa = edge64();
	if (random_one_in(32))
		memory->zonex_ipa = edge64();
	if (random_one_in(16))
		memory->size = edge64();
}

static void make_zone_set(struct hvisor_zone_set *set, const struct model *model)
{
	uint32_t i;

	set->zone = some_zone();
	if (random_one_in(8) && set->zone < HVISOR_ZONES_MAX) {
		*set = model->zone[set->zone];
		return;
	}
	set->nmemory = random_one_in(8) ? random_below(HVISOR_MEMORY_MAX + 2) : 1 + random_below(3);
	if (random_one_in(32))
		set->nmemory = edge32();
	for (i = 0; i < HVISOR_MEMORY_MAX; i++)
		make_memory(&set->memory[i]);
}

static void make_add(struct hvisor_device_add *add, const struct model *model)
{
	uint32_t id = some_id(model);

	if (random_one_in(8) && id < HVISOR_DEVICES_MAX && model->device[id].exists) {
		*add = model->device[id].add;
	} else {
		add->zone = some_zone();
		add->irq = 32 + random_below(64);
		add->base = 0xa000000 + random_below(64) * 0x200ull;
		add->size = random_one_in(4) ? 0x200ull * (1 + random_below(4)) : 0x200;
		add->device_id = 1 + random_below(4);
		add->nqueues = 1 + random_below(4);
		add->queue_size_max = 2u << random_below(8);
		add->config_len = random_below(HVISOR_CONFIG_MAX + 1);
		add->features = random_next();
		memcpy(add->name, "random", 7);
	}
	add->id = (uint32_t)random_next();
	add->existed = (uint32_t)random_next();
	if (!random_one_in(3))
		return;
	switch (random_below(10)) {
	case 0:
		add->irq = edge32();
		return;
	case 1:
		add->base = random_one_in(2) ? edge64() : zone_address();
		return;
	case 2:
		add->size = edge64();
		return;
	case 3:
		add->device_id = edge32();
		return;
	case 4:
		add->nqueues = edge32();
		return;
	case 5:
		add->queue_size_max = edge32();
		return;
	case 6:
		add->config_len = edge32();
		return;
	case 7:
		memset(add->name, random_one_in(2) ? 'x' : 0, sizeof(add->name));
		return;
	case 8:
		add->config_writable[random_below(32)] ^= 1;
		return;
	default:
		add->features = edge64();
		return;
	}
}

static void make_load(struct call *call)
{
	struct hvisor_zone_load *load = &call->arg.load;

	load->zone = some_zone();
	load->zone0_ipa = zone_address() + (random_one_in(2) ? random_below(0x1000) : 0);
	load->size = 1 + random_below(LOAD_MAX);
	if (random_one_in(4))
		load->zone0_ipa = edge64();
	if (random_one_in(8))
		load->size = edge64();
	call->data = random_one_in(2) ? PLACE_GOOD : (enum place)random_below(PLACES);
}

static void make_start(struct call *call)
{
	static __thread struct zone_config config;
	struct hvisor_zone_start *start = &call->arg.start;
	uint32_t i;

	config = (struct zone_config){.cpus = random_next(), .nregions = random_below(CONFIG_REGIONS + 1)};
	for (i = 0; i < CONFIG_REGIONS; i++) {
		config.region[i].type = random_below(3);
		config.region[i].physical = zone_address();
		config.region[i].virtual = zone_address();
		config.region[i].size = 0x1000;
	}
	start->zone = some_zone();
	start->size = sizeof(config);
	config.zone = start->zone;
	/* One of these it has to be: see make_call(). */
	switch (random_below(6)) {
	case 0:
		start->size = edge32();
		break;
	case 1:
		config.zone = edge32();
		break;
	case 2:
		config.nregions = edge32();
		break;
	case 3:
		config.region[random_below(CONFIG_REGIONS)].physical = edge64();
		break;
	case 4:
		config.region[random_below(CONFIG_REGIONS)].size = edge64();
		break;
	default:
		call->data = (enum place)random_below(PLACES);
		break;
	}
	call->config = &config;
}

static unsigned long unknown_number(void)
{
	static const uint32_t types[] = {'h', 'h', 'h', 'i', 0xee};
	uint32_t nr = random_one_in(2) ? 0x40 + random_below(0x20) : random_below(256);
	uint32_t size = random_one_in(2) ? random_below(0x4000) : random_below(600);

	return _IOC(random_below(4), types[random_below(COUNT(types))], nr, size);
}

const unsigned long call_numbers[CALLS] = {
	HVISOR_INFO,         HVISOR_ZONE_SET,       HVISOR_DEVICE_ADD,  HVISOR_DEVICE_GET,  HVISOR_DEVICE_ATTACH,
	HVISOR_DEVICE_OWNER, HVISOR_DEVICE_VIEW,    HVISOR_DEVICE_KICK, HVISOR_DEVICE_FAIL, HVISOR_DEVICE_DEL,
	HVISOR_EVENT_NEXT,   HVISOR_CONFIG_VERSION, HVISOR_ZONE_LOAD,   HVISOR_ZONE_START,  HVISOR_ZONE_SHUTDOWN,
	HVISOR_ZONE_LIST,    HVISOR_MEMORY_CHECK,
};

/* Those that the others need come more often. */
static unsigned long some_number(void)
{
	static const unsigned long frequent[] = {HVISOR_ZONE_SET, HVISOR_DEVICE_ADD, HVISOR_DEVICE_ADD,
						 HVISOR_DEVICE_ATTACH};

	return random_one_in(3) ? frequent[random_below(COUNT(frequent))] : call_numbers[random_below(CALLS)];
}

static bool is_known(unsigned long number)
{
	uint32_t i;

	for (i = 0; i < CALLS && call_numbers[i] != number; i++)
		;
	return i < CALLS;
}

static void make_argument(struct call *call, const struct model *model)
{
	union ioctl_argument *arg = &call->arg;

	switch (call->cmd) {
	case HVISOR_INFO:
		arg->info.event_fd = some_eventfd();
		break;
	case HVISOR_ZONE_SET:
		make_zone_set(&arg->zone_set, model);
		break;
	case HVISOR_DEVICE_ADD:
		make_add(&arg->add, model);
		break;
	case HVISOR_DEVICE_ATTACH:
		arg->attach.id = some_id(model);
		arg->attach.kick_fd = some_eventfd();
		arg->attach.call_fd = some_eventfd();
		call->no_fds = random_one_in(16);
		break;
	case HVISOR_DEVICE_OWNER:
		arg->owner.id = some_id(model);
		/* Whoever is named may be killed. */
		arg->owner.pid = random_one_in(4) ? -(int32_t)random_below(1000) : child;
		break;
	case HVISOR_DEVICE_VIEW:
		arg->view.id = some_id(model);
		call->no_fds = random_one_in(16);
		break;
	case HVISOR_DEVICE_KICK:
		arg->kick.id = some_id(model);
		arg->kick.events = random_one_in(4) ? edge32() : random_below(8);
		break;
	case HVISOR_DEVICE_FAIL:
		arg->fail.id = some_id(model);
		arg->fail.fail = random_one_in(8) ? edge32() : random_below(2);
		break;
	case HVISOR_DEVICE_GET:
	case HVISOR_DEVICE_DEL:
		arg->del.id = some_id(model);
		break;
	case HVISOR_ZONE_LOAD:
		make_load(call);
		break;
	case HVISOR_ZONE_START:
		make_start(call);
		break;
	case HVISOR_ZONE_SHUTDOWN:
		arg->shutdown.zone = some_zone();
		break;
	case HVISOR_ZONE_LIST:
		arg->list.count = edge32();
		break;
	case HVISOR_MEMORY_CHECK:
		arg->check.zone0_ipa = random_one_in(2) ? zone_address() : edge64();
		arg->check.size = edge64();
		break;
	default:
		break;
	}
}

/*
 * Would nothing but the module's own checks be between the call and harm? There is to be no other zone, and what is
 * neither root's memory nor set apart for zones may be a device's.
 */
static bool is_harmless(const struct call *call, const struct model *model)
{
	const struct hvisor_zone_load *load = &call->arg.load;
	struct call readable = *call;
	errnos errors;

	readable.place = PLACE_GOOD;
	errors = model_errors(model, &readable);
	if (call->cmd == HVISOR_ZONE_START)
		return errors != 0;
	if (call->cmd == HVISOR_ZONE_LOAD)
		return errors & (ERRNO(EINVAL) | ERRNO(EPERM) | ERRNO(ERANGE)) ||
		       model_for_zones(load->zone0_ipa, load->size);
	return true;
}

bool make_call(struct call *call, const struct model *model)
{
	memset(call, 0, sizeof(*call));
	if (random_one_in(8))
		call->place = (enum place)random_below(PLACES);
	if (random_one_in(32)) {
		call->cmd = unknown_number();
		return !is_known(call->cmd);
	}
	call->cmd = some_number();
	make_argument(call, model);
	return is_harmless(call, model);
}
