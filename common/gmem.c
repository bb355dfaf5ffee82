/* SPDX-License-Identifier: MIT */
#include "common/gmem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool region_valid(const struct gmem_region *region, uint64_t page)
{
	if (region->size == 0 || (region->gpa | region->size | region->offset) % page)
		return false;
	return region->size <= UINT64_MAX - region->gpa && region->offset <= INT64_MAX &&
	       region->size <= INT64_MAX - region->offset && region->size <= SIZE_MAX / 2;
}

/* Copies the regions by ascending address; false if one cannot be, or two overlap. */
static bool regions_sort(struct gmem_region *sorted, const struct gmem_region *region, uint32_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t i, k;

	for (i = 0; i < n; i++) {
		if (!region_valid(&region[i], page))
			return false;
		for (k = i; k > 0 && sorted[k - 1].gpa > region[i].gpa; k--)
			sorted[k] = sorted[k - 1];
		sorted[k] = region[i];
	}
	for (i = 1; i < n; i++) {
		if (sorted[i].gpa - sorted[i - 1].gpa < sorted[i - 1].size)
			return false;
	}
	return true;
}

/* Maps the first regions of those given, as far as they adjoin, as one span. Returns how many, or -errno. */
static int span_map(struct gmem *mem, int fd, const struct gmem_region *region, uint32_t n)
{
	struct gmem_span *span = &mem->span[mem->nspans];
	uint64_t size = region[0].size;
	uint32_t count = 1;
	uint8_t *reserved;
	uint8_t *base;
	uint64_t at;
	uint32_t i;
	int err;

	while (count < n && region[count].gpa == region[0].gpa + size)
		size += region[count++].size;
	reserved = mmap(NULL, size + 2 * GMEM_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return -errno;
	base = reserved + GMEM_GUARD;
	for (i = 0, at = 0; i < count; at += region[i++].size) {
		if (mmap(base + at, region[i].size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 (off_t)region[i].offset) == MAP_FAILED) {
			err = -errno;
			munmap(reserved, size + 2 * GMEM_GUARD);
			return err;
		}
	}
	*span = (struct gmem_span){.gpa = region[0].gpa, .size = size, .base = base};
	mem->nspans++;
	return (int)count;
}

int gmem_map(struct gmem *mem, int fd, const struct gmem_region *region, uint32_t n)
{
	struct gmem_region sorted[GMEM_REGIONS_MAX];
	uint32_t done;
	int count;

	memset(mem, 0, sizeof(*mem));
	if (n == 0 || n > GMEM_REGIONS_MAX || !regions_sort(sorted, region, n))
		return -EINVAL;
	for (done = 0; done < n; done += (uint32_t)count) {
		count = span_map(mem, fd, sorted + done, n - done);
		if (count < 0) {
			gmem_unmap(mem);
			return count;
		}
	}
	return 0;
}

void gmem_unmap(struct gmem *mem)
{
	uint32_t i;

	for (i = 0; i < mem->nspans; i++)
		munmap(mem->span[i].base - GMEM_GUARD, mem->span[i].size + 2 * GMEM_GUARD);
	memset(mem, 0, sizeof(*mem));
}

void *gmem_at(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	const struct gmem_span *span;
	uint64_t offset;

	for (span = mem->span; span < mem->span + mem->nspans; span++) {
		/* Below the span the difference wraps to more than any size: no span reaches the end of 2^64. */
		offset = gpa - span->gpa;
		if (offset < span->size)
			return len > 0 && len <= span->size - offset ? span->base + offset : NULL;
	}
	return NULL;
}
