/* SPDX-License-Identifier: MIT */
/* What guests trap for: hypercalls, SMCs, SGIs, and accesses to addresses that stage 2 does not map. */
#include "hyp.h"

#define EC_HVC 0x16u
#define EC_SMC 0x17u
#define EC_SYSREG 0x18u
#define EC_INSTRUCTION_ABORT 0x20u
#define EC_DATA_ABORT 0x24u

#define HVC_IMMEDIATE 0x4856u
#define SYSREG_ICC_SGI1R 0x3a3016u /* of the syndrome, without the register's number */
#define SYSREG_MASK 0x3ffc1eu

#define ISS_ISV (1u << 24)
#define ISS_SSE (1u << 21)
#define ISS_SF (1u << 15)
#define ISS_CM (1u << 8)
#define ISS_S1PTW (1u << 7)
#define ISS_WNR (1u << 6)

static void skip_instruction(void)
{
	sysreg_write(elr_el2, sysreg_read(elr_el2) + 4);
}

static uint64_t register_read(const struct frame *frame, uint32_t n)
{
	return n == 31 ? 0 : frame->x[n];
}

static long hypercall(uint64_t code, uint64_t a, uint64_t b)
{
	if (this_cpu()->zone != &zones[0]) {
		violation("zone %u makes hypercall %lu", this_cpu()->zone->id, code);
		return ERR_PERM;
	}
	switch (code) {
	case 0:
		return hypercall_init_virtio(a);
	case 1:
		return hypercall_inject();
	case 2:
		return hypercall_zone_start(a, b);
	case 3:
		return hypercall_zone_shutdown(a);
	case 4:
		return hypercall_zone_list(a, b);
	case 6:
		return hypercall_config_check(a);
	default:
		print("unknown hypercall %lu", code);
		return options & OPTION_UNKNOWN_OK ? 0 : ERR_NOSYS;
	}
}

static uint64_t device_access(struct zone *zone, uint64_t address, uint32_t size, bool write, uint64_t value)
{
	if (address - GICD_BASE < GICD_SIZE)
		return gicd_access(zone, address - GICD_BASE, size, write, value);
	if (address - GICR_BASE < 0xf60000)
		return gicr_access(zone, address - GICR_BASE, size, write, value);
	if (address - UART_BASE < 0x1000)
		return uart_access(zone, address - UART_BASE, size, write, value);
	for (uint32_t n = 0; n < zone->nwindows; n++) {
		if (address - zone->window[n].base < zone->window[n].size)
			return bridge_access(zone, address, size, write, value);
	}
	violation("zone %u %s %u bytes at %#lx, where it has nothing (pc %#lx)", zone->id, write ? "writes" : "reads",
		  size, address, sysreg_read(elr_el2));
	return 0;
}

static void data_abort(struct frame *frame, uint32_t iss)
{
	struct zone *zone = this_cpu()->zone;
	uint64_t address = (sysreg_read(hpfar_el2) >> 4) << 12 | (sysreg_read(far_el2) & 0xfff);
	uint32_t size = 1u << (iss >> 22 & 3);
	uint32_t target = iss >> 16 & 31;
	bool write = iss & ISS_WNR;
	uint64_t value;

	if (!(iss & ISS_ISV) || iss & (ISS_S1PTW | ISS_CM)) {
		violation("zone %u, pc %#lx: an access to %#lx that cannot be emulated", zone->id, sysreg_read(elr_el2),
			  address);
		zone_power_off("cannot go on");
	}
	value = write ? register_read(frame, target) : 0;
	if (size < 8)
		value &= (1ul << (size * 8)) - 1;
	value = device_access(zone, address, size, write, value);
	if (!write && target != 31) {
		if (size < 8) {
			uint32_t unused = 64 - size * 8;

			value <<= unused;
			value = iss & ISS_SSE ? (uint64_t)((int64_t)value >> unused) : value >> unused;
		}
		frame->x[target] = iss & ISS_SF ? value : (uint32_t)value;
	}
	skip_instruction();
}

void handle_sync(struct frame *frame)
{
	uint64_t esr = sysreg_read(esr_el2);
	uint32_t iss = esr & 0x1ffffff;
	uint64_t pc = sysreg_read(elr_el2);

	switch (esr >> 26 & 0x3f) {
	case EC_HVC:
		if ((iss & 0xffff) != HVC_IMMEDIATE)
			violation("zone %u: hvc #%#x is no hypercall", this_cpu()->zone->id, iss & 0xffff);
		frame->x[0] = (uint64_t)hypercall(frame->x[0], frame->x[1], frame->x[2]);
		return;
	case EC_SMC:
		frame->x[0] = psci_call(frame);
		skip_instruction();
		return;
	case EC_SYSREG:
		if ((iss & SYSREG_MASK) == SYSREG_ICC_SGI1R && !(iss & 1))
			gic_guest_sgi(this_cpu()->zone, register_read(frame, iss >> 5 & 31));
		else
			violation("zone %u, pc %#lx: system register, syndrome %#x", this_cpu()->zone->id, pc, iss);
		skip_instruction();
		return;
	case EC_DATA_ABORT:
		data_abort(frame, iss);
		return;
	default:
		violation("zone %u, pc %#lx: syndrome %#lx, address %#lx", this_cpu()->zone->id, pc, esr,
			  (sysreg_read(hpfar_el2) >> 4) << 12);
		zone_power_off("cannot go on");
	}
}

void handle_irq(struct frame *frame)
{
	(void)frame;
	gic_handle_irq();
}

void handle_unexpected(uint64_t vector)
{
	panic("exception %lu at %#lx: syndrome %#lx, address %#lx", vector, sysreg_read(elr_el2), sysreg_read(esr_el2),
	      sysreg_read(far_el2));
}
