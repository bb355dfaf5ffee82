/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for hvisor on QEMU's aarch64 "virt" machine: root Linux on CPUs 0 and 1, zones on the others, the
 * hypercalls and the bridge page as hvisor v0.4 has them. It runs at EL2 with its MMU off, one vCPU on each CPU for
 * ever, and takes no interrupt at EL2: a CPU in here answers to nobody until it goes back to its guest.
 */
#ifndef HYP_H
#define HYP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUS 4u
#define ZONES 4u /* at a time, root among them */
#define INTIDS 1024u
#define SPI_FIRST 32u
#define SPI_END 1020u

/* The board, as hvisor's aarch64/qemu-gicv3 has it. */
#define GICD_BASE 0x8000000ul
#define GICD_SIZE 0x10000ul
#define GICR_BASE 0x80a0000ul
#define GICR_STRIDE 0x20000ul
#define UART_BASE 0x9000000ul
#define ROOT_VIRTIO_BASE 0xa000000ul /* the machine's own virtio-mmio transports */
#define ROOT_VIRTIO_SIZE 0x4000ul
#define ROOT_RAM_BASE 0x50000000ul
#define ROOT_RAM_SIZE 0x70000000ul
#define ROOT_ENTRY 0xa0400000ul
#define ROOT_DTB 0xa0000000ul
#define ROOT_CPUS 3u
#define WAKEUP_INTID 64u /* SPI 0x20 */
#define OPTIONS_ADDRESS 0x40300000ul /* a u64, put there by tests/vm/boot */

/* Stock hvisor's defects, and what else can be asked for, as bits of the options. */
#define OPTION_DROP_ACTIVE 1u /* an injection is dropped while the same interrupt is active in a list register */
#define OPTION_ONE_EVENT 2u /* one event is taken for each SGI, however many have been queued */
#define OPTION_UNKNOWN_OK 4u /* unknown hypercalls return 0 */
#define OPTION_CONFIG_VERSION_SHIFT 8 /* a byte: the version of the zone configuration to claim, 0 for 5 */

#define ERR_PERM (-1l)
#define ERR_NOENT (-2l)
#define ERR_NOMEM (-12l)
#define ERR_FAULT (-14l)
#define ERR_BUSY (-16l)
#define ERR_EXIST (-17l)
#define ERR_INVAL (-22l)
#define ERR_NOSYS (-38l)

#define sysreg_read(name)                                                                                              \
	({                                                                                                             \
		uint64_t value_;                                                                                       \
		asm volatile("mrs %0, " #name : "=r"(value_)::"memory");                                               \
		value_;                                                                                                \
	})
#define sysreg_write(name, value) asm volatile("msr " #name ", %0" ::"r"((uint64_t)(value)) : "memory")
#define isb() asm volatile("isb" ::: "memory")
#define dsb() asm volatile("dsb sy" ::: "memory")

struct lock {
	bool held;
};

void lock(struct lock *lock);
void unlock(struct lock *lock);

/* The guest's registers x0 to x30, and its program counter and state; on the stack of its CPU. */
struct frame {
	uint64_t x[31];
	uint64_t pad;
};

#define WINDOWS 16u

struct zone {
	bool used;
	uint32_t id;
	uint32_t cpus;
	uint64_t s2_root;
	uint32_t irqs[INTIDS / 32]; /* the SPIs that it owns */
	uint32_t nwindows;
	struct {
		uint64_t base;
		uint64_t size;
	} window[WINDOWS]; /* its virtio-mmio windows */
	uint64_t ram[2]; /* its largest RAM: physical start and size */
	char name[32];
	char line[160]; /* what it has written of a line on its debug console */
	uint32_t line_len;
};

enum cpu_state {
	CPU_OFF,
	CPU_STARTING,
	CPU_RUNNING
};

struct cpu {
	uint32_t id;
	struct zone *zone; /* whose vCPU this is; changed only while the state is CPU_OFF */
	enum cpu_state state; /* under zones_lock */
	bool stop; /* set by another CPU: become CPU_OFF */
	uint64_t entry;
	uint64_t argument;

	struct lock events_lock;
	uint32_t wakeups; /* queued events: inject the wakeup interrupt, */
	uint32_t injections; /* take inject[] */
	uint32_t inject[8];
	uint32_t ninject;

	uint32_t pending[INTIDS / 32]; /* interrupts that found no list register; only its own CPU looks at them */
	uint32_t pending_hw[INTIDS / 32];

	bool waits; /* for an answer on the bridge */
	bool give_up;
	uint64_t accesses;
	uint64_t wait_max; /* ticks */
	uint64_t dropped; /* injections, by OPTION_DROP_ACTIVE */
};

extern struct cpu cpus[CPUS];
extern struct zone zones[ZONES]; /* the first is root */
extern struct lock zones_lock;
extern uint64_t options;

static inline struct cpu *this_cpu(void)
{
	return (struct cpu *)sysreg_read(tpidr_el2);
}

static inline bool bit_test(const uint32_t *map, uint32_t n)
{
	return map[n / 32] >> (n % 32) & 1;
}

static inline void bit_set(uint32_t *map, uint32_t n)
{
	map[n / 32] |= 1u << (n % 32);
}

/* start.S */
extern const char vectors[];
void secondary_start(void);
_Noreturn void guest_enter(uint64_t entry, uint64_t argument);
_Noreturn void stack_reset_and_idle(void);
uint64_t smc(uint64_t function, uint64_t a, uint64_t b, uint64_t c);

/* main.c */
_Noreturn void boot(uint32_t cpu);
/* Waits without a guest until this CPU's vCPU is started. */
_Noreturn void cpu_idle(void);
/* Leaves the guest for good; the vCPU can be started again. */
_Noreturn void cpu_stop(void);
/* Does what other CPUs have asked for. Does not return if that is to stop. */
void cpu_take_events(void);
uint64_t ticks_ms(uint64_t ms);

/* print.c: all output goes through here, root's own too, so that no line is torn. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line "HYP-VIOLATION: ...": root Linux did what hvisor would assert on, or a guest what it cannot survive. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A guest's access to the page of the serial port. */
uint64_t uart_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value);
void uart_flush_zone(struct zone *zone);

/* s2.c: stage 2 tables */
/* Makes an empty table; 0: no page is left. */
uint64_t s2_create(uint32_t slot);
/* Addresses and size are multiples of the page size. */
long s2_map(uint32_t slot, uint64_t ipa, uint64_t pa, uint64_t size, bool device);
void s2_enter(uint32_t slot);
void s2_flush(uint32_t slot);

/* gic.c */
void gic_init_distributor(void);
void gic_init_cpu(void);
void gic_reset_vcpu(void);
void gic_handle_irq(void);
void gic_send_event_sgi(uint32_t cpu);
/* Gives this CPU's guest an interrupt; hw: one that the physical interrupt controller holds active. */
void gic_inject(uint32_t intid, bool hw);
void gic_guest_sgi(struct zone *zone, uint64_t value);
void gic_reset_zone(const struct zone *zone);
uint64_t gicd_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value);
uint64_t gicr_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value);

/* bridge.c */
/* A guest's access to one of its windows; returns what it reads. */
uint64_t bridge_access(struct zone *zone, uint64_t address, uint32_t size, bool write, uint64_t value);
long hypercall_init_virtio(uint64_t page);
long hypercall_inject(void);
void bridge_print_counters(const struct zone *zone);

/* zone.c */
void zone_create_root(void);
struct zone *zone_find(uint32_t id);
bool in_root_ram(uint64_t address, uint64_t size);
bool in_a_zone(uint64_t address, uint64_t size);
long hypercall_zone_start(uint64_t config, uint64_t size);
long hypercall_zone_shutdown(uint64_t id);
long hypercall_zone_list(uint64_t buffer, uint64_t count);
long hypercall_config_check(uint64_t address);
/* The zone of this CPU switches itself off. */
_Noreturn void zone_power_off(const char *why);

/* psci.c */
uint64_t psci_call(const struct frame *frame);

/* trap.c */
void handle_sync(struct frame *frame);
void handle_irq(struct frame *frame);
_Noreturn void handle_unexpected(uint64_t vector);

static inline uint64_t mmio_read(uint64_t address, uint32_t size)
{
	switch (size) {
	case 1:
		return *(volatile uint8_t *)address;
	case 2:
		return *(volatile uint16_t *)address;
	case 4:
		return *(volatile uint32_t *)address;
	default:
		return *(volatile uint64_t *)address;
	}
}

static inline void mmio_write(uint64_t address, uint32_t size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)address = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)address = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)address = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)address = value;
		break;
	}
}

#endif
