/* SPDX-License-Identifier: MIT */
/* PSCI 1.1 (Arm DEN 0022) and the SMC calling convention's own calls, for the CPUs of one zone. */
#include "hyp.h"

#define SMCCC_VERSION 0x80000000u
#define SMCCC_ARCH_FEATURES 0x80000001u
#define PSCI_VERSION 0x84000000u
#define PSCI_CPU_OFF 0x84000002u
#define PSCI_CPU_ON 0x84000003u
#define PSCI_CPU_ON_64 0xc4000003u
#define PSCI_AFFINITY_INFO 0x84000004u
#define PSCI_AFFINITY_INFO_64 0xc4000004u
#define PSCI_MIGRATE_INFO_TYPE 0x84000006u
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define PSCI_FEATURES 0x8400000au

#define PSCI_NOT_SUPPORTED (-1l)
#define PSCI_INVALID_PARAMETERS (-2l)
#define PSCI_ALREADY_ON (-4l)

/* The CPU with this affinity, if it is this zone's. */
static struct cpu *target_cpu(uint64_t affinity)
{
	uint64_t id = affinity & 0xff00fffffful;

	if (id >= CPUS || !(this_cpu()->zone->cpus >> id & 1))
		return NULL;
	return &cpus[id];
}

static long cpu_on(uint64_t affinity, uint64_t entry, uint64_t argument)
{
	struct cpu *cpu = target_cpu(affinity);
	long result = PSCI_ALREADY_ON;

	if (cpu == NULL)
		return PSCI_INVALID_PARAMETERS;
	lock(&zones_lock);
	if (cpu->state == CPU_OFF) {
		cpu->entry = entry;
		cpu->argument = argument;
		cpu->state = CPU_STARTING;
		result = 0;
	}
	unlock(&zones_lock);
	gic_send_event_sgi(cpu->id);
	return result;
}

static long affinity_info(uint64_t affinity)
{
	const struct cpu *cpu = target_cpu(affinity);
	static const long answer[] = {[CPU_OFF] = 1, [CPU_STARTING] = 2, [CPU_RUNNING] = 0};
	long result;

	if (cpu == NULL)
		return PSCI_INVALID_PARAMETERS;
	lock(&zones_lock);
	result = answer[cpu->state];
	unlock(&zones_lock);
	return result;
}

static long features(uint64_t function)
{
	switch (function) {
	case SMCCC_VERSION:
	case PSCI_VERSION:
	case PSCI_CPU_OFF:
	case PSCI_CPU_ON:
	case PSCI_CPU_ON_64:
	case PSCI_AFFINITY_INFO:
	case PSCI_AFFINITY_INFO_64:
	case PSCI_MIGRATE_INFO_TYPE:
	case PSCI_SYSTEM_OFF:
	case PSCI_SYSTEM_RESET:
	case PSCI_FEATURES:
		return 0;
	default:
		return PSCI_NOT_SUPPORTED;
	}
}

uint64_t psci_call(const struct frame *frame)
{
	uint32_t function = (uint32_t)frame->x[0];

	switch (function) {
	case SMCCC_VERSION:
	case PSCI_VERSION:
		return 0x10001;
	case PSCI_CPU_OFF:
		cpu_stop();
	case PSCI_CPU_ON:
	case PSCI_CPU_ON_64:
		return (uint64_t)cpu_on(frame->x[1], frame->x[2], frame->x[3]);
	case PSCI_AFFINITY_INFO:
	case PSCI_AFFINITY_INFO_64:
		return (uint64_t)affinity_info(frame->x[1]);
	case PSCI_MIGRATE_INFO_TYPE:
		return 2; /* nothing to migrate */
	case PSCI_FEATURES:
		return (uint64_t)features((uint32_t)frame->x[1]);
	case PSCI_SYSTEM_OFF:
	case PSCI_SYSTEM_RESET:
		if (this_cpu()->zone == &zones[0]) {
			print("root switches the machine off");
			smc(function, 0, 0, 0);
		}
		zone_power_off(function == PSCI_SYSTEM_OFF ? "switches itself off" : "resets itself");
	default:
		return (uint64_t)PSCI_NOT_SUPPORTED;
	}
}
