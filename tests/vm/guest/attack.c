/* SPDX-License-Identifier: MIT */
/*
 * The simulator's attacks on a device (tests/sim/attack.h), from the user space of a real guest. The kernel's driver
 * has let go of the device; its registers are reached through /dev/mem, and its rings and buffers are in a huge page.
 * usage: attack [fed] ADDRESS OTHER...
 * ADDRESS is that of the device's registers, OTHERs are in memory that is not the zone's. fed: somebody sends to the
 * device's other end.
 *
 * Prints the attacks that did not end as they may, and what it has done; exits 1 when there were such. The standard
 * error has the name of each attack as it begins, for whoever waits in vain for the end of one.
 *
 * The rest of that huge page and all of others are never given to the device. They hold a secret, which must stay, and
 * must not turn up where the device writes in the guest; where else it should not is for root to see.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <glob.h>
#include <string.h>

#include "tests/sim/attack.h"
#include "tests/vm/guest/window.h"

#define PAGE 4096u
#define HUGE_PAGE (2u << 20)
#define HUGE_PAGES 3u
#define AREA (HUGE_PAGE + HUGE_PAGE / 4) /* in the middle of the second of them */
#define AREA_END (AREA + ATTACK_AREA + ATTACK_BEHIND)
#define SECRET "NotThine"
#define SECRET_BYTES 8u
#define ACCESSES 200u
#define OUTCOME_MS 30000

struct attacker {
	volatile uint8_t *window;
	uint8_t *pages;
	unsigned long accesses;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t device_read(void *arg, uint32_t cpu, uint32_t offset, uint32_t size)
{
	struct attacker *attacker = arg;

	(void)cpu; /* the kernel decides */
	__atomic_fetch_add(&attacker->accesses, 1, __ATOMIC_RELAXED);
	return register_read(attacker->window + offset, size);
}

static void device_write(void *arg, uint32_t cpu, uint32_t offset, uint32_t size, uint64_t value)
{
	struct attacker *attacker = arg;

	(void)cpu;
	__atomic_fetch_add(&attacker->accesses, 1, __ATOMIC_RELAXED);
	register_write(attacker->window + offset, size, value);
}

/* What comes from the other end comes by itself. */
static void feed(void *arg)
{
	(void)arg;
}

static void begin(void *arg, const char *attack, const char *queue)
{
	(void)arg;
	fprintf(stderr, "%s on %s\n", attack, queue);
}

static uint64_t secret(void)
{
	uint64_t word;

	memcpy(&word, SECRET, SECRET_BYTES);
	return word;
}

static void secret_fill(uint8_t *pages)
{
	uint64_t *word = (uint64_t *)pages;
	size_t n;

	for (n = 0; n < HUGE_PAGES * HUGE_PAGE / SECRET_BYTES; n++)
		word[n] = secret();
	memset(pages + AREA, 0, AREA_END - AREA);
}

static bool secret_stays(const uint8_t *pages, size_t from, size_t to)
{
	const uint64_t *word = (const uint64_t *)pages;
	size_t n;

	for (n = from / SECRET_BYTES; n < to / SECRET_BYTES; n++) {
		if (word[n] != secret())
			return false;
	}
	return true;
}

static const char *trespass(void *arg)
{
	struct attacker *attacker = arg;

	if (!secret_stays(attacker->pages, 0, AREA) || !secret_stays(attacker->pages, AREA_END, HUGE_PAGES * HUGE_PAGE))
		return "memory was written that is not for the device";
	if (memmem(attacker->pages + AREA, AREA_END - AREA, SECRET, SECRET_BYTES))
		return "memory was read that is not for the device";
	return NULL;
}

static void number_write(const char *file, unsigned int number)
{
	FILE *to = fopen(file, "w");

	if (!to || fprintf(to, "%u\n", number) < 0 || fclose(to) != 0)
		fail(file);
}

static uint8_t *pages_map(void)
{
	void *pages;

	number_write("/proc/sys/vm/nr_hugepages", HUGE_PAGES);
	pages = mmap(NULL, HUGE_PAGES * HUGE_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (pages == MAP_FAILED)
		fail("huge pages");
	return pages;
}

/* The guest physical address, which the kernel tells to root only. */
static uint64_t physical(const uint8_t *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 ||
	    pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * sizeof(entry))) != sizeof(entry) ||
	    (entry & ((1ull << 55) - 1)) == 0)
		fail("/proc/self/pagemap");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE + (uintptr_t)at % PAGE;
}

/* All of the zone's memory, of which the kernel may use only a part. */
static struct attack_region region_find(void)
{
	uint64_t reg[2];
	glob_t found;
	FILE *from;

	if (glob("/proc/device-tree/memory@*/reg", 0, NULL, &found) != 0 || found.gl_pathc != 1)
		fail("the tree's memory");
	from = fopen(found.gl_pathv[0], "r");
	if (!from || fread(reg, sizeof(reg), 1, from) != 1)
		fail(found.gl_pathv[0]);
	fclose(from);
	globfree(&found);
	return (struct attack_region){be64toh(reg[0]), be64toh(reg[1])};
}

int main(int argc, char **argv)
{
	static struct attacker attacker;
	struct attack_guest guest = {
		.arg = &attacker,
		.read = device_read,
		.write = device_write,
		.trespass = trespass,
		.begin = begin,
		.quick = true,
		.nregions = 1,
		.accesses = ACCESSES,
		.timeout_ms = OUTCOME_MS,
	};
	uint64_t begin_ns = attack_now_ns();
	struct attack_count count;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && strcmp(argv[1], "fed") == 0) {
		guest.feed = feed;
		argc--;
		argv++;
	}
	if (argc < 3 || argc - 2 > (int)ATTACK_OTHERS_MAX) {
		fprintf(stderr, "usage: attack [fed] ADDRESS OTHER...\n");
		return 2;
	}
	guest.window = strtoull(argv[1], NULL, 0);
	for (; guest.nothers < (uint32_t)argc - 2; guest.nothers++)
		guest.other[guest.nothers] = strtoull(argv[2 + guest.nothers], NULL, 0);
	guest.region[0] = region_find();
	attacker.window = window_map(guest.window);
	attacker.pages = pages_map();
	secret_fill(attacker.pages);
	guest.area = attacker.pages + AREA;
	guest.area_gpa = physical(guest.area);
	count = attack_all(&guest);
	printf("%u attacks, %u wrong, %lu register accesses, %llu ms\n", count.made, count.wrong, attacker.accesses,
	       (unsigned long long)(attack_now_ns() - begin_ns) / 1000000);
	return count.made == 0 || count.wrong != 0;
}
