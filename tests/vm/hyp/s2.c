/* SPDX-License-Identifier: MIT */
/* Stage 2 tables: 32 bits of address, 4 KiB pages, blocks of 2 MiB where they fit. */
#include "hyp.h"

#define PAGE 4096ul
#define BLOCK (2ul << 20)
#define POOL 64u /* pages of tables for each zone */
#define ENTRIES 512u

#define DESC_TABLE 3ul
#define DESC_PAGE 3ul
#define DESC_BLOCK 1ul
#define DESC_NORMAL (0xful << 2 | 3ul << 8) /* write-back, inner shareable */
#define DESC_DEVICE (1ul << 2 | 1ul << 54) /* nGnRE, never executed */
#define DESC_RW_ACCESSED (3ul << 6 | 1ul << 10)
#define DESC_ADDRESS 0xfffffffff000ul

/* T0SZ 32, start at level 1, cached and inner shareable walks, 40 bits of physical address */
#define VTCR (1ul << 31 | 2ul << 16 | 3ul << 12 | 1ul << 10 | 1ul << 8 | 1ul << 6 | 32)

static uint64_t pool[ZONES][POOL][ENTRIES] __attribute__((aligned(4096)));
static uint32_t pool_used[ZONES];

static uint64_t *table_new(uint32_t slot)
{
	uint64_t *table;

	if (pool_used[slot] == POOL)
		return NULL;
	table = pool[slot][pool_used[slot]++];
	for (uint32_t i = 0; i < ENTRIES; i++)
		table[i] = 0;
	return table;
}

uint64_t s2_create(uint32_t slot)
{
	pool_used[slot] = 0;
	return (uint64_t)table_new(slot);
}

/* The table below an entry, made if there is none; NULL if there is no room, or a block is in its place. */
static uint64_t *table_below(uint32_t slot, uint64_t *entry)
{
	uint64_t *table;

	if (*entry == 0) {
		table = table_new(slot);
		if (table != NULL)
			*entry = (uint64_t)table | DESC_TABLE;
		return table;
	}
	if ((*entry & 3) != DESC_TABLE)
		return NULL;
	return (uint64_t *)(*entry & DESC_ADDRESS);
}

long s2_map(uint32_t slot, uint64_t ipa, uint64_t pa, uint64_t size, bool device)
{
	uint64_t attributes = DESC_RW_ACCESSED | (device ? DESC_DEVICE : DESC_NORMAL);
	uint64_t *level1 = pool[slot][0];
	uint64_t *level2, *level3, *entry;
	uint64_t step;

	if ((ipa | pa | size) % PAGE != 0 || ipa + size > 1ul << 32 || ipa + size < ipa)
		return ERR_INVAL;
	for (; size > 0; ipa += step, pa += step, size -= step) {
		level2 = table_below(slot, &level1[ipa >> 30]);
		if (level2 == NULL)
			return ERR_NOMEM;
		entry = &level2[ipa >> 21 & 511];
		if ((ipa | pa) % BLOCK == 0 && size >= BLOCK && *entry == 0) {
			*entry = pa | attributes | DESC_BLOCK;
			step = BLOCK;
			continue;
		}
		level3 = table_below(slot, entry);
		if (level3 == NULL)
			return ERR_NOMEM;
		level3[ipa >> 12 & 511] = pa | attributes | DESC_PAGE;
		step = PAGE;
	}
	dsb();
	return 0;
}

void s2_enter(uint32_t slot)
{
	sysreg_write(vtcr_el2, VTCR);
	sysreg_write(vttbr_el2, zones[slot].s2_root | (uint64_t)(slot + 1) << 48);
	isb();
	s2_flush(slot);
}

void s2_flush(uint32_t slot)
{
	uint64_t mine = sysreg_read(vttbr_el2);

	dsb();
	sysreg_write(vttbr_el2, zones[slot].s2_root | (uint64_t)(slot + 1) << 48);
	isb();
	asm volatile("tlbi vmalls12e1is\n\tic ialluis" ::: "memory");
	dsb();
	sysreg_write(vttbr_el2, mine);
	isb();
}
