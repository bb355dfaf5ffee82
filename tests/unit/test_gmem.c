/* SPDX-License-Identifier: MIT */
#include "common/gmem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#define PAGE 4096ull

/* A file of n pages, each filled with its number. */
static int make_file(uint32_t pages)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);
	uint8_t page[PAGE];
	uint32_t i;

	CHECK(fd >= 0);
	for (i = 0; i < pages; i++) {
		memset(page, (int)i, sizeof(page));
		CHECK_INT(pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)), PAGE);
	}
	return fd;
}

/* How many mappings this process has of memory made by make_file(). */
static int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, "memfd:memory"))
			n++;
	}
	fclose(maps);
	return n;
}

static void test_adjoining_regions_are_one_range(void)
{
	/* Not in order; the first two given adjoin, the third stands alone. */
	const struct gmem_region region[] = {
		{.gpa = 0x80002000, .size = 2 * PAGE, .offset = 0},
		{.gpa = 0x80000000, .size = 2 * PAGE, .offset = 4 * PAGE},
		{.gpa = 0x80006000, .size = PAGE, .offset = 3 * PAGE},
	};
	struct gmem mem;
	uint8_t *low;

	CHECK_INT(gmem_map(&mem, make_file(6), region, 3), 0);
	CHECK_INT(mem.nspans, 2);
	low = gmem_at(&mem, 0x80000000, 4 * PAGE);
	CHECK(low);
	CHECK_INT(low[0], 4);
	CHECK_INT(low[2 * PAGE - 1], 5);
	CHECK_INT(low[2 * PAGE], 0);
	CHECK_INT(low[4 * PAGE - 1], 1);
	CHECK(gmem_at(&mem, 0x80001ffe, 4) == low + 0x1ffe);
	CHECK_INT(*(uint8_t *)gmem_at(&mem, 0x80006fff, 1), 3);
	gmem_unmap(&mem);
	CHECK_INT(mem.nspans, 0);
	CHECK(!gmem_at(&mem, 0x80000000, 1));
	CHECK_INT(count_mappings(), 0);
}

static void test_mapping_is_shared(void)
{
	const struct gmem_region region = {.gpa = 0, .size = PAGE, .offset = PAGE};
	int fd = make_file(2);
	struct gmem mem;
	uint8_t byte;

	CHECK_INT(gmem_map(&mem, fd, &region, 1), 0);
	*(uint8_t *)gmem_at(&mem, 7, 1) = 0xee;
	CHECK_INT(pread(fd, &byte, 1, (off_t)PAGE + 7), 1);
	CHECK_INT(byte, 0xee);
	gmem_unmap(&mem);
}

static void test_range_is_checked_whole(void)
{
	const struct gmem_region region[] = {
		{.gpa = 0x10000, .size = 4 * PAGE, .offset = 0},
		{.gpa = 0x20000, .size = 4 * PAGE, .offset = 4 * PAGE},
	};
	struct gmem mem;

	CHECK_INT(gmem_map(&mem, make_file(8), region, 2), 0);
	CHECK(gmem_at(&mem, 0x10000, 4 * PAGE));
	CHECK(gmem_at(&mem, 0x13fff, 1));
	CHECK(!gmem_at(&mem, 0x10000, 0));
	CHECK(!gmem_at(&mem, 0xffff, 1));
	CHECK(!gmem_at(&mem, 0xffff, 2));
	CHECK(!gmem_at(&mem, 0x14000, 1));
	CHECK(!gmem_at(&mem, 0x13fff, 2));
	CHECK(!gmem_at(&mem, 0x10000, 4 * PAGE + 1));
	CHECK(!gmem_at(&mem, 0x10000, 0x20000 - 0x10000 + PAGE));
	CHECK(!gmem_at(&mem, 0x10001, UINT64_MAX));
	CHECK(!gmem_at(&mem, 0x10001, UINT64_MAX - 0x10000));
	CHECK(!gmem_at(&mem, UINT64_MAX, 1));
	CHECK(!gmem_at(&mem, UINT64_MAX, 0x10002));
	CHECK(!gmem_at(&mem, 0, UINT64_MAX));
	gmem_unmap(&mem);
}

/* Every address around the borders of random maps, against a plain list of the pages that are there. */
static void test_random_maps(void)
{
	enum {
		PAGES = 64
	};
	struct gmem_region region[GMEM_REGIONS_MAX];
	uint8_t page_of[PAGES];
	int fd = make_file(PAGES);
	struct gmem mem;
	int round;

	for (round = 0; round < 300; round++) {
		uint64_t base = test_random_below(1u << 20) * PAGE;
		uint32_t n = 0;
		uint64_t at = 0;
		uint64_t offset = 0;
		uint64_t gpa, len, i;
		uint8_t *p;

		memset(page_of, 0xff, sizeof(page_of));
		while (n < GMEM_REGIONS_MAX) {
			uint64_t size = 1 + test_random_below(4);

			at += test_random_below(3);
			if (at + size > PAGES || offset + size > PAGES)
				break;
			region[n++] = (struct gmem_region){
				.gpa = base + at * PAGE, .size = size * PAGE, .offset = offset * PAGE};
			for (i = 0; i < size; i++)
				page_of[at + i] = (uint8_t)(offset + i);
			at += size;
			offset += size;
		}
		for (i = 0; i < n; i++) {
			uint64_t other = test_random_below(n);
			struct gmem_region swap = region[i];

			region[i] = region[other];
			region[other] = swap;
		}
		CHECK_INT(gmem_map(&mem, fd, region, n), 0);
		for (i = 0; i < 200; i++) {
			bool inside = true;
			uint64_t page;

			gpa = base + test_random_below(PAGES + 1) * PAGE + test_random_below(3) - 1;
			len = test_random_below(4) * PAGE + test_random_below(3);
			for (page = 0; len > 0 && page <= len / PAGE + 1; page++) {
				uint64_t a = page * PAGE < len ? gpa + page * PAGE : gpa + len - 1;

				if (a < base || a - base >= PAGES * PAGE || page_of[(a - base) / PAGE] == 0xff)
					inside = false;
			}
			p = gmem_at(&mem, gpa, len);
			CHECK_INT(p != NULL, inside && len > 0);
			if (p) {
				CHECK_INT(p[0], page_of[(gpa - base) / PAGE]);
				CHECK_INT(p[len - 1], page_of[(gpa + len - 1 - base) / PAGE]);
			}
		}
		gmem_unmap(&mem);
	}
}

static void check_refused(const struct gmem_region *region, uint32_t n, int err)
{
	struct gmem mem;

	CHECK_INT(gmem_map(&mem, make_file(4), region, n), err);
	CHECK_INT(mem.nspans, 0);
	CHECK_INT(count_mappings(), 0);
}

static void test_impossible_regions_are_refused(void)
{
	const struct gmem_region good = {.gpa = 0x1000, .size = PAGE, .offset = 0};
	struct gmem_region many[GMEM_REGIONS_MAX + 1];
	struct gmem_region two[2] = {good, good};
	struct gmem_region bad;
	uint32_t i;

	check_refused(&good, 0, -EINVAL);
	for (i = 0; i <= GMEM_REGIONS_MAX; i++)
		many[i] = (struct gmem_region){.gpa = (2 * i + 1) * PAGE, .size = PAGE, .offset = 0};
	check_refused(many, GMEM_REGIONS_MAX + 1, -EINVAL);
	check_refused(two, 2, -EINVAL);
	two[0].gpa = 0;
	two[0].size = 2 * PAGE;
	check_refused(two, 2, -EINVAL);
	bad = good;
	bad.size = 0;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.size = PAGE + 1;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.gpa++;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.offset = 512;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.gpa = UINT64_MAX - PAGE + 1;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.size = UINT64_MAX - PAGE + 1;
	check_refused(&bad, 1, -EINVAL);
	bad = good;
	bad.offset = (uint64_t)INT64_MAX - PAGE + 1;
	check_refused(&bad, 1, -EINVAL);
}

static void test_failed_map_leaves_nothing(void)
{
	const struct gmem_region region[] = {
		{.gpa = 0x1000, .size = PAGE, .offset = 0},
		{.gpa = 0x3000, .size = PAGE, .offset = 0},
		{.gpa = 0x4000, .size = 1ull << 60, .offset = 0},
	};
	struct gmem mem;

	CHECK_INT(gmem_map(&mem, -1, region, 2), -EBADF);
	CHECK_INT(mem.nspans, 0);
	check_refused(region, 3, -ENOMEM);
}

/* A process that writes there: the signal that ends it, 0 if it lives. */
static int signal_of_write(uint8_t *at)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		*(volatile uint8_t *)at = 1;
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Also where one span might have come to lie right behind another. */
static void test_guards(void)
{
	const struct gmem_region region[] = {
		{.gpa = 0x10000000, .size = 2 * PAGE, .offset = 0},
		{.gpa = 0x20000000, .size = 3 * PAGE, .offset = 2 * PAGE},
		{.gpa = 0x30000000, .size = PAGE, .offset = 5 * PAGE},
	};
	struct gmem mem;
	uint8_t *base;
	uint32_t i;

	CHECK_INT(gmem_map(&mem, make_file(6), region, 3), 0);
	CHECK_INT(mem.nspans, 3);
	for (i = 0; i < 3; i++) {
		base = gmem_at(&mem, region[i].gpa, region[i].size);
		CHECK_INT(signal_of_write(base), 0);
		CHECK_INT(signal_of_write(base + region[i].size - 1), 0);
		CHECK_INT(signal_of_write(base - 1), SIGSEGV);
		CHECK_INT(signal_of_write(base - GMEM_GUARD), SIGSEGV);
		CHECK_INT(signal_of_write(base + region[i].size), SIGSEGV);
		CHECK_INT(signal_of_write(base + region[i].size + GMEM_GUARD - 1), SIGSEGV);
	}
	gmem_unmap(&mem);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"gmem_adjoining_regions_are_one_range", test_adjoining_regions_are_one_range, 0},
		{"gmem_mapping_is_shared", test_mapping_is_shared, 0},
		{"gmem_range_is_checked_whole", test_range_is_checked_whole, 0},
		{"gmem_random_maps", test_random_maps, 0},
		{"gmem_impossible_regions_are_refused", test_impossible_regions_are_refused, 0},
		{"gmem_failed_map_leaves_nothing", test_failed_map_leaves_nothing, 0},
		{"gmem_guards", test_guards, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
