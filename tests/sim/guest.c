/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GUEST_PAGE REGION_PAGE
#define GUEST_MAGIC 0x74726976u /* "virt" */

int guest_init_memory(struct guest *guest, const struct gmem *mem)
{
	uint64_t pages = 0;
	uint32_t i;

	*guest = (struct guest){.mem = mem};
	for (i = 0; i < mem->nspans; i++)
		pages += mem->span[i].size / GUEST_PAGE;
	guest->taken = calloc(pages, 1);
	if (!guest->taken)
		return -ENOMEM;
	/* Address 0 stands for "no memory". */
	guest->taken[0] = mem->span[0].gpa == 0;
	pthread_mutex_init(&guest->lock, NULL);
	return 0;
}

int guest_init(struct guest *guest, struct sim *sim, uint32_t zone)
{
	const struct gmem *mem = sim_zone_memory(sim, zone);
	int error = mem ? guest_init_memory(guest, mem) : -ENOENT;

	guest->sim = sim;
	guest->zone = zone;
	return error;
}

void guest_finish(struct guest *guest)
{
	pthread_mutex_destroy(&guest->lock);
	free(guest->taken);
}

/* The first of n free pages in a row among those of a span, or its end. */
static uint64_t guest_find_pages(const uint8_t *taken, uint64_t pages, uint64_t n)
{
	uint64_t run = 0;
	uint64_t i;

	for (i = 0; i < pages; i++) {
		run = taken[i] ? 0 : run + 1;
		if (run == n)
			return i + 1 - n;
	}
	return pages;
}

uint64_t guest_alloc(struct guest *guest, uint64_t bytes)
{
	uint64_t n = (bytes + GUEST_PAGE - 1) / GUEST_PAGE;
	const struct gmem_span *span;
	uint8_t *taken = guest->taken;
	uint64_t gpa = 0;
	uint64_t page;
	uint32_t i;

	pthread_mutex_lock(&guest->lock);
	for (i = 0; i < guest->mem->nspans && gpa == 0 && n > 0; i++) {
		span = &guest->mem->span[i];
		page = guest_find_pages(taken, span->size / GUEST_PAGE, n);
		if (page < span->size / GUEST_PAGE) {
			memset(taken + page, 1, n);
			memset(span->base + page * GUEST_PAGE, 0, n * GUEST_PAGE);
			gpa = span->gpa + page * GUEST_PAGE;
		}
		taken += span->size / GUEST_PAGE;
	}
	pthread_mutex_unlock(&guest->lock);
	return gpa;
}

void guest_free(struct guest *guest, uint64_t gpa, uint64_t bytes)
{
	const struct gmem_span *span = guest->mem->span;
	uint8_t *taken = guest->taken;

	if (gpa == 0)
		return;
	for (; gpa - span->gpa >= span->size; span++)
		taken += span->size / GUEST_PAGE;
	pthread_mutex_lock(&guest->lock);
	memset(taken + (gpa - span->gpa) / GUEST_PAGE, 0, (bytes + GUEST_PAGE - 1) / GUEST_PAGE);
	pthread_mutex_unlock(&guest->lock);
}

void *guest_at(const struct guest *guest, uint64_t gpa, uint64_t len)
{
	return gmem_at(guest->mem, gpa, len);
}

uint32_t guest_dev_read(struct guest_dev *dev, uint32_t cpu, uint32_t offset)
{
	return (uint32_t)sim_mmio_read(dev->guest->sim, dev->guest->zone, cpu, dev->base + offset, 4);
}

void guest_dev_write(struct guest_dev *dev, uint32_t cpu, uint32_t offset, uint32_t value)
{
	sim_mmio_write(dev->guest->sim, dev->guest->zone, cpu, dev->base + offset, 4, value);
}

int guest_dev_probe(struct guest_dev *dev, struct guest *guest, uint64_t base, uint32_t irq, uint32_t cpu)
{
	*dev = (struct guest_dev){.guest = guest, .base = base, .irq = irq};
	pthread_mutex_init(&dev->irq_lock, NULL);
	if (guest_dev_read(dev, cpu, VMMIO_MAGIC_VALUE) != GUEST_MAGIC)
		return -ENODEV;
	if (guest_dev_read(dev, cpu, VMMIO_VERSION) != 2)
		return -EPROTO;
	dev->device_id = guest_dev_read(dev, cpu, VMMIO_DEVICE_ID);
	return dev->device_id == 0 ? -ENODEV : 0;
}

int guest_dev_reset(struct guest_dev *dev, uint32_t cpu)
{
	dev->features = 0;
	guest_dev_write(dev, cpu, VMMIO_STATUS, 0);
	return guest_dev_read(dev, cpu, VMMIO_STATUS) == 0 ? 0 : -EIO;
}

static void guest_dev_add_status(struct guest_dev *dev, uint32_t cpu, uint32_t bits)
{
	guest_dev_write(dev, cpu, VMMIO_STATUS, guest_dev_read(dev, cpu, VMMIO_STATUS) | bits);
}

int guest_dev_negotiate(struct guest_dev *dev, uint32_t cpu, uint64_t wanted)
{
	int error = guest_dev_reset(dev, cpu);

	if (error)
		return error;
	guest_dev_add_status(dev, cpu, VMMIO_S_ACKNOWLEDGE);
	guest_dev_add_status(dev, cpu, VMMIO_S_DRIVER);
	guest_dev_write(dev, cpu, VMMIO_DEVICE_FEATURES_SEL, 1);
	dev->offered = (uint64_t)guest_dev_read(dev, cpu, VMMIO_DEVICE_FEATURES) << 32;
	guest_dev_write(dev, cpu, VMMIO_DEVICE_FEATURES_SEL, 0);
	dev->offered |= guest_dev_read(dev, cpu, VMMIO_DEVICE_FEATURES);
	dev->features = dev->offered & (wanted | VMMIO_F_VERSION_1) & ~dev->guest->without;

	guest_dev_write(dev, cpu, VMMIO_DRIVER_FEATURES_SEL, 1);
	guest_dev_write(dev, cpu, VMMIO_DRIVER_FEATURES, (uint32_t)(dev->features >> 32));
	guest_dev_write(dev, cpu, VMMIO_DRIVER_FEATURES_SEL, 0);
	guest_dev_write(dev, cpu, VMMIO_DRIVER_FEATURES, (uint32_t)dev->features);
	guest_dev_add_status(dev, cpu, VMMIO_S_FEATURES_OK);
	if (!(guest_dev_read(dev, cpu, VMMIO_STATUS) & VMMIO_S_FEATURES_OK)) {
		guest_dev_add_status(dev, cpu, VMMIO_S_FAILED);
		return -EOPNOTSUPP;
	}
	return 0;
}

int guest_dev_start(struct guest_dev *dev, uint32_t cpu)
{
	guest_dev_add_status(dev, cpu, VMMIO_S_DRIVER_OK);
	return guest_dev_read(dev, cpu, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET ? -EIO : 0;
}

/* The widest access that is aligned, as a driver that reads each field whole. */
static uint32_t guest_config_width(uint32_t offset, uint32_t len)
{
	if (offset % 4 == 0 && len >= 4)
		return 4;
	return offset % 2 == 0 && len >= 2 ? 2 : 1;
}

void guest_dev_config(struct guest_dev *dev, uint32_t cpu, uint32_t offset, void *bytes, uint32_t len)
{
	uint32_t before;
	uint32_t after;
	uint32_t width;
	uint64_t value;
	uint32_t i;

	do {
		before = guest_dev_read(dev, cpu, VMMIO_CONFIG_GENERATION);
		for (i = 0; i < len; i += width) {
			width = guest_config_width(offset + i, len - i);
			value = sim_mmio_read(dev->guest->sim, dev->guest->zone, cpu,
					      dev->base + VMMIO_CONFIG + offset + i, width);
			memcpy((uint8_t *)bytes + i, &value, width);
		}
		after = guest_dev_read(dev, cpu, VMMIO_CONFIG_GENERATION);
	} while (before != after);
}

void guest_dev_config_write(struct guest_dev *dev, uint32_t cpu, uint32_t offset, const void *bytes, uint32_t len)
{
	uint32_t width;
	uint64_t value;
	uint32_t i;

	for (i = 0; i < len; i += width) {
		width = guest_config_width(offset + i, len - i);
		value = 0;
		memcpy(&value, (const uint8_t *)bytes + i, width);
		sim_mmio_write(dev->guest->sim, dev->guest->zone, cpu, dev->base + VMMIO_CONFIG + offset + i, width,
			       value);
	}
}

uint32_t guest_dev_interrupt(struct guest_dev *dev, uint32_t cpu)
{
	uint32_t bits = 0;
	uint32_t count;

	pthread_mutex_lock(&dev->irq_lock);
	count = sim_irq_count(dev->guest->sim, dev->guest->zone, dev->irq);
	if (count != dev->irq_handled) {
		dev->irq_handled = count;
		bits = guest_dev_read(dev, cpu, VMMIO_INTERRUPT_STATUS);
		if (bits)
			guest_dev_write(dev, cpu, VMMIO_INTERRUPT_ACK, bits);
		if (bits & REGION_INT_CONFIG)
			__atomic_fetch_add(&dev->config_changes, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&dev->irq_lock);
	return bits;
}

bool guest_dev_wait(struct guest_dev *dev, uint32_t cpu, uint32_t *seen, int timeout_ms)
{
	uint32_t count = sim_irq_wait(dev->guest->sim, dev->guest->zone, dev->irq, *seen, timeout_ms);

	if (count == *seen)
		return false;
	*seen = count;
	guest_dev_interrupt(dev, cpu);
	return true;
}
