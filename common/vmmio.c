/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "vmmio.h"

#define VMMIO_MAGIC 0x74726976u /* "virt" */
#define VMMIO_DEVICE_VERSION 2u

/* The bits of status that a driver sets. */
#define VMMIO_S_DRIVER_BITS                                                                                            \
	(VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_DRIVER_OK | VMMIO_S_FEATURES_OK | VMMIO_S_FAILED)
#define VMMIO_INTERRUPTS (REGION_INT_USED | REGION_INT_CONFIG)

/* How often a read of config is tried again because the backend changed config during it. */
#define VMMIO_CONFIG_TRIES 4u

/* Kicks the backend if it sleeps. What it is to find is in the region already. */
static core_u32 vmmio_wake(struct queue_region *region)
{
	core_fence();
	return core_xchg32(&region->doorbell.sleeping, 0) == 1 ? VMMIO_KICK : 0;
}

core_u32 vmmio_ring(struct queue_region *region, core_u32 events)
{
	core_or32(&region->doorbell.events, events);
	return vmmio_wake(region);
}

static void vmmio_set_quiesce_seq(struct vmmio_dev *dev)
{
	dev->quiesce_seq++;
	if (dev->quiesce_seq == 0)
		dev->quiesce_seq = 1;
}

/* Shows the backend queue q as it is to serve it: a queue that has to become quiet is not ready any more. */
static void vmmio_publish_queue(struct vmmio_dev *dev, core_u32 q)
{
	const struct vmmio_queue *queue = &dev->queue[q];
	struct region_queue *shared = &dev->region->driver.queue[q];
	bool ready = queue->ready && !queue->quiesce && !dev->reset_pending;

	core_store(&shared->num, queue->num);
	core_store(&shared->epoch, queue->epoch);
	core_store(&shared->desc, queue->desc);
	core_store(&shared->driver, queue->driver);
	core_store(&shared->device, queue->device);
	core_store_release(&shared->ready, ready ? 1 : 0);
}

/* Shows the backend status, features and what it has to acknowledge. */
static void vmmio_publish_status(struct vmmio_dev *dev)
{
	struct region_driver *shared = &dev->region->driver;
	core_u32 status = dev->reset_pending ? 0 : dev->status;

	core_store(&shared->resets, dev->resets);
	core_store(&shared->features, status & VMMIO_S_FEATURES_OK ? dev->driver_features : 0);
	core_store_release(&shared->status, status);
	core_store_release(&shared->quiesce_seq, dev->quiesce_seq);
}

static bool vmmio_is_writable(const struct vmmio_dev *dev, core_u64 n)
{
	return n < dev->shape.config_len && (dev->config_writable[n / 8] >> (n % 8) & 1) != 0;
}

/* The copy in force first: region_config_recover() relies on it. */
static void vmmio_store_config(struct vmmio_dev *dev, core_u64 n, core_u8 byte)
{
	core_u32 gen = core_load(&dev->region->device.config_gen);

	core_store(&dev->region->config[gen & 1][n], byte);
	core_store_release(&dev->region->config[(gen + 1) & 1][n], byte);
}

void vmmio_init(struct vmmio_dev *dev, struct queue_region *region, const struct region_shape *shape,
		const core_u8 *config, const core_u8 *config_writable)
{
	__builtin_memset(dev, 0, sizeof(*dev));
	dev->region = region;
	dev->shape = *shape;
	__builtin_memcpy(dev->config_writable, config_writable, sizeof(dev->config_writable));
	__builtin_memcpy(dev->config_initial, config, shape->config_len);
}

/* Reset and quiescence */

static bool vmmio_is_pending(const struct vmmio_dev *dev)
{
	core_u32 q;

	if (dev->reset_pending)
		return true;
	for (q = 0; q < dev->shape.nqueues; q++) {
		if (dev->queue[q].quiesce)
			return true;
	}
	return false;
}

static bool vmmio_is_acknowledged(const struct vmmio_dev *dev)
{
	return !dev->attached || core_load_acquire(&dev->region->device.quiesce_ack) == dev->quiesce_seq;
}

/* The queue is quiet. QueueReset forgets how it was set up, QueueReady = 0 does not. */
static void vmmio_finish_queue(struct vmmio_queue *queue)
{
	queue->ready = 0;
	queue->quiesce = 0;
	if (queue->reset) {
		queue->num = 0;
		queue->desc = 0;
		queue->driver = 0;
		queue->device = 0;
		queue->reset = 0;
	}
}

/* The device is quiet: only now status reads 0 (virtio 1.2, 2.4.1). */
static void vmmio_finish_reset(struct vmmio_dev *dev)
{
	core_u32 q;

	dev->reset_pending = false;
	dev->faulty = false;
	dev->resets++;
	dev->status = 0;
	dev->device_features_sel = 0;
	dev->driver_features_sel = 0;
	dev->queue_sel = 0;
	dev->driver_features = 0;
	for (q = 0; q < dev->shape.nqueues; q++) {
		dev->queue[q].reset = 1;
		vmmio_finish_queue(&dev->queue[q]);
		vmmio_publish_queue(dev, q);
	}
	vmmio_publish_status(dev);
	core_store(&dev->region->device.needs_reset, 0);
	core_and32(&dev->region->irq.interrupt_status, 0);
}

/* Ends all that waits for the backend. */
static void vmmio_finish_pending(struct vmmio_dev *dev)
{
	core_u32 q;

	if (dev->reset_pending)
		vmmio_finish_reset(dev);
	for (q = 0; q < dev->shape.nqueues; q++) {
		if (dev->queue[q].quiesce) {
			vmmio_finish_queue(&dev->queue[q]);
			vmmio_publish_queue(dev, q);
		}
	}
}

core_u32 vmmio_reset(struct vmmio_dev *dev)
{
	bool quiet = dev->status == 0 && !core_load(&dev->region->device.needs_reset);
	core_u32 events = 0;
	core_u32 n;

	if (dev->reset_pending)
		return 0;
	if (dev->config_written) {
		for (n = 0; n < dev->shape.config_len; n++) {
			if (vmmio_is_writable(dev, n))
				vmmio_store_config(dev, n, dev->config_initial[n]);
		}
		dev->config_written = false;
		events |= REGION_EV_CONFIG;
	}
	if (!quiet) {
		vmmio_set_quiesce_seq(dev);
		events |= REGION_EV_STATUS;
	}
	if (quiet || !dev->attached) {
		vmmio_finish_reset(dev);
	} else {
		dev->reset_pending = true;
		for (n = 0; n < dev->shape.nqueues; n++)
			vmmio_publish_queue(dev, n);
		vmmio_publish_status(dev);
	}
	return events ? vmmio_ring(dev->region, events) : 0;
}

static core_u32 vmmio_write_reset(struct vmmio_dev *dev, core_u32 cpu)
{
	core_u32 effects = vmmio_reset(dev);

	if (!dev->reset_pending)
		return effects;
	dev->held_cpus |= 1u << cpu;
	return effects | VMMIO_HOLD;
}

/* Takes a ready queue away from the backend. */
static core_u32 vmmio_disable_queue(struct vmmio_dev *dev, core_u32 q, core_u32 cpu)
{
	struct vmmio_queue *queue = &dev->queue[q];
	core_u32 effects = 0;

	vmmio_set_quiesce_seq(dev);
	if (dev->attached) {
		queue->quiesce = dev->quiesce_seq;
		dev->held_cpus |= 1u << cpu;
		effects |= VMMIO_HOLD;
	} else {
		vmmio_finish_queue(queue);
	}
	vmmio_publish_queue(dev, q);
	vmmio_publish_status(dev);
	return effects | vmmio_ring(dev->region, REGION_EV_STATUS);
}

core_u32 vmmio_quiesced(struct vmmio_dev *dev)
{
	core_u32 cpus = dev->held_cpus;

	if (vmmio_is_pending(dev)) {
		if (!vmmio_is_acknowledged(dev))
			return 0;
		vmmio_finish_pending(dev);
	}
	dev->held_cpus = 0;
	return cpus;
}

bool vmmio_is_quiet(const struct vmmio_dev *dev)
{
	bool acknowledged = vmmio_is_acknowledged(dev);
	core_u32 q;

	if (!dev->attached)
		return true;
	if (dev->reset_pending)
		return acknowledged;
	for (q = 0; q < dev->shape.nqueues; q++) {
		if (dev->queue[q].ready && !(dev->queue[q].quiesce && acknowledged))
			return false;
	}
	return true;
}

/* Backends that come and go */

void vmmio_attach(struct vmmio_dev *dev)
{
	struct region_driver *shared = &dev->region->driver;
	core_u64 ready = 0;
	core_u32 q;

	vmmio_finish_pending(dev);
	region_write_head(dev->region, &dev->shape);
	__builtin_memset(shared, 0, sizeof(*shared));
	for (q = 0; q < dev->shape.nqueues; q++) {
		vmmio_publish_queue(dev, q);
		if (dev->queue[q].ready)
			ready |= 1ull << q;
	}
	core_store(&dev->region->config_writes.count, dev->config_writes);
	core_store(&dev->region->device.quiesce_ack, dev->quiesce_seq);
	vmmio_publish_status(dev);
	core_or64(&dev->region->doorbell.queues, ready);
	vmmio_ring(dev->region, REGION_EV_STATUS | REGION_EV_CONFIG | REGION_EV_CONTROL);
	dev->attached = true;
}

void vmmio_detach(struct vmmio_dev *dev)
{
	dev->attached = false;
	vmmio_finish_pending(dev);
}

/* Tells a driver that runs that the device needs a reset (virtio 1.2, 2.1.2). */
static core_u32 vmmio_tell_needs_reset(struct vmmio_dev *dev)
{
	if (!(dev->status & VMMIO_S_DRIVER_OK) || dev->reset_pending)
		return 0;
	core_or32(&dev->region->irq.interrupt_status, REGION_INT_CONFIG);
	return VMMIO_INTERRUPT;
}

core_u32 vmmio_fail(struct vmmio_dev *dev)
{
	if (dev->failed)
		return 0;
	dev->failed = true;
	return vmmio_tell_needs_reset(dev);
}

void vmmio_repair(struct vmmio_dev *dev)
{
	dev->failed = false;
}

/* Reads */

static core_u64 vmmio_read_config(struct vmmio_dev *dev, core_u64 first, core_u32 size)
{
	struct queue_region *region = dev->region;
	core_u32 tries = 0;
	core_u64 value;
	core_u32 gen;
	core_u32 i;

	/* A field of up to 8 bytes is read without a look at the generation: it must be whole for all that. */
	do {
		value = 0;
		gen = core_load_acquire(&region->device.config_gen);
		for (i = 0; i < size && first + i < dev->shape.config_len; i++)
			value |= (core_u64)core_load(&region->config[gen & 1][first + i]) << (8 * i);
		core_fence();
		tries++;
	} while (core_load(&region->device.config_gen) != gen && tries < VMMIO_CONFIG_TRIES);
	return value;
}

core_u32 vmmio_status(const struct vmmio_dev *dev)
{
	core_u32 status = dev->status;

	if (dev->failed || dev->faulty || core_load(&dev->region->device.needs_reset))
		status |= VMMIO_S_NEEDS_RESET;
	return status;
}

static core_u32 vmmio_read_queue(const struct vmmio_dev *dev, core_u32 offset)
{
	const struct vmmio_queue *queue;

	if (dev->queue_sel >= dev->shape.nqueues)
		return 0;
	queue = &dev->queue[dev->queue_sel];
	switch (offset) {
	case VMMIO_QUEUE_NUM_MAX:
		return dev->shape.queue_size_max;
	case VMMIO_QUEUE_READY:
		return queue->ready; /* still 1 while it has to become quiet */
	default: /* VMMIO_QUEUE_RESET */
		return queue->quiesce && queue->reset ? 1 : 0;
	}
}

static core_u32 vmmio_read_register(struct vmmio_dev *dev, core_u32 offset)
{
	core_u32 sel = dev->device_features_sel;

	switch (offset) {
	case VMMIO_MAGIC_VALUE:
		return VMMIO_MAGIC;
	case VMMIO_VERSION:
		return VMMIO_DEVICE_VERSION;
	case VMMIO_DEVICE_ID:
		return dev->shape.device_id;
	case VMMIO_VENDOR_ID:
		return VMMIO_VENDOR;
	case VMMIO_DEVICE_FEATURES:
		return sel > 1 ? 0 : (core_u32)(dev->shape.device_features >> (32 * sel));
	case VMMIO_QUEUE_NUM_MAX:
	case VMMIO_QUEUE_READY:
	case VMMIO_QUEUE_RESET:
		return vmmio_read_queue(dev, offset);
	case VMMIO_INTERRUPT_STATUS:
		return core_load_acquire(&dev->region->irq.interrupt_status) & VMMIO_INTERRUPTS;
	case VMMIO_STATUS:
		return vmmio_status(dev);
	case VMMIO_SHM_LEN_LOW:
	case VMMIO_SHM_LEN_HIGH:
	case VMMIO_SHM_BASE_LOW:
	case VMMIO_SHM_BASE_HIGH:
		return 0xffffffffu; /* no such region: virtio 1.2, 4.2.2.1 */
	case VMMIO_CONFIG_GENERATION:
		return core_load_acquire(&dev->region->device.config_gen);
	default: /* write-only, or no register */
		dev->bad_accesses++;
		return 0;
	}
}

static bool vmmio_is_width(core_u32 size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

core_u32 vmmio_read(struct vmmio_dev *dev, core_u64 offset, core_u32 size, core_u64 *value)
{
	dev->accesses++;
	*value = 0;
	if (!vmmio_is_width(size)) {
		dev->bad_accesses++;
	} else if (offset >= VMMIO_CONFIG) {
		*value = vmmio_read_config(dev, offset - VMMIO_CONFIG, size);
	} else if (size != 4 || offset % 4 != 0) {
		dev->bad_accesses++;
	} else {
		*value = vmmio_read_register(dev, (core_u32)offset);
	}
	return 0;
}

/* Writes */

static void vmmio_note_config_write(struct vmmio_dev *dev, core_u64 first, core_u32 size, core_u64 value)
{
	struct region_config_writes *writes = &dev->region->config_writes;
	struct region_config_write *write = &writes->write[dev->config_writes % REGION_CONFIG_WRITES];

	core_store(&write->offset, (core_u16)first);
	core_store(&write->size, (core_u16)size);
	core_store(&write->value, (core_u32)value);
	dev->config_writes++;
	core_store_release(&writes->count, dev->config_writes);
}

static core_u32 vmmio_write_config(struct vmmio_dev *dev, core_u64 first, core_u32 size, core_u64 value)
{
	bool written = false;
	core_u32 i;

	for (i = 0; i < size; i++) {
		if (vmmio_is_writable(dev, first + i)) {
			vmmio_store_config(dev, first + i, (core_u8)(value >> (8 * i)));
			written = true;
		}
	}
	if (!written) {
		dev->bad_accesses++;
		return 0;
	}
	dev->config_written = true;
	vmmio_note_config_write(dev, first, size, value);
	return vmmio_ring(dev->region, REGION_EV_CONFIG);
}

static void vmmio_write_driver_features(struct vmmio_dev *dev, core_u32 value)
{
	core_u32 shift;

	if (dev->status & VMMIO_S_FEATURES_OK) {
		dev->bad_accesses++;
		return;
	}
	if (dev->driver_features_sel > 1)
		return;
	shift = 32 * dev->driver_features_sel;
	dev->driver_features &= ~(0xffffffffull << shift);
	dev->driver_features |= (core_u64)value << shift;
}

static core_u32 vmmio_write_status(struct vmmio_dev *dev, core_u32 value, core_u32 cpu)
{
	core_u32 status = dev->status | (value & VMMIO_S_DRIVER_BITS);
	core_u64 features = dev->driver_features;

	if (value == 0)
		return vmmio_write_reset(dev, cpu);
	if (!(dev->status & VMMIO_S_FEATURES_OK) &&
	    ((features & ~dev->shape.device_features) != 0 || !(features & VMMIO_F_VERSION_1)))
		status &= ~VMMIO_S_FEATURES_OK;
	if (!(status & VMMIO_S_FEATURES_OK))
		status &= ~VMMIO_S_DRIVER_OK;
	/* Unknown bits, bits to be cleared, bits that are refused */
	if ((value & ~VMMIO_S_NEEDS_RESET) != status)
		dev->bad_accesses++;
	if (status == dev->status)
		return 0;
	dev->status = status;
	vmmio_publish_status(dev);
	return vmmio_ring(dev->region, REGION_EV_STATUS);
}

static core_u32 vmmio_enable_queue(struct vmmio_dev *dev, core_u32 q)
{
	struct vmmio_queue *queue = &dev->queue[q];
	core_u32 num = queue->num;

	if (!(dev->status & VMMIO_S_FEATURES_OK)) {
		dev->bad_accesses++;
		return 0;
	}
	/* Virtio 1.2, 2.7: sizes and alignments of a split virtqueue */
	if (num == 0 || num > dev->shape.queue_size_max || (num & (num - 1)) != 0 || queue->desc % 16 != 0 ||
	    queue->driver % 2 != 0 || queue->device % 4 != 0) {
		dev->bad_accesses++;
		if (dev->faulty)
			return 0;
		dev->faulty = true;
		return vmmio_tell_needs_reset(dev);
	}
	queue->epoch++;
	if (queue->epoch == 0)
		queue->epoch = 1;
	queue->ready = 1;
	vmmio_publish_queue(dev, q);
	return vmmio_ring(dev->region, REGION_EV_STATUS);
}

static core_u32 vmmio_write_queue_ready(struct vmmio_dev *dev, core_u32 q, core_u32 value, core_u32 cpu)
{
	bool ready = dev->queue[q].ready != 0;

	if (value > 1)
		dev->bad_accesses++;
	else if (value == 1 && !ready)
		return vmmio_enable_queue(dev, q);
	else if (value == 0 && ready)
		return vmmio_disable_queue(dev, q, cpu);
	return 0;
}

static core_u32 vmmio_write_queue_reset(struct vmmio_dev *dev, core_u32 q, core_u32 value, core_u32 cpu)
{
	struct vmmio_queue *queue = &dev->queue[q];

	if (value > 1 || !(dev->status & VMMIO_S_FEATURES_OK) || !(dev->driver_features & VMMIO_F_RING_RESET)) {
		dev->bad_accesses++;
		return 0;
	}
	if (value == 0)
		return 0;
	queue->reset = 1;
	if (queue->ready)
		return vmmio_disable_queue(dev, q, cpu);
	vmmio_finish_queue(queue);
	return 0;
}

static core_u64 vmmio_with_low(core_u64 old, core_u32 value)
{
	return (old & 0xffffffff00000000ull) | value;
}

static core_u64 vmmio_with_high(core_u64 old, core_u32 value)
{
	return (old & 0xffffffffull) | (core_u64)value << 32;
}

/* How a queue is set up: fixed while it is ready. */
static void vmmio_write_queue_setup(struct vmmio_dev *dev, struct vmmio_queue *queue, core_u32 offset, core_u32 value)
{
	if (queue->ready) {
		dev->bad_accesses++;
		return;
	}
	switch (offset) {
	case VMMIO_QUEUE_NUM:
		queue->num = value;
		break;
	case VMMIO_QUEUE_DESC_LOW:
		queue->desc = vmmio_with_low(queue->desc, value);
		break;
	case VMMIO_QUEUE_DESC_HIGH:
		queue->desc = vmmio_with_high(queue->desc, value);
		break;
	case VMMIO_QUEUE_DRIVER_LOW:
		queue->driver = vmmio_with_low(queue->driver, value);
		break;
	case VMMIO_QUEUE_DRIVER_HIGH:
		queue->driver = vmmio_with_high(queue->driver, value);
		break;
	case VMMIO_QUEUE_DEVICE_LOW:
		queue->device = vmmio_with_low(queue->device, value);
		break;
	default: /* VMMIO_QUEUE_DEVICE_HIGH */
		queue->device = vmmio_with_high(queue->device, value);
		break;
	}
}

/* A write to the queue that QueueSel names. */
static core_u32 vmmio_write_queue(struct vmmio_dev *dev, core_u32 offset, core_u32 value, core_u32 cpu)
{
	core_u32 q = dev->queue_sel;

	if (q >= dev->shape.nqueues || dev->queue[q].quiesce) {
		dev->bad_accesses++;
		return 0;
	}
	switch (offset) {
	case VMMIO_QUEUE_READY:
		return vmmio_write_queue_ready(dev, q, value, cpu);
	case VMMIO_QUEUE_RESET:
		return vmmio_write_queue_reset(dev, q, value, cpu);
	default:
		vmmio_write_queue_setup(dev, &dev->queue[q], offset, value);
		return 0;
	}
}

/* Before DRIVER_OK there is nothing to notify of (virtio 1.2, 3.1.1). */
static core_u32 vmmio_notify(struct vmmio_dev *dev, core_u32 q)
{
	if (q >= dev->shape.nqueues || !dev->queue[q].ready || dev->queue[q].quiesce ||
	    !(dev->status & VMMIO_S_DRIVER_OK)) {
		dev->bad_accesses++;
		return 0;
	}
	dev->notifications++;
	core_or64(&dev->region->doorbell.queues, 1ull << q);
	return vmmio_wake(dev->region);
}

static void vmmio_acknowledge(struct vmmio_dev *dev, core_u32 bits)
{
	dev->irq_acknowledges++;
	if (bits & ~VMMIO_INTERRUPTS)
		dev->bad_accesses++;
	core_and32(&dev->region->irq.interrupt_status, ~(bits & VMMIO_INTERRUPTS));
}

static core_u32 vmmio_write_register(struct vmmio_dev *dev, core_u32 offset, core_u32 value, core_u32 cpu)
{
	switch (offset) {
	case VMMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		return 0;
	case VMMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		return 0;
	case VMMIO_DRIVER_FEATURES:
		vmmio_write_driver_features(dev, value);
		return 0;
	case VMMIO_QUEUE_SEL:
		dev->queue_sel = value;
		return 0;
	case VMMIO_QUEUE_NUM:
	case VMMIO_QUEUE_READY:
	case VMMIO_QUEUE_DESC_LOW:
	case VMMIO_QUEUE_DESC_HIGH:
	case VMMIO_QUEUE_DRIVER_LOW:
	case VMMIO_QUEUE_DRIVER_HIGH:
	case VMMIO_QUEUE_DEVICE_LOW:
	case VMMIO_QUEUE_DEVICE_HIGH:
	case VMMIO_QUEUE_RESET:
		return vmmio_write_queue(dev, offset, value, cpu);
	case VMMIO_QUEUE_NOTIFY:
		return vmmio_notify(dev, value);
	case VMMIO_INTERRUPT_ACK:
		vmmio_acknowledge(dev, value);
		return 0;
	case VMMIO_STATUS:
		return vmmio_write_status(dev, value, cpu);
	case VMMIO_SHM_SEL:
		return 0;
	default: /* read-only, or no register */
		dev->bad_accesses++;
		return 0;
	}
}

core_u32 vmmio_write(struct vmmio_dev *dev, core_u64 offset, core_u32 size, core_u64 value, core_u32 cpu)
{
	bool config = offset >= VMMIO_CONFIG;

	dev->accesses++;
	if (!vmmio_is_width(size) || (!config && (size != 4 || offset % 4 != 0)) || cpu > 31) {
		dev->bad_accesses++;
		return 0;
	}
	if (dev->reset_pending && !(offset == VMMIO_STATUS && (core_u32)value == 0)) {
		dev->bad_accesses++;
		return 0;
	}
	if (config)
		return vmmio_write_config(dev, offset - VMMIO_CONFIG, size, value);
	return vmmio_write_register(dev, (core_u32)offset, (core_u32)value, cpu);
}
