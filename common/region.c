/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "region.h"

/* Each journal begins on a cache line of its own. */
#define REGION_JOURNAL_ALIGN 64u

static core_u32 region_journal_size(const struct region_shape *shape)
{
	core_u32 size =
		(core_u32)(sizeof(struct region_journal) + shape->queue_size_max * sizeof(struct region_journal_desc));

	return (size + REGION_JOURNAL_ALIGN - 1) & ~(REGION_JOURNAL_ALIGN - 1);
}

bool region_shape_valid(const struct region_shape *shape)
{
	core_u32 max = shape->queue_size_max;

	return shape->nqueues >= 1 && shape->nqueues <= REGION_QUEUES_MAX && max >= 2 && max <= REGION_QUEUE_SIZE_MAX &&
	       (max & (max - 1)) == 0 && shape->config_len <= REGION_CONFIG_MAX;
}

core_u32 region_journal_offset(const struct region_shape *shape, core_u32 q)
{
	return REGION_JOURNALS + q * region_journal_size(shape);
}

core_u32 region_size(const struct region_shape *shape)
{
	core_u32 end = region_journal_offset(shape, shape->nqueues);

	return (end + REGION_PAGE - 1) & ~(REGION_PAGE - 1);
}

void region_write_head(struct queue_region *region, const struct region_shape *shape)
{
	struct region_head *head = &region->head;
	core_u32 i;

	core_store(&head->magic, REGION_MAGIC);
	core_store(&head->version, REGION_VERSION);
	core_store(&head->size, region_size(shape));
	core_store(&head->device_id, shape->device_id);
	core_store(&head->nqueues, shape->nqueues);
	core_store(&head->queue_size_max, shape->queue_size_max);
	core_store(&head->device_features, shape->device_features);
	core_store(&head->config_len, shape->config_len);
	for (i = 0; i < sizeof(head->pad) / sizeof(head->pad[0]); i++)
		core_store(&head->pad[i], 0);
}

void region_init(struct queue_region *region, const struct region_shape *shape, const core_u8 *config)
{
	core_u32 i;

	region_write_head(region, shape);
	for (i = 0; i < shape->config_len; i++) {
		core_store(&region->config[0][i], config[i]);
		core_store(&region->config[1][i], config[i]);
	}
}

bool region_open(const struct queue_region *region, core_u32 size, struct region_shape *shape)
{
	const struct region_head *head = &region->head;

	if (size < sizeof(*region) || core_load(&head->magic) != REGION_MAGIC ||
	    core_load(&head->version) != REGION_VERSION)
		return false;
	shape->device_id = core_load(&head->device_id);
	shape->nqueues = core_load(&head->nqueues);
	shape->queue_size_max = core_load(&head->queue_size_max);
	shape->config_len = core_load(&head->config_len);
	shape->device_features = core_load(&head->device_features);
	return region_shape_valid(shape) && core_load(&head->size) == region_size(shape) && region_size(shape) <= size;
}

/*
 * Between updates both copies are the same. The change goes into the copy that is not in force, the generation makes
 * that one the one in force, and then the other copy follows. Only the bytes of the change are touched: the model may
 * be storing others at the same time.
 */
void region_config_update(struct queue_region *region, core_u32 offset, const void *bytes, core_u32 len)
{
	const core_u8 *from = bytes;
	core_u32 gen = core_load(&region->device.config_gen);
	core_u8 *to;
	core_u32 i;

	if (offset > REGION_CONFIG_MAX || len > REGION_CONFIG_MAX - offset)
		return;
	to = region->config[(gen + 1) & 1];
	for (i = 0; i < len; i++)
		core_store(&to[offset + i], from[i]);
	core_store_release(&region->device.config_gen, gen + 1);
	core_fence(); /* the copy that was in force changes only after the generation */
	to = region->config[gen & 1];
	for (i = 0; i < len; i++)
		core_store(&to[offset + i], from[i]);
}

/*
 * Makes the copy that is not in force equal to the other. The model, which stores a byte into the copy in force first,
 * may do so meanwhile: a byte is looked at again after it was copied, so that no value of the driver is lost.
 */
void region_config_recover(struct queue_region *region)
{
	core_u32 gen = core_load(&region->device.config_gen);
	const core_u8 *from = region->config[gen & 1];
	core_u8 *to = region->config[(gen + 1) & 1];
	core_u32 i;
	core_u8 byte;

	for (i = 0; i < REGION_CONFIG_MAX; i++) {
		while ((byte = core_load(&from[i])) != core_load(&to[i])) {
			core_store(&to[i], byte);
			core_fence();
		}
	}
}

void region_state_read(const struct queue_region *region, void *bytes, core_u32 len)
{
	const core_u8 *from = region->state.copy[core_load(&region->state.gen) & 1];
	core_u8 *to = bytes;
	core_u32 i;

	for (i = 0; i < len && i < REGION_STATE_MAX; i++)
		to[i] = core_load(&from[i]);
}

/* Nobody but the successor reads the copies, so the one that is not in force need not follow. */
void region_state_update(struct queue_region *region, const void *bytes, core_u32 len)
{
	core_u32 gen = core_load(&region->state.gen);
	core_u8 *to = region->state.copy[(gen + 1) & 1];
	const core_u8 *from = bytes;
	core_u32 i;

	for (i = 0; i < len && i < REGION_STATE_MAX; i++)
		core_store(&to[i], from[i]);
	core_store_release(&region->state.gen, gen + 1);
}
