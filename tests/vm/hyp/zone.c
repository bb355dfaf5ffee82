/* SPDX-License-Identifier: MIT */
/* Zones: root, which is there from the beginning, and those that root starts and shuts down. */
#include "hyp.h"

#define REGIONS 64u
#define NAME_SIZE 32u
#define REGION_RAM 0u
#define REGION_IO 1u
#define REGION_VIRTIO 2u
#define STOP_LIMIT_MS 100u /* for a CPU that waits for an answer of root's */

/* The zone configuration of hvisor, version 5, for arm64. Version 6 has the same beginning and is longer. */
struct config {
	uint32_t zone_id;
	uint64_t cpus;
	uint32_t nregions;
	struct {
		uint32_t type;
		uint64_t physical_start;
		uint64_t virtual_start;
		uint64_t size;
	} region[REGIONS];
	uint32_t interrupts[INTIDS / 32];
	uint32_t nivc;
	uint64_t ivc[10];
	uint64_t entry_point;
	uint64_t kernel_load_paddr;
	uint64_t kernel_size;
	uint64_t dtb_load_paddr;
	uint64_t dtb_size;
	char name[NAME_SIZE];
	uint64_t arch[11];
	uint64_t npci_buses;
	uint64_t pci_bus[4 * 13];
	uint64_t npci_devices;
	uint64_t pci_device[32];
};

_Static_assert(sizeof(struct config) == 3136, "the size of the configuration");
_Static_assert(offsetof(struct config, entry_point) == 2288, "its entry point's place");
_Static_assert(offsetof(struct config, arch) == 2360, "its interrupt controller's place");

struct info {
	uint32_t zone_id;
	uint64_t cpus;
	char name[NAME_SIZE];
	uint8_t is_err;
};

struct zone zones[ZONES];
struct lock zones_lock;
static bool dying[ZONES];

static uint32_t slot_of(const struct zone *zone)
{
	return (uint32_t)(zone - zones);
}

static uint64_t config_version(void)
{
	uint64_t version = options >> OPTION_CONFIG_VERSION_SHIFT & 0xff;

	return version == 0 ? 5 : version;
}

static bool inside(uint64_t address, uint64_t size, uint64_t base, uint64_t limit)
{
	return address >= base && size <= limit && address - base <= limit - size;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

bool in_root_ram(uint64_t address, uint64_t size)
{
	return inside(address, size, ROOT_RAM_BASE, ROOT_RAM_SIZE);
}

bool in_a_zone(uint64_t address, uint64_t size)
{
	for (uint32_t n = 1; n < ZONES; n++) {
		if (zones[n].used && overlaps(address, size, zones[n].ram[0], zones[n].ram[1]))
			return true;
	}
	return false;
}

struct zone *zone_find(uint32_t id)
{
	for (uint32_t n = 0; n < ZONES; n++) {
		if (zones[n].used && zones[n].id == id)
			return &zones[n];
	}
	return NULL;
}

void zone_create_root(void)
{
	static const uint8_t irqs[] = {33, WAKEUP_INTID, 77, 79}; /* serial port; two of the virtio transports */
	struct zone *root = &zones[0];

	root->used = true;
	root->cpus = ROOT_CPUS;
	root->s2_root = s2_create(0);
	__builtin_memcpy(root->name, "root-linux", sizeof("root-linux"));
	for (uint32_t n = 0; n < sizeof(irqs); n++)
		bit_set(root->irqs, irqs[n]);
	if (s2_map(0, ROOT_RAM_BASE, ROOT_RAM_BASE, ROOT_RAM_SIZE, false) != 0 ||
	    s2_map(0, ROOT_VIRTIO_BASE, ROOT_VIRTIO_BASE, ROOT_VIRTIO_SIZE, true) != 0)
		panic("root's memory cannot be mapped");
	for (uint32_t n = 0; n < CPUS; n++) {
		if (root->cpus >> n & 1)
			cpus[n].zone = root;
	}
}

/* What is wrong with a configuration that hvisor would trust; NULL if nothing is. */
static const char *config_fault(const struct config *config)
{
	if (config->zone_id == 0 || config->zone_id > 31)
		return "its id is not 1 to 31";
	if (config->cpus == 0 || config->cpus >> CPUS != 0)
		return "it has no CPUs, or some that do not exist";
	if (config->nregions == 0 || config->nregions > REGIONS)
		return "the number of its memory regions";
	for (uint32_t n = 0; n < config->nregions; n++) {
		uint64_t pa = config->region[n].physical_start, size = config->region[n].size;

		if (config->region[n].type > REGION_VIRTIO || size == 0 || pa + size < pa)
			return "a memory region has no size, or an unknown type";
		if (config->region[n].type == REGION_VIRTIO)
			continue;
		if ((pa | config->region[n].virtual_start | size) % 4096 != 0)
			return "a memory region is not made of pages";
		if (config->region[n].type == REGION_RAM && !in_root_ram(pa, size))
			return "a memory region is not in RAM that root may give away";
	}
	if (config->name[NAME_SIZE - 1] != '\0')
		return "its name does not end";
	return NULL;
}

static uint64_t dtb_address(const struct config *config)
{
	for (uint32_t n = 0; n < config->nregions; n++) {
		if (inside(config->dtb_load_paddr, 1, config->region[n].physical_start, config->region[n].size))
			return config->dtb_load_paddr - config->region[n].physical_start +
			       config->region[n].virtual_start;
	}
	return config->dtb_load_paddr;
}

static long zone_fill(struct zone *zone, const struct config *config)
{
	long error = 0;

	zone->id = config->zone_id;
	zone->cpus = (uint32_t)config->cpus;
	zone->nwindows = 0;
	zone->line_len = 0;
	zone->ram[1] = 0;
	__builtin_memcpy(zone->name, config->name, NAME_SIZE);
	__builtin_memcpy(zone->irqs, config->interrupts, sizeof(zone->irqs));
	zone->s2_root = s2_create(slot_of(zone));
	for (uint32_t n = 0; n < config->nregions && error == 0; n++) {
		uint64_t pa = config->region[n].physical_start, size = config->region[n].size;

		if (config->region[n].type != REGION_VIRTIO) {
			error = s2_map(slot_of(zone), config->region[n].virtual_start, pa, size,
				       config->region[n].type == REGION_IO);
			if (config->region[n].type == REGION_RAM && size > zone->ram[1]) {
				zone->ram[0] = pa;
				zone->ram[1] = size;
			}
		} else if (zone->nwindows == WINDOWS) {
			error = ERR_NOMEM;
		} else {
			zone->window[zone->nwindows].base = pa;
			zone->window[zone->nwindows].size = size;
			zone->nwindows++;
		}
	}
	return error;
}

/* Under zones_lock. */
static long zone_start(const struct config *config)
{
	struct zone *zone = NULL;
	struct cpu *boot_cpu = &cpus[__builtin_ctz((uint32_t)config->cpus)];
	long error;

	if (zone_find(config->zone_id) != NULL)
		return ERR_EXIST;
	for (uint32_t n = 0; n < ZONES; n++) {
		if (zones[n].used && zones[n].cpus & config->cpus)
			return ERR_BUSY;
		if (!zones[n].used && zone == NULL)
			zone = &zones[n];
	}
	if (zone == NULL)
		return ERR_NOMEM;
	for (uint32_t n = 0; n < CPUS; n++) {
		if (config->cpus >> n & 1 && cpus[n].state != CPU_OFF)
			return ERR_BUSY;
	}
	for (uint32_t n = 0; n < config->nregions; n++) {
		if (config->region[n].type == REGION_RAM &&
		    in_a_zone(config->region[n].physical_start, config->region[n].size)) {
			violation("zone %u: memory region %u is another zone's", config->zone_id, n);
			return ERR_INVAL;
		}
	}
	error = zone_fill(zone, config);
	if (error != 0)
		return error;
	for (uint32_t n = 0; n < INTIDS / 32; n++) {
		if (zone->irqs[n] & zones[0].irqs[n])
			violation("zone %u and root both own interrupts of word %u: %#x", zone->id, n,
				  zone->irqs[n] & zones[0].irqs[n]);
	}
	for (uint32_t n = 0; n < CPUS; n++) {
		if (zone->cpus >> n & 1)
			cpus[n].zone = zone;
	}
	boot_cpu->entry = config->entry_point;
	boot_cpu->argument = dtb_address(config);
	boot_cpu->state = CPU_STARTING;
	dying[slot_of(zone)] = false;
	zone->used = true;
	s2_flush(slot_of(zone));
	gic_send_event_sgi(boot_cpu->id);
	return 0;
}

long hypercall_zone_start(uint64_t address, uint64_t size)
{
	static struct config config; /* under zones_lock */
	const char *fault;
	long error;

	/* The size of a configuration of version 6 is not checked to the byte. */
	if (size < sizeof(config) || (config_version() == 5 && size != sizeof(config))) {
		violation("a zone configuration of %lu bytes, version 5 has %lu", size, sizeof(config));
		return ERR_INVAL;
	}
	if (!in_root_ram(address, size) || address % 8 != 0) {
		violation("the zone configuration at %#lx is not in root's RAM", address);
		return ERR_FAULT;
	}
	lock(&zones_lock);
	config = *(const struct config *)address;
	fault = config_fault(&config);
	if (fault != NULL) {
		violation("zone %u: %s", config.zone_id, fault);
		error = ERR_INVAL;
	} else {
		error = zone_start(&config);
	}
	print("zone %u (%s) on CPUs %#lx: start gives %ld", config.zone_id, fault == NULL ? config.name : "?",
	      config.cpus, error);
	unlock(&zones_lock);
	return error;
}

/* Has the CPUs of the zone stop, all but this one, and waits until they have. */
static void zone_stop_cpus(struct zone *zone)
{
	uint64_t begin = sysreg_read(cntpct_el0);
	bool running = true;

	for (uint32_t n = 0; n < CPUS; n++) {
		if (!(zone->cpus >> n & 1) || n == this_cpu()->id)
			continue;
		__atomic_store_n(&cpus[n].stop, true, __ATOMIC_RELEASE);
		gic_send_event_sgi(n);
	}
	while (running) {
		bool late = sysreg_read(cntpct_el0) - begin > ticks_ms(STOP_LIMIT_MS);

		running = false;
		for (uint32_t n = 0; n < CPUS; n++) {
			if (!(zone->cpus >> n & 1) || n == this_cpu()->id ||
			    !__atomic_load_n(&cpus[n].stop, __ATOMIC_ACQUIRE))
				continue;
			running = true;
			if (late && cpus[n].waits && !cpus[n].give_up) {
				violation("zone %u stopped while its CPU %u waits for root's answer: hvisor hangs here",
					  zone->id, n);
				__atomic_store_n(&cpus[n].give_up, true, __ATOMIC_RELEASE);
			}
		}
	}
}

static void zone_remove(struct zone *zone)
{
	gic_reset_zone(zone);
	uart_flush_zone(zone);
	bridge_print_counters(zone);
	lock(&zones_lock);
	zone->used = false;
	unlock(&zones_lock);
}

/* Whoever gets true ends the zone. */
static bool zone_claim_end(struct zone *zone)
{
	bool mine;

	lock(&zones_lock);
	mine = !dying[slot_of(zone)];
	dying[slot_of(zone)] = true;
	unlock(&zones_lock);
	return mine;
}

long hypercall_zone_shutdown(uint64_t id)
{
	struct zone *zone;

	if (id == 0)
		return ERR_INVAL;
	lock(&zones_lock);
	zone = id < 32 ? zone_find((uint32_t)id) : NULL;
	unlock(&zones_lock);
	if (zone == NULL)
		return ERR_INVAL;
	if (!zone_claim_end(zone))
		return ERR_BUSY;
	zone_stop_cpus(zone);
	print("zone %lu has been shut down", id);
	zone_remove(zone);
	return 0;
}

void zone_power_off(const char *why)
{
	struct zone *zone = this_cpu()->zone;

	if (zone == &zones[0])
		panic("root %s", why);
	if (zone_claim_end(zone)) {
		zone_stop_cpus(zone);
		print("zone %u %s", zone->id, why);
		zone_remove(zone);
	}
	cpu_stop();
}

long hypercall_zone_list(uint64_t buffer, uint64_t count)
{
	struct info *info = (struct info *)buffer;
	uint32_t n = 0;

	if (count > 32 || buffer % 8 != 0 || !in_root_ram(buffer, count * sizeof(*info))) {
		violation("a list of %lu zones at %#lx is not in root's RAM", count, buffer);
		return ERR_FAULT;
	}
	lock(&zones_lock);
	for (uint32_t slot = 0; slot < ZONES && n < count; slot++) {
		if (!zones[slot].used)
			continue;
		info[n].zone_id = zones[slot].id;
		info[n].cpus = zones[slot].cpus;
		__builtin_memcpy(info[n].name, zones[slot].name, NAME_SIZE);
		info[n].is_err = 0;
		n++;
	}
	unlock(&zones_lock);
	return n;
}

long hypercall_config_check(uint64_t address)
{
	if (address % 8 != 0 || !in_root_ram(address, 8)) {
		violation("the place for the configuration's version, %#lx, is not in root's RAM", address);
		return ERR_FAULT;
	}
	*(volatile uint64_t *)address = config_version();
	return 0;
}
