/* SPDX-License-Identifier: MIT */
/* Boot of the CPUs, and what each does while no guest runs on it. */
#include "hyp.h"

#define HCR_VM (1ul << 0)
#define HCR_FMO (1ul << 3)
#define HCR_IMO (1ul << 4) /* interrupts come to EL2, and so do the guest's writes of ICC_SGI1R_EL1 */
#define HCR_TSC (1ul << 19) /* and its SMCs */
#define HCR_RW (1ul << 31)
#define SCTLR_EL2_OFF 0x30c50830ul /* only the bits that must be one: MMU and caches off */
#define SCTLR_EL1_OFF 0x30d00800ul
#define PSCI_CPU_ON 0xc4000003ul

struct cpu cpus[CPUS];
uint64_t options;

void lock(struct lock *lock)
{
	while (__atomic_test_and_set(&lock->held, __ATOMIC_ACQUIRE)) {
	}
}

void unlock(struct lock *lock)
{
	__atomic_clear(&lock->held, __ATOMIC_RELEASE);
}

/* What the compiler calls for structures. */
void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memset(void *at, int byte, size_t len);

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *at, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)at)[i] = (char)byte;
	return at;
}

uint64_t ticks_ms(uint64_t ms)
{
	return sysreg_read(cntfrq_el0) * ms / 1000;
}

static void cpu_init(struct cpu *cpu)
{
	sysreg_write(tpidr_el2, (uint64_t)cpu);
	sysreg_write(vbar_el2, (uint64_t)vectors);
	sysreg_write(sctlr_el2, SCTLR_EL2_OFF);
	sysreg_write(hcr_el2, HCR_VM | HCR_FMO | HCR_IMO | HCR_TSC | HCR_RW);
	sysreg_write(cptr_el2, 0x33ff); /* no trap of floating point */
	sysreg_write(hstr_el2, 0);
	sysreg_write(mdcr_el2, sysreg_read(pmcr_el0) >> 11 & 0x1f);
	sysreg_write(cnthctl_el2, 3); /* the guest may use the physical timer and counter */
	sysreg_write(cntvoff_el2, 0);
	sysreg_write(vpidr_el2, sysreg_read(midr_el1));
	sysreg_write(vmpidr_el2, sysreg_read(mpidr_el1));
	isb();
	gic_init_cpu();
}

/* Every register of EL1 that could disturb a kernel which has just been started. */
static void vcpu_reset(void)
{
	sysreg_write(sctlr_el1, SCTLR_EL1_OFF);
	sysreg_write(cpacr_el1, 0);
	sysreg_write(tcr_el1, 0);
	sysreg_write(ttbr0_el1, 0);
	sysreg_write(ttbr1_el1, 0);
	sysreg_write(vbar_el1, 0);
	sysreg_write(mdscr_el1, 0);
	sysreg_write(cntkctl_el1, 0);
	sysreg_write(cntv_ctl_el0, 0);
	sysreg_write(cntp_ctl_el0, 0);
	sysreg_write(pmcr_el0, 0);
	isb();
}

void cpu_stop(void)
{
	struct cpu *cpu = this_cpu();

	vcpu_reset();
	gic_reset_vcpu();
	lock(&cpu->events_lock);
	cpu->wakeups = 0;
	cpu->injections = 0;
	cpu->ninject = 0;
	unlock(&cpu->events_lock);
	lock(&zones_lock);
	cpu->stop = false;
	cpu->give_up = false;
	cpu->state = CPU_OFF;
	unlock(&zones_lock);
	stack_reset_and_idle();
}

void cpu_take_events(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t inject[8], ninject = 0, wakeups = 0;

	if (__atomic_load_n(&cpu->stop, __ATOMIC_ACQUIRE))
		cpu_stop();
	lock(&cpu->events_lock);
	wakeups = cpu->wakeups;
	if (wakeups > 1 && options & OPTION_ONE_EVENT)
		wakeups = 1;
	cpu->wakeups -= wakeups;
	if (cpu->injections > 0 && (wakeups == 0 || !(options & OPTION_ONE_EVENT))) {
		cpu->injections = options & OPTION_ONE_EVENT ? cpu->injections - 1 : 0;
		ninject = cpu->ninject;
		for (uint32_t i = 0; i < ninject; i++)
			inject[i] = cpu->inject[i];
		cpu->ninject = 0;
	}
	unlock(&cpu->events_lock);
	if (cpu->state != CPU_RUNNING)
		return;
	if (wakeups > 0)
		gic_inject(WAKEUP_INTID, false);
	for (uint32_t i = 0; i < ninject; i++)
		gic_inject(inject[i], false);
}

void cpu_idle(void)
{
	struct cpu *cpu = this_cpu();
	uint64_t entry, argument;

	for (;;) {
		lock(&zones_lock);
		if (cpu->stop) {
			cpu->stop = false;
			cpu->state = CPU_OFF;
		}
		if (cpu->state == CPU_STARTING) {
			cpu->state = CPU_RUNNING;
			entry = cpu->entry;
			argument = cpu->argument;
			unlock(&zones_lock);
			break;
		}
		unlock(&zones_lock);
		asm volatile("wfi" ::: "memory");
		gic_handle_irq();
	}
	vcpu_reset();
	gic_reset_vcpu();
	s2_enter((uint32_t)(cpu->zone - zones));
	guest_enter(entry, argument);
}

void boot(uint32_t id)
{
	struct cpu *cpu = &cpus[id];

	cpu->id = id;
	if (id == 0) {
		options = *(volatile uint64_t *)OPTIONS_ADDRESS;
		gic_init_distributor();
		zone_create_root();
	}
	cpu_init(cpu);
	if (id == 0) {
		print("stand-in hypervisor, options %#lx", options);
		for (uint32_t i = 1; i < CPUS; i++) {
			uint64_t error = smc(PSCI_CPU_ON, i, (uint64_t)secondary_start, i);

			if (error != 0)
				panic("CPU %u cannot be started: PSCI error %ld", i, (long)error);
		}
		cpu->entry = ROOT_ENTRY;
		cpu->argument = ROOT_DTB;
		cpu->state = CPU_STARTING;
	}
	cpu_idle();
}
