/* SPDX-License-Identifier: MIT */
/*
 * A backend that does as it is told, for the module's side of an attachment. It makes a device in an unused window of
 * zone 1, attaches to it, and obeys the words that it reads: "read" says what stands at the beginning of the zone's
 * memory, or that there is nothing, "end" detaches and takes the device away.
 * usage: attachment ADDRESS IRQ
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod/hvisor_uapi.h"

#define MEMORY_BASE 0x50000000ull
#define MEMORY_SIZE 0x30000000ull
#define ROOT_RAM 0xa0000000ull /* its kernel's */

static sigjmp_buf fault;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

static void expect(int result, int error, const char *what)
{
	if ((result < 0 ? errno : 0) == error)
		return;
	printf("%s gives %s, not %s\n", what, result < 0 ? strerror(errno) : "success", strerror(error));
	exit(1);
}

static void try_memory(int hv)
{
	struct hvisor_zone_set zone = {.zone = 5, .nmemory = 1};

	zone.memory[0] = (struct hvisor_memory){ROOT_RAM, ROOT_RAM, 0x100000};
	expect(ioctl(hv, HVISOR_ZONE_SET, &zone), EPERM, "root's own memory");
	zone.memory[0] = (struct hvisor_memory){MEMORY_BASE + MEMORY_SIZE - 0x1000, 0x50000000, 0x2000};
	expect(ioctl(hv, HVISOR_ZONE_SET, &zone), EPERM, "memory that reaches into root's own");
	zone.memory[0] = (struct hvisor_memory){MEMORY_BASE, 0x50000000, 0x1000};
	expect(ioctl(hv, HVISOR_ZONE_SET, &zone), EADDRINUSE, "another zone's memory");
}

/* The beginning of a zone's configuration, as hvisor has it (its src/config.rs). */
struct config {
	uint32_t zone;
	uint64_t cpus;
	uint32_t nregions;
	struct {
		uint32_t type; /* 0 RAM, 1 I/O */
		uint64_t physical;
		uint64_t virtual;
		uint64_t size;
	} region[64];
};

static int start(int hv, uint32_t nregions, uint32_t type, uint64_t physical, uint64_t size)
{
	struct config config = {.zone = 5, .nregions = nregions, .region = {{type, physical, 0x40000000, size}}};
	struct hvisor_zone_start start = {.zone = 5, .size = sizeof(config), .config = (uintptr_t)&config};

	return ioctl(hv, HVISOR_ZONE_START, &start);
}

/* The command looks at the zone's memory first; here is who does not ask it. */
static void try_start(int hv)
{
	expect(start(hv, 1, 0, ROOT_RAM, 0x100000), EPERM, "a zone in root's own memory");
	expect(start(hv, 1, 1, ROOT_RAM, 0x1000), EPERM, "root's own memory as I/O of a zone");
	expect(start(hv, 1, 0, MEMORY_BASE, MEMORY_SIZE + 0x1000), EPERM, "a zone that reaches into root's own memory");
	expect(start(hv, 1, 0, MEMORY_BASE, 0), EINVAL, "a region without a size");
	expect(start(hv, 65, 0, MEMORY_BASE, 0x1000), EINVAL, "too many regions");
}

/* Whoever is not privileged cannot open the device, whatever its mode says. */
static void try_open(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (chmod("/dev/hvisor", 0666) != 0 || setgid(1000) != 0 || setuid(1000) != 0)
			_exit(1);
		expect(open("/dev/hvisor", O_RDWR), EPERM, "/dev/hvisor opened by a user");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	chmod("/dev/hvisor", 0600);
	if (status != 0) {
		printf("a user: status %#x\n", status);
		exit(1);
	}
}

/* What the attachment's descriptor may not be used for. */
static void try_attachment(int fd, const struct hvisor_device_attach *attach)
{
	struct hvisor_zone_list list = {.count = 1};
	void *at;

	expect(ioctl(fd, HVISOR_ZONE_LIST, &list), ENOTTY, "a call through an attachment");
	at = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, fd, (off_t)(attach->memory_offset[0] + MEMORY_SIZE));
	expect(at == MAP_FAILED ? -1 : 0, EINVAL, "a mapping behind the zone's memory");
	at = mmap(NULL, attach->region_size + 0x1000, PROT_READ, MAP_SHARED, fd, 0);
	expect(at == MAP_FAILED ? -1 : 0, EINVAL, "a mapping beyond the region");
	at = mmap(NULL, 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED, fd, (off_t)attach->memory_offset[0]);
	expect(at == MAP_FAILED ? -1 : 0, EINVAL, "an executable mapping");
}

static void read_memory(const volatile uint32_t *memory)
{
	if (sigsetjmp(fault, 1) == 0)
		printf("memory %08x\n", __builtin_bswap32(memory[0]));
	else
		printf("nothing\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int hv = open("/dev/hvisor", O_RDWR | O_CLOEXEC);
	struct hvisor_device_attach attach = {.kick_fd = eventfd(0, 0), .call_fd = eventfd(0, EFD_NONBLOCK)};
	struct hvisor_device_add device = {.zone = 1, .size = 0x200, .device_id = 4, .nqueues = 1, .queue_size_max = 8};
	struct hvisor_device_del del;
	struct hvisor_device_attach second;
	char word[32];
	void *memory;

	if (argc != 3 || hv < 0) {
		perror("attachment ADDRESS IRQ: /dev/hvisor");
		return 1;
	}
	signal(SIGBUS, on_fault);
	try_memory(hv);
	try_start(hv);
	try_open();
	device.base = strtoull(argv[1], NULL, 0);
	device.irq = (uint32_t)strtoul(argv[2], NULL, 0);
	strcpy(device.name, "attachment");
	expect(ioctl(hv, HVISOR_DEVICE_ADD, &device), 0, "HVISOR_DEVICE_ADD");
	attach.id = device.id;
	del = (struct hvisor_device_del){.id = device.id};
	expect(ioctl(hv, HVISOR_DEVICE_ATTACH, &attach), 0, "HVISOR_DEVICE_ATTACH");
	second = (struct hvisor_device_attach){.id = device.id, .kick_fd = attach.kick_fd, .call_fd = attach.call_fd};
	expect(ioctl(hv, HVISOR_DEVICE_ATTACH, &second), EBUSY, "a second attachment");
	expect(ioctl(hv, HVISOR_DEVICE_DEL, &del), EBUSY, "HVISOR_DEVICE_DEL while attached");
	try_attachment(attach.attachment_fd, &attach);
	memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, attach.attachment_fd,
		      (off_t)attach.memory_offset[0]);
	expect(memory == MAP_FAILED ? -1 : 0, 0, "the mapping of the zone's memory");
	while (scanf("%31s", word) == 1 && strcmp(word, "end") != 0)
		read_memory(memory);
	/* The mapping alone keeps the attachment. */
	close(attach.attachment_fd);
	expect(ioctl(hv, HVISOR_DEVICE_DEL, &del), EBUSY, "HVISOR_DEVICE_DEL while mapped");
	munmap(memory, MEMORY_SIZE);
	expect(ioctl(hv, HVISOR_DEVICE_DEL, &del), 0, "HVISOR_DEVICE_DEL");
	printf("ended\n");
	return 0;
}
