/* SPDX-License-Identifier: MIT */
/* Memory and registers by their physical address, through /dev/mem. */
#ifndef HVISOR_WINDOW_H
#define HVISOR_WINDOW_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW 0x200u

/* The page that it is in. Ends the program if that cannot be. */
static inline volatile uint8_t *window_map(uint64_t address)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	uint8_t *at;

	if (fd < 0) {
		perror("/dev/mem");
		exit(1);
	}
	at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(address & ~(page - 1)));
	if (at == MAP_FAILED) {
		perror("/dev/mem: mmap");
		exit(1);
	}
	return at + (address & (page - 1));
}

/* In assembly: an addressing mode that changes a register could not be passed on by a hypervisor. */
static inline uint64_t register_read(const volatile uint8_t *at, unsigned int size)
{
	uint64_t value;

	switch (size) {
	case 1:
		__asm__ volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	default:
		__asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	}
	return value;
}

static inline void register_write(volatile uint8_t *at, unsigned int size, uint64_t value)
{
	switch (size) {
	case 1:
		__asm__ volatile("strb %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("strh %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	default:
		__asm__ volatile("str %0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	}
}

#endif
