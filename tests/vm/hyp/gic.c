/* SPDX-License-Identifier: MIT */
/*
 * The GICv3. Physical interrupts come to EL2, are given to the guest of that CPU in a list register, and are
 * deactivated by the guest's own end-of-interrupt. Guests reach the distributor and the redistributors by traps only:
 * an access is passed on, cut down to the interrupts that the zone owns.
 */
#include "hyp.h"

#define GICD_CTLR 0x0u
#define GICD_TYPER 0x4u
#define GICD_IIDR 0x8u
#define GICD_IGROUPR 0x80u
#define GICD_ISENABLER 0x100u
#define GICD_ICENABLER 0x180u
#define GICD_ICPENDR 0x280u
#define GICD_ICACTIVER 0x380u
#define GICD_IPRIORITYR 0x400u
#define GICD_ITARGETSR 0x800u
#define GICD_ICFGR 0xc00u
#define GICD_ICFGR_END 0xd00u
#define GICD_IROUTER 0x6000u
#define GICD_IDREGS 0xffd0u
#define GICD_CTLR_NS_VIEW 0x12u /* affinity routing and group 1 are on */
#define GICD_TYPER_LPIS (1u << 17)
#define GICD_TYPER_MBIS (1u << 16)

#define GICR_CTLR 0x0u
#define GICR_IIDR 0x4u
#define GICR_TYPER 0x8u
#define GICR_WAKER 0x14u
#define GICR_SGI_FRAME 0x10000u /* has the layout of the distributor, for interrupts 0 to 31 */
#define GICR_TYPER_LPIS 3ul
#define GICR_WAKER_PROCESSOR_SLEEP 2u
#define GICR_WAKER_CHILDREN_ASLEEP 4u

#define EVENT_SGI 15u /* the hypervisor's own; guests have the others */
#define MAINTENANCE_INTID 25u
#define GUEST_PPIS (1u << 27 | 1u << 30) /* virtual and physical timer */
#define PRIORITIES 0xa0a0a0a0u

#define ICH_HCR_EN 1ul
#define ICH_HCR_UIE 2ul
#define LR_PENDING (1ul << 62)
#define LR_ACTIVE (1ul << 63)
#define LR_HW (1ul << 61)
#define LR_GROUP1 (1ul << 60)

static struct lock gicd_lock; /* for changes that read first */

static uint32_t lr_count(void)
{
	uint32_t n = (uint32_t)(sysreg_read(S3_4_C12_C11_1) & 0x1f) + 1; /* ICH_VTR_EL2 */

	return n < 4 ? n : 4;
}

static uint64_t lr_read(uint32_t n)
{
	switch (n) {
	case 0:
		return sysreg_read(S3_4_C12_C12_0);
	case 1:
		return sysreg_read(S3_4_C12_C12_1);
	case 2:
		return sysreg_read(S3_4_C12_C12_2);
	default:
		return sysreg_read(S3_4_C12_C12_3);
	}
}

static void lr_write(uint32_t n, uint64_t value)
{
	switch (n) {
	case 0:
		sysreg_write(S3_4_C12_C12_0, value);
		break;
	case 1:
		sysreg_write(S3_4_C12_C12_1, value);
		break;
	case 2:
		sysreg_write(S3_4_C12_C12_2, value);
		break;
	default:
		sysreg_write(S3_4_C12_C12_3, value);
		break;
	}
}

static uint64_t redistributor(uint32_t cpu)
{
	return GICR_BASE + cpu * GICR_STRIDE;
}

void gic_init_distributor(void)
{
	mmio_write(GICD_BASE + GICD_CTLR, 4, GICD_CTLR_NS_VIEW & ~2u);
	mmio_write(GICD_BASE + GICD_CTLR, 4, GICD_CTLR_NS_VIEW);
	for (uint32_t n = SPI_FIRST; n < INTIDS; n += 32) {
		mmio_write(GICD_BASE + GICD_ICENABLER + n / 8, 4, ~0u);
		mmio_write(GICD_BASE + GICD_IGROUPR + n / 8, 4, ~0u);
	}
	for (uint32_t n = SPI_FIRST; n < INTIDS; n += 4)
		mmio_write(GICD_BASE + GICD_IPRIORITYR + n, 4, PRIORITIES);
}

void gic_init_cpu(void)
{
	uint64_t gicr = redistributor(this_cpu()->id);
	uint64_t sgis = gicr + GICR_SGI_FRAME;

	mmio_write(gicr + GICR_WAKER, 4, mmio_read(gicr + GICR_WAKER, 4) & ~(uint64_t)GICR_WAKER_PROCESSOR_SLEEP);
	while (mmio_read(gicr + GICR_WAKER, 4) & GICR_WAKER_CHILDREN_ASLEEP) {
	}
	mmio_write(sgis + GICD_IGROUPR, 4, ~0u);
	for (uint32_t n = 0; n < 32; n += 4)
		mmio_write(sgis + GICD_IPRIORITYR + n, 4, PRIORITIES);
	mmio_write(sgis + GICD_ICENABLER, 4, ~0u);
	mmio_write(sgis + GICD_ISENABLER, 4, 0xffffu | 1u << MAINTENANCE_INTID);

	sysreg_write(S3_4_C12_C9_5, 0xf); /* ICC_SRE_EL2: system registers, for EL1 too */
	isb();
	sysreg_write(S3_0_C12_C12_5, 7); /* ICC_SRE_EL1 */
	isb();
	sysreg_write(S3_0_C4_C6_0, 0xf0); /* ICC_PMR_EL1 */
	sysreg_write(S3_0_C12_C12_3, 0); /* ICC_BPR1_EL1 */
	sysreg_write(S3_0_C12_C12_4, 2); /* ICC_CTLR_EL1: end of interrupt and deactivation are two steps */
	sysreg_write(S3_0_C12_C12_7, 1); /* ICC_IGRPEN1_EL1 */
	isb();
	gic_reset_vcpu();
}

void gic_reset_vcpu(void)
{
	struct cpu *cpu = this_cpu();
	uint64_t sgis = redistributor(cpu->id) + GICR_SGI_FRAME;

	for (uint32_t n = 0; n < lr_count(); n++)
		lr_write(n, 0);
	sysreg_write(S3_4_C12_C8_0, 0); /* ICH_AP0R0_EL2 */
	sysreg_write(S3_4_C12_C9_0, 0); /* ICH_AP1R0_EL2 */
	sysreg_write(S3_4_C12_C11_7, 0); /* ICH_VMCR_EL2 */
	sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN); /* ICH_HCR_EL2 */
	isb();
	for (uint32_t n = 0; n < INTIDS / 32; n++) {
		cpu->pending[n] = 0;
		cpu->pending_hw[n] = 0;
	}
	mmio_write(sgis + GICD_ICENABLER, 4, GUEST_PPIS);
	mmio_write(sgis + GICD_ICPENDR, 4, GUEST_PPIS);
	mmio_write(sgis + GICD_ICACTIVER, 4, GUEST_PPIS);
}

void gic_reset_zone(const struct zone *zone)
{
	for (uint32_t n = 1; n < INTIDS / 32; n++) {
		mmio_write(GICD_BASE + GICD_ICENABLER + n * 4, 4, zone->irqs[n]);
		mmio_write(GICD_BASE + GICD_ICPENDR + n * 4, 4, zone->irqs[n]);
		mmio_write(GICD_BASE + GICD_ICACTIVER + n * 4, 4, zone->irqs[n]);
	}
}

static void sgi_send(uint32_t intid, uint32_t targets)
{
	dsb();
	sysreg_write(S3_0_C12_C11_5, (uint64_t)intid << 24 | targets); /* ICC_SGI1R_EL1 */
	isb();
}

void gic_send_event_sgi(uint32_t cpu)
{
	sgi_send(EVENT_SGI, 1u << cpu);
}

void gic_inject(uint32_t intid, bool hw)
{
	struct cpu *cpu = this_cpu();
	uint32_t count = lr_count();
	uint32_t unused = count;

	for (uint32_t n = 0; n < count; n++) {
		uint64_t lr = lr_read(n);

		if ((lr & (LR_PENDING | LR_ACTIVE)) == 0) {
			if (unused == count)
				unused = n;
			continue;
		}
		if ((uint32_t)lr != intid)
			continue;
		if (lr & LR_PENDING)
			return;
		if (options & OPTION_DROP_ACTIVE && intid >= SPI_FIRST) {
			cpu->dropped++;
			return;
		}
		lr_write(n, lr | LR_PENDING);
		return;
	}
	if (unused == count) {
		bit_set(cpu->pending, intid);
		if (hw)
			bit_set(cpu->pending_hw, intid);
		sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN | ICH_HCR_UIE);
		return;
	}
	lr_write(unused, LR_PENDING | LR_GROUP1 | intid | (hw ? LR_HW | (uint64_t)intid << 32 : 0));
}

/* List registers have become free: what waits for one gets it. */
static void refill(void)
{
	struct cpu *cpu = this_cpu();

	sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN);
	for (uint32_t n = 0; n < INTIDS / 32; n++) {
		uint32_t waiting = cpu->pending[n], hw = cpu->pending_hw[n];

		cpu->pending[n] = 0;
		cpu->pending_hw[n] = 0;
		for (uint32_t bit = 0; waiting != 0; bit++, waiting >>= 1) {
			if (waiting & 1)
				gic_inject(n * 32 + bit, hw >> bit & 1);
		}
	}
}

void gic_handle_irq(void)
{
	struct cpu *cpu = this_cpu();

	for (;;) {
		uint32_t intid = (uint32_t)sysreg_read(S3_0_C12_C12_0) & 0xffffff; /* ICC_IAR1_EL1 */
		bool hw = intid >= 16 && intid != MAINTENANCE_INTID;

		if (intid >= SPI_END)
			return;
		sysreg_write(S3_0_C12_C12_1, intid); /* ICC_EOIR1_EL1 */
		if (!hw || cpu->state != CPU_RUNNING)
			sysreg_write(S3_0_C12_C11_1, intid); /* ICC_DIR_EL1 */
		isb();
		if (intid == EVENT_SGI)
			cpu_take_events();
		else if (intid == MAINTENANCE_INTID)
			refill();
		else if (cpu->state == CPU_RUNNING)
			gic_inject(intid, hw);
	}
}

void gic_guest_sgi(struct zone *zone, uint64_t value)
{
	uint32_t targets = value & 0xffff;
	uint32_t intid = value >> 24 & 0xf;

	if (value >> 40 & 1)
		targets = ~(1u << this_cpu()->id);
	else if (value & 0xff00ff00ff0000ul) /* affinities 1 to 3: there is no such CPU */
		return;
	if (intid == EVENT_SGI) {
		violation("zone %u sends SGI %u, which is the hypervisor's", zone->id, intid);
		return;
	}
	targets &= zone->cpus;
	if (targets != 0)
		sgi_send(intid, targets);
}

/* Which bits of a word of the distributor, with bits bits for each interrupt from intid on, are the zone's. */
static uint32_t owned_bits(const struct zone *zone, uint32_t intid, uint32_t bits)
{
	uint32_t each = bits == 32 ? ~0u : (1u << bits) - 1;
	uint32_t mask = 0;

	for (uint32_t n = 0; n < 32 / bits; n++) {
		if (intid + n >= SPI_FIRST && intid + n < SPI_END && bit_test(zone->irqs, intid + n))
			mask |= each << (n * bits);
	}
	return mask;
}

static uint32_t width_mask(uint32_t size)
{
	return size >= 4 ? ~0u : (1u << (size * 8)) - 1;
}

/* A word of which only the masked bits are the guest's. set_or_clear: zeroes in what is written change nothing. */
static uint64_t masked_access(uint64_t address, uint32_t size, bool write, uint64_t value, uint32_t mask,
			      bool set_or_clear)
{
	uint64_t word = address & ~3ul;
	uint32_t shift = (uint32_t)(address & 3) * 8;
	uint32_t old;

	mask &= width_mask(size) << shift;
	if (!write)
		return ((uint32_t)mmio_read(word, 4) & mask) >> shift;
	value <<= shift;
	if (set_or_clear) {
		mmio_write(word, 4, value & mask);
		return 0;
	}
	lock(&gicd_lock);
	old = (uint32_t)mmio_read(word, 4);
	mmio_write(word, 4, (old & ~mask) | ((uint32_t)value & mask));
	unlock(&gicd_lock);
	return 0;
}

static uint64_t router_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value)
{
	uint32_t intid = (uint32_t)(offset - GICD_IROUTER) / 8;

	if (intid < SPI_FIRST || intid >= SPI_END || !bit_test(zone->irqs, intid))
		return 0;
	if (!write)
		return mmio_read(GICD_BASE + offset, size);
	if (offset % 8 == 0 && (value >= CPUS || !(zone->cpus >> value & 1))) {
		violation("zone %u routes interrupt %u to CPU %#lx, which is not its own", zone->id, intid, value);
		return 0;
	}
	mmio_write(GICD_BASE + offset, size, value);
	return 0;
}

uint64_t gicd_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value)
{
	uint64_t address = GICD_BASE + offset;

	if (offset >= GICD_IROUTER && offset < GICD_IROUTER + 8 * SPI_END)
		return router_access(zone, offset, size, write, value);
	if (size > 4)
		return 0;
	if (offset >= GICD_ICFGR && offset < GICD_ICFGR_END)
		return masked_access(address, size, write, value,
				     owned_bits(zone, (uint32_t)(offset - GICD_ICFGR) / 4 * 16, 2), false);
	if (offset >= GICD_IPRIORITYR && offset < GICD_ITARGETSR)
		return masked_access(address, size, write, value,
				     owned_bits(zone, (uint32_t)(offset - GICD_IPRIORITYR) & ~3u, 8), false);
	if (offset >= GICD_ISENABLER && offset < GICD_IPRIORITYR)
		return masked_access(address, size, write, value, owned_bits(zone, (uint32_t)(offset & 0x7c) * 8, 1),
				     true);
	if (write)
		return 0;
	if (offset == GICD_CTLR)
		return GICD_CTLR_NS_VIEW;
	if (offset == GICD_TYPER)
		return mmio_read(address, 4) & ~(uint64_t)(GICD_TYPER_LPIS | GICD_TYPER_MBIS);
	if (offset >= GICD_IGROUPR && offset < GICD_ISENABLER)
		return owned_bits(zone, (uint32_t)(offset & 0x7c) * 8, 1);
	if (offset == GICD_IIDR || offset >= GICD_IDREGS)
		return mmio_read(address, size);
	return 0;
}

uint64_t gicr_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value)
{
	uint32_t cpu = (uint32_t)(offset / GICR_STRIDE);
	uint64_t address = GICR_BASE + offset;
	uint32_t reg = (uint32_t)(offset % GICR_STRIDE);

	if (cpu >= CPUS)
		return 0;
	/* What a kernel reads of every CPU's redistributor, to find its own. */
	if (reg == GICR_TYPER || reg == GICR_TYPER + 4)
		return write ? 0 : mmio_read(address, size) & ~(reg == GICR_TYPER ? GICR_TYPER_LPIS : 0);
	if (reg == GICR_IIDR || (reg >= GICD_IDREGS && reg < GICR_SGI_FRAME))
		return write ? 0 : mmio_read(address, size);
	if (reg < GICR_SGI_FRAME || !(zone->cpus >> cpu & 1) || size > 4)
		return 0; /* awake, no LPIs, nothing to wait for; another zone's */
	reg -= GICR_SGI_FRAME;
	if (reg >= GICD_ISENABLER && reg < GICD_IPRIORITYR)
		return masked_access(address, size, write, value, reg % 0x80 == 0 ? GUEST_PPIS : 0, true);
	if (write)
		return 0;
	if (reg == GICD_IGROUPR)
		return ~0u;
	if (reg >= GICD_IPRIORITYR && reg < GICD_IPRIORITYR + 32)
		return PRIORITIES & width_mask(size);
	if (reg == GICD_ICFGR || reg == GICD_ICFGR + 4)
		return mmio_read(address, size);
	return 0;
}
