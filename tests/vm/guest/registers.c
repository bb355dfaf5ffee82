/* SPDX-License-Identifier: MIT */
/*
 * Register accesses of a zone, through /dev/mem.
 * usage: registers hammer ADDRESS COUNT    COUNT random accesses from each CPU to a window that no device claims
 *        registers drive ADDRESS COUNT     COUNT writes from each CPU to the registers of a device, mostly such as a
 *                                          driver writes, in no order at all
 *        registers acknowledge ADDRESS COUNT   COUNT times from each CPU 0 to InterruptACK
 *        registers reset ADDRESS MEMORY    what a driver does in its whole life, with a queue at MEMORY; prints for how
 *                                          many ms the reset at its end was held, and the status afterwards
 *        registers time ADDRESS COUNT US   the times of COUNT reads of 32 bits, with pauses of US between
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/guest/window.h"

#define COUNT_MAX 100000

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0) {
		perror("sched_setaffinity");
		exit(1);
	}
}

static int hammer_from(int cpu, volatile uint8_t *window, unsigned long count)
{
	unsigned int seed = (unsigned int)cpu + 1;
	unsigned long wrong = 0;
	unsigned long n;

	pin(cpu);
	for (n = 0; n < count; n++) {
		unsigned int size = 1u << rand_r(&seed) % 4;
		unsigned int at = (unsigned int)rand_r(&seed) % (WINDOW / size) * size;

		if (rand_r(&seed) % 2)
			register_write(window + at, size, (uint64_t)rand_r(&seed) << 32 | (unsigned int)rand_r(&seed));
		else if (register_read(window + at, size) != 0)
			wrong++;
	}
	printf("CPU %d: %lu accesses, %lu reads that were not 0\n", cpu, count, wrong);
	fflush(stdout);
	return wrong != 0;
}

/* virtio 1.2, 4.2.2 */
static int drive_from(int cpu, volatile uint8_t *window, unsigned long count)
{
	static const uint16_t registers[] = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70,
					     0x70, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x100};
	unsigned int seed = (unsigned int)cpu + 1;
	unsigned long n;

	pin(cpu);
	for (n = 0; n < count; n++) {
		unsigned int at = registers[(unsigned int)rand_r(&seed) % (sizeof(registers) / sizeof(registers[0]))];
		uint64_t value;

		switch (rand_r(&seed) % 4) {
		case 0:
			value = (uint64_t)rand_r(&seed) % 2;
			break;
		case 1:
			value = 1u << rand_r(&seed) % 9;
			break;
		case 2:
			value = 0x50000000u + (uint64_t)rand_r(&seed) % 0x10000 * 4096;
			break;
		default:
			value = (uint64_t)rand_r(&seed) % 16;
			break;
		}
		register_write(window + at, 4, value);
	}
	return 0;
}

/* As drivers do whose interrupt came twice. */
static int acknowledge_from(int cpu, volatile uint8_t *window, unsigned long count)
{
	unsigned long n;

	pin(cpu);
	for (n = 0; n < count; n++)
		register_write(window + 0x64, 4, 0); /* InterruptACK */
	return 0;
}

/* From each CPU, by a process of its own. */
static int hammer(uint64_t address, unsigned long count, int (*from)(int, volatile uint8_t *, unsigned long))
{
	volatile uint8_t *window = window_map(address);
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	int failed = cpus < 1;
	int status;
	int cpu;

	for (cpu = 0; cpu < cpus; cpu++) {
		pid_t pid = fork();

		if (pid == 0)
			exit(from(cpu, window, count));
		failed |= pid < 0;
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}

static uint64_t counter(void)
{
	uint64_t value;

	__asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(value) : : "memory");
	return value;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int take_times(uint64_t address, unsigned long count, useconds_t pause)
{
	volatile uint8_t *window = window_map(address);
	static uint64_t times[COUNT_MAX];
	uint64_t frequency;
	unsigned long n;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	pin((int)sysconf(_SC_NPROCESSORS_ONLN) - 1);
	mlockall(MCL_CURRENT);
	for (n = 0; n < count; n++) {
		uint64_t begin;

		if (pause)
			usleep(pause);
		begin = counter();
		register_read(window, 4);
		times[n] = counter() - begin;
	}
	qsort(times, count, sizeof(times[0]), compare);
	printf("%.1f %.1f %.1f\n", 1e6 * (double)times[0] / (double)frequency,
	       1e6 * (double)times[count / 2] / (double)frequency,
	       1e6 * (double)times[count * 99 / 100] / (double)frequency);
	return 0;
}

/* virtio 1.2, 3.1.1 and 4.2.3 */
static int reset(uint64_t address, uint64_t memory)
{
	static const uint16_t rings[] = {0x80, 0x90, 0xa0};
	volatile uint8_t *window = window_map(address);
	uint64_t frequency;
	uint64_t begin;
	unsigned int n;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	register_write(window + 0x70, 4, 0);
	register_write(window + 0x70, 4, 3); /* ACKNOWLEDGE, DRIVER */
	register_write(window + 0x24, 4, 1);
	register_write(window + 0x20, 4, 1); /* VIRTIO_F_VERSION_1 */
	register_write(window + 0x70, 4, 11); /* FEATURES_OK */
	register_write(window + 0x30, 4, 0);
	register_write(window + 0x38, 4, 8);
	for (n = 0; n < 3; n++) {
		register_write(window + rings[n], 4, memory + n * 4096);
		register_write(window + rings[n] + 4, 4, (memory + n * 4096) >> 32);
	}
	register_write(window + 0x44, 4, 1);
	register_write(window + 0x70, 4, 15); /* DRIVER_OK */
	register_write(window + 0x50, 4, 0);
	begin = counter();
	register_write(window + 0x70, 4, 0);
	printf("%llu %llu\n", (unsigned long long)((counter() - begin) * 1000 / frequency),
	       (unsigned long long)register_read(window + 0x70, 4));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t address = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	unsigned long count = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;

	if (argc == 4 && strcmp(argv[1], "hammer") == 0)
		return hammer(address, count, hammer_from);
	if (argc == 4 && strcmp(argv[1], "drive") == 0)
		return hammer(address, count, drive_from);
	if (argc == 4 && strcmp(argv[1], "acknowledge") == 0)
		return hammer(address, count, acknowledge_from);
	if (argc == 4 && strcmp(argv[1], "reset") == 0)
		return reset(address, strtoull(argv[3], NULL, 0));
	if (argc == 5 && strcmp(argv[1], "time") == 0 && count > 0 && count <= COUNT_MAX)
		return take_times(address, count, (useconds_t)strtoul(argv[4], NULL, 0));
	fprintf(stderr,
		"usage: registers hammer|drive|acknowledge ADDRESS COUNT\n       registers reset ADDRESS MEMORY\n"
		"       registers time ADDRESS COUNT US\n");
	return 2;
}
