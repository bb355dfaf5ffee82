/* SPDX-License-Identifier: MIT */
/*
 * A zone's memory as a backend sees it. Regions whose guest addresses adjoin are mapped so that they adjoin here too,
 * so a buffer that crosses from one into the next is one range. Before and behind what is mapped in one piece lies
 * address space that nothing can be mapped to by chance: whoever runs off the end dies there, and touches nothing else.
 */
#ifndef HVISOR_GMEM_H
#define HVISOR_GMEM_H

#include <stdbool.h>
#include <stdint.h>

#define GMEM_REGIONS_MAX 16
#define GMEM_GUARD 65536u /* bytes on each side; whole pages of any size */

struct gmem_region {
	uint64_t gpa; /* guest physical address, page aligned */
	uint64_t size; /* bytes, page aligned, not 0 */
	uint64_t offset; /* in the descriptor that is mapped */
};

struct gmem_span {
	uint64_t gpa;
	uint64_t size;
	uint8_t *base;
};

struct gmem {
	uint32_t nspans;
	struct gmem_span span[GMEM_REGIONS_MAX]; /* by ascending gpa */
};

/*
 * Maps n regions of fd, which must not overlap or wrap. Returns 0, or -errno with nothing mapped: -EINVAL for regions
 * that cannot be, else what mmap() said. fd may be closed afterwards.
 */
int gmem_map(struct gmem *mem, int fd, const struct gmem_region *region, uint32_t n);
void gmem_unmap(struct gmem *mem);

/*
 * Where the guest's [gpa, gpa + len) is, or NULL unless all of it is the zone's memory. len 0 is NULL. What is there
 * can change at any moment: copy it once, then check the copy.
 */
void *gmem_at(const struct gmem *mem, uint64_t gpa, uint64_t len);

#endif
