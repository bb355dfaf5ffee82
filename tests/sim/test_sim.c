/* SPDX-License-Identifier: MIT */
/* The simulator keeps its side of kmod/hvisor_uapi.h and of hvisor's interface. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/hv.h"
#include "tests/sim/fake.h"
#include "tests/sim/guest_blk.h"
#include "tests/sim/scratch.h"
#include "tests/sim/sim_internal.h"
#include "tests/test.h"

#define MIB (1u << 20)

static struct hvisor_device_get get_device(struct sim *sim, uint32_t id)
{
	struct hvisor_device_get get = {.id = id};

	CHECK_INT(sim_call(sim, HVISOR_DEVICE_GET, &get), 0);
	CHECK_INT(get.id, id);
	return get;
}

/* Zones */

static int set_zone(struct sim *sim, uint32_t zone, uint64_t zone0, uint64_t zonex, uint64_t size)
{
	struct hvisor_zone_set set = {.zone = zone, .nmemory = 1, .memory = {{zone0, zonex, size}}};

	return sim_call(sim, HVISOR_ZONE_SET, &set);
}

static void test_zone_set(void)
{
	const struct hvisor_memory memory[2] = {{0x50000000, 0x50000000, 16 * MIB}, {0x70000000, 0x51000000, 8 * MIB}};
	struct hvisor_zone_set set = {.zone = 1, .nmemory = 2, .memory = {memory[0], memory[1]}};
	struct sim sim = {.root_ram = {0x10000000, 0x20000000}};
	struct hvisor_device_add add = fake_device();

	CHECK_INT(sim_start(&sim, NULL), 0);
	CHECK_INT(sim_zone_add(&sim, 1, memory, 2), 0);
	CHECK_INT(sim_zone_add(&sim, 1, memory, 2), -EEXIST);
	CHECK_INT(sim_zone_add(&sim, 0, memory, 2), -EINVAL);

	CHECK_INT(set_zone(&sim, 0, 0x50000000, 0x50000000, MIB), -EINVAL);
	CHECK_INT(set_zone(&sim, HVISOR_ZONES_MAX, 0x50000000, 0x50000000, MIB), -EINVAL);
	CHECK_INT(set_zone(&sim, 1, 0x50000001, 0x50000000, MIB), -EINVAL);
	CHECK_INT(set_zone(&sim, 1, 0x50000000, 0x50000000, 0), -EINVAL);
	CHECK_INT(set_zone(&sim, 1, 0x50000000, 0x50000000, 0ull - 0x1000), -EINVAL);
	CHECK_INT(set_zone(&sim, 1, 0x2ffff000, 0x50000000, MIB), -EPERM);
	CHECK_INT(set_zone(&sim, 1, 0x50000000, 0x50000000, 17 * MIB), -ERANGE);
	CHECK_INT(set_zone(&sim, 1, 0x50000000, 0x51000000, MIB), -ERANGE);
	CHECK_INT(set_zone(&sim, 2, 0x50000000, 0x50000000, MIB), -ERANGE);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -ENOENT);

	CHECK_INT(sim_call(&sim, HVISOR_ZONE_SET, &set), 0);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), 0);
	CHECK_INT(sim_call(&sim, HVISOR_ZONE_SET, &set), 0);
	set.nmemory = 1;
	CHECK_INT(sim_call(&sim, HVISOR_ZONE_SET, &set), -EBUSY);
	set.nmemory = HVISOR_MEMORY_MAX + 1;
	CHECK_INT(sim_call(&sim, HVISOR_ZONE_SET, &set), -EINVAL);
	set.nmemory = 2;
	set.memory[1].zonex_ipa = 0x50fff000;
	CHECK_INT(sim_call(&sim, HVISOR_ZONE_SET, &set), -EINVAL);
	sim_stop(&sim);
}

/* Devices */

static void test_device_add(void)
{
	struct sim sim = {0};
	struct fake fake;
	struct hvisor_device_add add = fake_device();
	struct hvisor_device_get get = {0};
	struct hvisor_device_del del = {.id = 77};
	uint32_t second;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	strcpy(add.name, "other");
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), 0);
	CHECK_INT(add.existed, 1);
	CHECK_INT(add.id, fake.id);
	CHECK_STR(get_device(&sim, fake.id).device.name, "fake0");

	add.features ^= 1ull << VIRTIO_BLK_F_RO;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -EEXIST);
	add = fake_device();
	add.irq = 79;
	add.base += 0x100;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -EADDRINUSE);
	add.base = FAKE_BASE + 0x200;
	add.irq = FAKE_IRQ;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -EADDRINUSE);
	add.irq = 79;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), 0);
	CHECK_INT(add.existed, 0);
	second = add.id;
	CHECK(second > fake.id);

	get.id = fake.id + 1;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_GET, &get), 0);
	CHECK_INT(get.id, second);
	CHECK_INT(get.device.base, FAKE_BASE + 0x200);
	get.id = second + 1;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_GET, &get), -ENOENT);

	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + 0x200 + VMMIO_DEVICE_ID, 4), 2);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_DEL, &del), -ENOENT);
	del.id = second;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_DEL, &del), 0);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_DEL, &del), -ENOENT);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + 0x200 + VMMIO_DEVICE_ID, 4), 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_DEVICE_ID, 4), 2);
	sim_stop(&sim);
}

static void test_device_add_nonsense(void)
{
	static const struct {
		size_t offset;
		uint64_t value;
		uint32_t size;
	} bad[] = {
#define BAD(field, value)                                                                                              \
	{offsetof(struct hvisor_device_add, field), value, sizeof(((struct hvisor_device_add *)0)->field)}
		BAD(zone, 0),
		BAD(zone, HVISOR_ZONES_MAX),
		BAD(zone, 0xffffffff),
		BAD(irq, 0),
		BAD(irq, 0xffffffff),
		BAD(base, FAKE_BASE + 1),
		BAD(base, 0ull - 0x100),
		BAD(base, FAKE_RAM),
		BAD(base, FAKE_RAM - 0x100),
		BAD(size, 0),
		BAD(size, 0x1f8),
		BAD(size, ~0ull - 7),
		BAD(device_id, 0),
		BAD(nqueues, 0),
		BAD(nqueues, REGION_QUEUES_MAX + 1),
		BAD(queue_size_max, 100),
		BAD(queue_size_max, REGION_QUEUE_SIZE_MAX * 2),
		BAD(config_len, HVISOR_CONFIG_MAX + 1),
		BAD(name[0], 0),
#undef BAD
	};
	struct sim sim = {0};
	struct fake fake;
	struct hvisor_device_add add;
	size_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		add = fake_device();
		add.irq++;
		add.base += 0x1000;
		memcpy((uint8_t *)&add + bad[i].offset, &bad[i].value, bad[i].size);
		if (sim_call(&sim, HVISOR_DEVICE_ADD, &add) != -EINVAL)
			TEST_FAIL("case %zu was not refused with EINVAL", i);
	}
	add = fake_device();
	memset(add.name, 'x', sizeof(add.name));
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -EINVAL);
	sim_stop(&sim);
}

static void test_devices_many(void)
{
	struct sim sim = {0};
	struct fake fake;
	struct hvisor_device_add add = fake_device();
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	for (i = 1; i < HVISOR_DEVICES_MAX; i++) {
		add.base = FAKE_BASE + i * 0x200;
		add.irq = FAKE_IRQ + i;
		add.device_id = i;
		CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), 0);
	}
	add.base += 0x200;
	add.irq++;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), -ENOSPC);
	for (i = 1; i < HVISOR_DEVICES_MAX; i++)
		CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 3, FAKE_BASE + i * 0x200 + VMMIO_DEVICE_ID, 4), i);
	sim_stop(&sim);
}

/* The socket */

struct wire {
	uint32_t cmd;
	uint8_t bytes[2048];
};

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends size bytes and nfds copies of fd; returns the number of the answer, and in nreply its length. */
static int32_t exchange(int socket_fd, const void *bytes, size_t size, int fd, size_t nfds, ssize_t *nreply)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(32 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, size};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	struct wire reply = {0};
	int fds[32];
	size_t i;

	for (i = 0; i < nfds; i++)
		fds[i] = fd;
	if (nfds) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
	}
	CHECK_INT(sendmsg(socket_fd, &header, MSG_NOSIGNAL), (ssize_t)size);
	*nreply = recv(socket_fd, &reply, sizeof(reply), 0);
	return (int32_t)reply.cmd;
}

static int count_fds(void)
{
	char path[32];
	char link[8];
	int n = 0;
	int fd;

	for (fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n += readlink(path, link, sizeof(link)) > 0;
	}
	return n;
}

static void test_socket_nonsense(void)
{
	struct hvisor_device_attach attach = {.kick_fd = 5, .call_fd = 6};
	struct hvisor_device_owner owner = {.pid = -1};
	struct wire wire = {.cmd = (uint32_t)HVISOR_DEVICE_ATTACH};
	int event_fd = eventfd(0, EFD_CLOEXEC);
	uint8_t big[8192] = {0};
	struct sim sim = {0};
	struct fake fake;
	ssize_t n;
	int before;
	int null_fd;
	int fd;

	scratch_enter();
	CHECK_INT(sim_start(&sim, "nonsense.sock"), 0);
	fake_board(&fake, &sim, 4);
	attach.id = owner.id = fake.id;
	memcpy(wire.bytes, &attach, sizeof(attach));
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	fd = connect_to("nonsense.sock");
	/* The first answer means that the other end is counted. */
	CHECK_INT(exchange(fd, &wire, 4, -1, 0, &n), -EINVAL);
	before = count_fds();

	CHECK_INT(exchange(fd, big, 2, -1, 0, &n), -EINVAL);
	CHECK_INT(exchange(fd, big, sizeof(big), event_fd, 2, &n), -EINVAL);
	CHECK_INT(exchange(fd, big, 100, -1, 0, &n), -ENOTTY);
	CHECK_INT(n, 4);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach) - 1, event_fd, 2, &n), -EINVAL);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach) + 1, event_fd, 2, &n), -EINVAL);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), event_fd, 0, &n), -EBADF);
	CHECK_INT(n, 4 + (ssize_t)sizeof(attach));
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), event_fd, 1, &n), -EBADF);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), event_fd, 3, &n), -EBADF);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), event_fd, 32, &n), -EINVAL);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), null_fd, 2, &n), -EINVAL);
	attach.id = 1234;
	memcpy(wire.bytes, &attach, sizeof(attach));
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(attach), event_fd, 2, &n), -ENOENT);
	wire.cmd = (uint32_t)HVISOR_DEVICE_OWNER;
	memcpy(wire.bytes, &owner, sizeof(owner));
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(owner), -1, 0, &n), -EINVAL);
	owner.pid = INT32_MAX;
	memcpy(wire.bytes, &owner, sizeof(owner));
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(owner), -1, 0, &n), -ESRCH);
	CHECK_INT(exchange(fd, &wire, 4 + sizeof(owner), null_fd, 1, &n), -EBADF);
	CHECK_INT(count_fds(), before);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_DEVICE_ID, 4), 2);
	close(fd);
	sim_stop(&sim);
	CHECK(access("nonsense.sock", F_OK) != 0);
}

/* The launcher's own client, several at once; devices outlive them. */
static void test_socket_clients(void)
{
	struct hvisor_zone_set set = {.zone = 1, .nmemory = 1, .memory = {{0x50000000, 0x50000000, MIB}}};
	struct hvisor_device_view view = {0};
	struct hvisor_device_add add = fake_device();
	struct queue_region *region;
	struct sim sim = {0};
	struct hv first;
	struct hv second;

	scratch_enter();
	CHECK_INT(sim_start(&sim, "clients.sock"), 0);
	CHECK_INT(sim_zone_add(&sim, 1, set.memory, 1), 0);
	CHECK_INT(hv_open(&first, "sim:clients.sock"), 0);
	CHECK_INT(hv_open(&second, "sim:clients.sock"), 0);
	CHECK_STR(first.name, SIM_NAME);
	CHECK_INT(hv_call(&first, HVISOR_ZONE_SET, &set), 0);
	CHECK_INT(hv_call(&first, HVISOR_DEVICE_ADD, &add), 0);
	hv_close(&first);
	add.id = 0;
	CHECK_INT(hv_call(&second, HVISOR_DEVICE_ADD, &add), 0);
	CHECK_INT(add.existed, 1);
	view.id = add.id;
	CHECK_INT(hv_call(&second, HVISOR_DEVICE_VIEW, &view), 0);
	region = mmap(NULL, view.region_size, PROT_READ, MAP_SHARED, view.region_fd, 0);
	CHECK(region != MAP_FAILED);
	CHECK_INT(region->head.magic, REGION_MAGIC);
	CHECK_INT(get_device(&sim, add.id).flags, 0);
	hv_close(&second);
	sim_stop(&sim);
}

/* Attachments */

static void test_attachment(void)
{
	struct hvisor_device_attach attach = {0};
	struct hvisor_device_attach again;
	struct hvisor_device_del del;
	struct sim sim = {0};
	struct fake fake;
	uint8_t *memory;
	int kept;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	del = (struct hvisor_device_del){.id = fake.id};
	attach.id = fake.id;
	attach.kick_fd = eventfd(0, EFD_CLOEXEC);
	attach.call_fd = eventfd(0, EFD_CLOEXEC);
	again = attach;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &attach), 0);
	CHECK_INT(attach.nmemory, 1);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_ATTACHED);

	memory = mmap(NULL, attach.memory[0].size, PROT_READ | PROT_WRITE, MAP_SHARED, attach.memory_fd,
		      (off_t)attach.memory_offset[0]);
	CHECK(memory != MAP_FAILED);
	memory[12345] = 77;
	CHECK_INT(*(uint8_t *)gmem_at(sim_zone_memory(&sim, FAKE_ZONE), FAKE_RAM + 12345, 1), 77);
	CHECK(ftruncate(attach.memory_fd, 0) != 0);
	CHECK(ftruncate(attach.region_fd, 0) != 0);

	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &again), -EBUSY);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_DEL, &del), -EBUSY);
	kept = dup(attach.attachment_fd);
	close(attach.attachment_fd);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &again), -EBUSY);
	close(kept);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &again), 0);
	close(again.attachment_fd);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_DEL, &del), 0);
	sim_stop(&sim);
}

/* Does a thread other than this one wait for a lock? */
static int waits_for_lock(void *arg)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300];
	bool waits = false;
	FILE *file;
	long nr;

	(void)arg;
	CHECK(dir);
	while ((entry = readdir(dir))) {
		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == gettid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", entry->d_name);
		file = fopen(path, "re");
		CHECK(file);
		waits |= fscanf(file, "%ld", &nr) == 1 && nr == SYS_futex;
		fclose(file);
	}
	closedir(dir);
	return waits;
}

/* The next backend is attached while the simulator is about to see that the one before is gone: it stays attached. */
static void test_attachment_follows(void)
{
	struct hvisor_device_attach attach;
	struct sim sim = {0};
	struct pollfd wake;
	struct fake fake;

	CHECK_INT(sim_start(&sim, NULL), 0);
	wake = (struct pollfd){.fd = sim.wake.fd, .events = POLLIN};
	fake_board(&fake, &sim, 4);
	attach = (struct hvisor_device_attach){
		.id = fake.id, .kick_fd = eventfd(0, EFD_CLOEXEC), .call_fd = eventfd(0, EFD_CLOEXEC)};
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &attach), 0);
	/* All that was said before has been seen, so that the next thing is the end of the attachment. */
	pthread_mutex_lock(&sim.lock);
	while (poll(&wake, 1, 0) != 0) {
		pthread_mutex_unlock(&sim.lock);
		sched_yield();
		pthread_mutex_lock(&sim.lock);
	}
	close(attach.attachment_fd);
	CHECK(test_wait(waits_for_lock, NULL, 5000));
	CHECK_INT(sim_device_attach(sim.devices, &attach), 0);
	pthread_mutex_unlock(&sim.lock);
	/* Its call is heard. */
	eventfd_write(attach.call_fd, 1);
	while (get_device(&sim, fake.id).spurious == 0)
		sched_yield();
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_ATTACHED);
	sim_stop(&sim);
}

/* The region of a device is handed to each backend as the driver set it up, whatever the one before wrote there. */
static void test_attachment_restores(void)
{
	struct hvisor_device_attach attach;
	struct hvisor_device_view view;
	struct queue_region *region;
	struct guest_dev dev;
	struct guest_vq vq;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_dev_probe(&dev, &guest, FAKE_BASE, FAKE_IRQ, 0), 0);
	CHECK_INT(guest_dev_negotiate(&dev, 0, VMMIO_F_EVENT_IDX), 0);
	CHECK_INT(guest_vq_open(&vq, &dev, 0, 1, 64, 0), 0);
	CHECK_INT(guest_dev_start(&dev, 0), 0);
	view = (struct hvisor_device_view){.id = fake.id};
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_VIEW, &view), 0);
	region = mmap(NULL, view.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, view.region_fd, 0);
	CHECK(region != MAP_FAILED);
	memset(&region->driver, 0x5a, sizeof(region->driver));
	memset(&region->head, 0x5a, sizeof(region->head));
	attach = (struct hvisor_device_attach){
		.id = fake.id, .kick_fd = eventfd(0, EFD_CLOEXEC), .call_fd = eventfd(0, EFD_CLOEXEC)};
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &attach), 0);
	CHECK_INT(region->head.magic, REGION_MAGIC);
	CHECK_INT(region->driver.features, VMMIO_F_VERSION_1 | VMMIO_F_EVENT_IDX);
	CHECK_INT(region->driver.queue[1].ready, 1);
	CHECK_INT(region->driver.queue[1].num, 64);
	CHECK_INT(region->driver.queue[1].desc, vq.desc_gpa);
	CHECK_INT(region->driver.queue[0].ready, 0);
	close(attach.attachment_fd);
	guest_vq_close(&vq);
	guest_finish(&guest);
	sim_stop(&sim);
}

/* hvisor's side */

static void test_absent_reads_zero(void)
{
	struct sim sim = {0};
	struct fake fake;

	CHECK_INT(sim_start(&sim, NULL), 0);
	CHECK_INT(sim_mmio_read(&sim, 1, 0, FAKE_BASE, 4), 0);
	fake_board(&fake, &sim, 4);
	CHECK(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE, 4) != 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + 0x200, 4), 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE - 4, 8), 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE + 1, 0, FAKE_BASE, 4), 0);
	sim_mmio_write(&sim, FAKE_ZONE, 0, 0xffffffffffffff50, 4, 1);
	sim_mmio_write(&sim, FAKE_ZONE, 31, 0xffffffffffffff70, 4, 0);
	CHECK(sim.bridge.absent >= 6);
	CHECK_INT(sim.bridge.bad, 0);
	sim_stop(&sim);
}

#define HAMMER_CPUS 8
#define HAMMER_TURNS 20000

struct hammer {
	struct sim *sim;
	uint32_t cpu;
	pthread_t thread;
	uint64_t wrong;
};

/* Each CPU has a device of its own whose selector it alone writes, and one that all read. */
static void *hammer_run(void *argument)
{
	struct hammer *hammer = argument;
	uint64_t base = FAKE_BASE + (hammer->cpu + 1) * 0x200ull;
	uint32_t i;

	for (i = 0; i < HAMMER_TURNS; i++) {
		sim_mmio_write(hammer->sim, FAKE_ZONE, hammer->cpu, base + VMMIO_DEVICE_FEATURES_SEL, 4, i & 1);
		if (sim_mmio_read(hammer->sim, FAKE_ZONE, hammer->cpu, base + VMMIO_DEVICE_FEATURES, 4) !=
		    ((i & 1) ? 1 : hammer->cpu + 1))
			hammer->wrong++;
		if (sim_mmio_read(hammer->sim, FAKE_ZONE, hammer->cpu, FAKE_BASE, 4) != 0x74726976)
			hammer->wrong++;
	}
	return NULL;
}

static void test_cpus_hammer_registers(void)
{
	struct hammer hammer[HAMMER_CPUS];
	struct hvisor_device_add add;
	struct sim sim = {0};
	struct fake fake;
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	for (i = 0; i < HAMMER_CPUS; i++) {
		add = fake_device();
		add.base += (i + 1) * 0x200ull;
		add.irq += i + 1;
		add.features = VMMIO_F_VERSION_1 | (i + 1);
		CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ADD, &add), 0);
		hammer[i] = (struct hammer){.sim = &sim, .cpu = i};
	}
	for (i = 0; i < HAMMER_CPUS; i++)
		CHECK_INT(pthread_create(&hammer[i].thread, NULL, hammer_run, &hammer[i]), 0);
	for (i = 0; i < HAMMER_CPUS; i++) {
		pthread_join(hammer[i].thread, NULL);
		CHECK_INT(hammer[i].wrong, 0);
		CHECK_INT(get_device(&sim, fake.id + 1 + i).accesses, 2 * HAMMER_TURNS);
	}
	CHECK_INT(get_device(&sim, fake.id).accesses, HAMMER_CPUS * HAMMER_TURNS);
	CHECK(get_device(&sim, fake.id).wait_max_ns > 0);
	CHECK_INT(get_device(&sim, fake.id).hold_max_ns, 0);
	CHECK_INT(sim.bridge.bad, 0);
	sim_stop(&sim);
}

#define STEP_CPUS 2
#define STEPS 30000

struct step {
	struct sim *sim;
	uint32_t cpu;
	uint32_t *arrived;
	pthread_t thread;
};

/* One access each, then all wait for each other: a wakeup that is lost is not made good by the next one. */
static void *step_run(void *argument)
{
	struct step *step = argument;
	uint32_t i;

	for (i = 1; i <= STEPS; i++) {
		sim_mmio_read(step->sim, FAKE_ZONE, step->cpu, FAKE_BASE, 4);
		__atomic_fetch_add(step->arrived, 1, __ATOMIC_ACQ_REL);
		while (__atomic_load_n(step->arrived, __ATOMIC_ACQUIRE) < i * STEP_CPUS)
			sched_yield();
	}
	return NULL;
}

static void test_cpus_in_step(void)
{
	struct step step[STEP_CPUS];
	struct sim sim = {0};
	uint32_t arrived = 0;
	struct fake fake;
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	for (i = 0; i < STEP_CPUS; i++) {
		step[i] = (struct step){.sim = &sim, .cpu = i, .arrived = &arrived};
		CHECK_INT(pthread_create(&step[i].thread, NULL, step_run, &step[i]), 0);
	}
	for (i = 0; i < STEP_CPUS; i++)
		pthread_join(step[i].thread, NULL);
	CHECK_INT(get_device(&sim, fake.id).accesses, STEPS * STEP_CPUS);
	sim_stop(&sim);
}

/* Nobody answers while the drain is taken, and a notification does not wait for it. */
static void test_notify_does_not_wait(void)
{
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 8);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	sim_drain_lock(&sim);
	guest_dev_write(&blk.dev, 0, VMMIO_QUEUE_NOTIFY, 0);
	CHECK_INT(get_device(&sim, fake.id).notifications, 0);
	sim_drain_unlock(&sim);
	CHECK_INT(get_device(&sim, fake.id).notifications, 1);
	guest_blk_close(&blk);
	guest_finish(&guest);
	sim_stop(&sim);
}

/* Quiescence */

struct resetter {
	struct sim *sim;
	pthread_t thread;
	uint32_t done;
};

static void *reset_run(void *argument)
{
	struct resetter *resetter = argument;

	sim_mmio_write(resetter->sim, FAKE_ZONE, 7, FAKE_BASE + VMMIO_STATUS, 4, 0);
	__atomic_store_n(&resetter->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static int reset_is_done(void *argument)
{
	struct resetter *resetter = argument;

	return __atomic_load_n(&resetter->done, __ATOMIC_ACQUIRE) != 0;
}

static int reset_is_held(void *argument)
{
	struct sim *sim = argument;

	return __atomic_load_n(&sim->devices->hold_since_ns, __ATOMIC_ACQUIRE) != 0;
}

/* A board with a driver that runs, and a backend that does not become quiet; resetter waits in a reset. */
static void hold_a_reset(struct sim *sim, struct fake *fake, struct resetter *resetter)
{
	struct guest_blk_options options = {.queues = FAKE_QUEUES};
	static struct guest_blk blk;
	static struct guest guest;

	CHECK_INT(sim_start(sim, NULL), 0);
	fake_board(fake, sim, 16);
	fake_start(fake);
	CHECK_INT(guest_init(&guest, sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, &options), 0);
	fake->control->stubborn = 1;
	*resetter = (struct resetter){.sim = sim};
	CHECK_INT(pthread_create(&resetter->thread, NULL, reset_run, resetter), 0);
	CHECK(test_wait(reset_is_held, sim, 5000));
}

static void test_reset_waits_for_quiescence(void)
{
	struct sim sim = {.quiesce_ms = 60000};
	struct resetter resetter;
	struct fake fake;

	hold_a_reset(&sim, &fake, &resetter);
	CHECK(!test_wait(reset_is_done, &resetter, 50));
	CHECK(get_device(&sim, fake.id).status != 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_DEVICE_ID, 4), 2);
	fake.control->stubborn = 0;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_KICK,
			   &(struct hvisor_device_kick){.id = fake.id, .events = REGION_EV_CONTROL}),
		  0);
	CHECK(test_wait(reset_is_done, &resetter, 5000));
	pthread_join(resetter.thread, NULL);
	CHECK_INT(get_device(&sim, fake.id).status, 0);
	CHECK(get_device(&sim, fake.id).hold_max_ns >= 50000000);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_ATTACHED);
	CHECK_INT(get_device(&sim, fake.id).owner_pid, fake.pid);
	fake_kill(&fake);
	sim_stop(&sim);
}

static void test_dead_backend_releases_reset(void)
{
	struct sim sim = {.quiesce_ms = 60000};
	struct resetter resetter;
	struct fake fake;

	hold_a_reset(&sim, &fake, &resetter);
	fake_kill(&fake);
	CHECK(test_wait(reset_is_done, &resetter, 5000));
	pthread_join(resetter.thread, NULL);
	CHECK_INT(get_device(&sim, fake.id).flags, 0);
	CHECK_INT(get_device(&sim, fake.id).owner_pid, 0);
	sim_stop(&sim);
}

static void test_deadline_cuts_off(void)
{
	struct hvisor_event_next event = {0};
	struct sim sim = {.quiesce_ms = 100};
	struct resetter resetter;
	struct fake fake;
	uint64_t begin = test_now_ns();
	int status;

	hold_a_reset(&sim, &fake, &resetter);
	CHECK(test_wait(reset_is_done, &resetter, 10000));
	CHECK(test_now_ns() - begin >= 100000000);
	pthread_join(resetter.thread, NULL);
	CHECK_INT(waitpid(fake.pid, &status, 0), fake.pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_CUT_OFF);
	CHECK_INT(event.id, fake.id);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_CUT_OFF);
	fake.control->stubborn = 0;
	fake_start(&fake);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_ATTACHED);
	fake_kill(&fake);
	sim_stop(&sim);
}

static void test_stopped_backend_leaves_registers(void)
{
	struct sim sim = {0};
	struct fake fake;
	int i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	fake_start(&fake);
	kill(fake.pid, SIGSTOP);
	for (i = 0; i < 1000; i++)
		CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_DEVICE_ID, 4), 2);
	CHECK(get_device(&sim, fake.id).wait_max_ns < 1000000000);
	fake_kill(&fake);
	sim_stop(&sim);
}

/* Zones that stop and start */

static int fake_has_turned(void *argument)
{
	struct fake *fake = argument;

	return core_load(&fake->control->turns) != 0;
}

static void *stop_run(void *argument)
{
	return (void *)(intptr_t)sim_zone_stop(argument, FAKE_ZONE);
}

/* A CPU that waits for a held-back answer is let go at once, long before the backend is quiet. */
static void test_zone_stop_frees_cpus(void)
{
	struct sim sim = {.quiesce_ms = 60000};
	struct hvisor_event_next event = {0};
	struct resetter resetter;
	struct fake fake;
	pthread_t stopper;
	void *result;

	hold_a_reset(&sim, &fake, &resetter);
	CHECK_INT(pthread_create(&stopper, NULL, stop_run, &sim), 0);
	CHECK(test_wait(reset_is_done, &resetter, 5000));
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_ATTACHED);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), -EAGAIN);
	fake.control->stubborn = 0;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_KICK,
			   &(struct hvisor_device_kick){.id = fake.id, .events = REGION_EV_CONTROL}),
		  0);
	CHECK_INT(pthread_join(stopper, &result), 0);
	CHECK_INT((intptr_t)result, 0);
	pthread_join(resetter.thread, NULL);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_ZONE_DOWN);
	fake_kill(&fake);
	sim_stop(&sim);
}

static void test_zone_stop(void)
{
	struct hvisor_event_next event = {0};
	struct sim sim = {.quiesce_ms = 1000};
	struct resetter resetter;
	struct fake fake;
	uint32_t before;

	hold_a_reset(&sim, &fake, &resetter);
	/* It is stubborn: the CPU is let go, the backend is cut off. */
	CHECK_INT(sim_zone_stop(&sim, FAKE_ZONE), 0);
	pthread_join(resetter.thread, NULL);
	CHECK_INT(get_device(&sim, fake.id).status, 0);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_CUT_OFF);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_CUT_OFF);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_ZONE_DOWN);
	CHECK_INT(event.id, FAKE_ZONE);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), -EAGAIN);

	/* A zone that is down gets no interrupts. */
	before = sim_irq_count(&sim, FAKE_ZONE, FAKE_IRQ);
	fake.control->turns = 0;
	fake_start(&fake);
	CHECK(test_wait(fake_has_turned, &fake, 5000));
	fake_kill(&fake);
	CHECK_INT(get_device(&sim, fake.id).flags, 0);
	CHECK_INT(sim_irq_count(&sim, FAKE_ZONE, FAKE_IRQ), before);

	CHECK_INT(sim_zone_start(&sim, FAKE_ZONE), 0);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_ZONE_UP);
	CHECK_INT(sim_zone_stop(&sim, 9), -ENOENT);
	sim_stop(&sim);
}

static void test_events(void)
{
	struct hvisor_info info = {.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct hvisor_event_next event = {0};
	struct sim sim = {0};
	struct fake fake;
	eventfd_t count;
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	for (i = 0; i < SIM_EVENTS + 5; i++)
		CHECK_INT(sim_zone_start(&sim, FAKE_ZONE), 0);
	CHECK_INT(sim_call(&sim, HVISOR_INFO, &info), 0);
	CHECK_INT(info.abi_version, HVISOR_ABI_VERSION);
	CHECK_INT(eventfd_read(info.event_fd, &count), 0);
	for (i = 0; i < SIM_EVENTS; i++) {
		CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
		CHECK_INT(event.lost, 0);
	}
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), -EAGAIN);
	CHECK_INT(sim_zone_stop(&sim, FAKE_ZONE), 0);
	CHECK_INT(eventfd_read(info.event_fd, &count), 0);
	CHECK_INT(sim_call(&sim, HVISOR_EVENT_NEXT, &event), 0);
	CHECK_INT(event.type, HVISOR_EVENT_ZONE_DOWN);
	CHECK_INT(event.lost, 5);
	sim_stop(&sim);
}

/* Interrupts */

static void test_interrupts(void)
{
	struct hvisor_device_attach attach;
	struct queue_region *region;
	struct sim sim = {0};
	struct fake fake;
	uint32_t count;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 4);
	attach = (struct hvisor_device_attach){
		.id = fake.id, .kick_fd = eventfd(0, EFD_CLOEXEC), .call_fd = eventfd(0, EFD_CLOEXEC)};
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_ATTACH, &attach), 0);
	region = mmap(NULL, attach.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, attach.region_fd, 0);
	CHECK(region != MAP_FAILED);

	CHECK_INT(sim_irq_count(&sim, FAKE_ZONE, FAKE_IRQ), 0);
	CHECK_INT(sim_irq_wait(&sim, FAKE_ZONE, FAKE_IRQ, 0, 10), 0);
	region->irq.interrupt_status = REGION_INT_USED;
	eventfd_write(attach.call_fd, 1);
	count = sim_irq_wait(&sim, FAKE_ZONE, FAKE_IRQ, 0, 5000);
	CHECK_INT(count, 1);
	CHECK_INT(get_device(&sim, fake.id).interrupts, 1);
	CHECK_INT(get_device(&sim, fake.id).spurious, 0);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_INTERRUPT_STATUS, 4), REGION_INT_USED);
	sim_mmio_write(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_INTERRUPT_ACK, 4, REGION_INT_USED);
	CHECK_INT(sim_mmio_read(&sim, FAKE_ZONE, 0, FAKE_BASE + VMMIO_INTERRUPT_STATUS, 4), 0);

	/* One with nothing to say, and then what it says with its last breath. */
	eventfd_write(attach.call_fd, 1);
	while (get_device(&sim, fake.id).spurious == 0)
		sched_yield();
	CHECK_INT(sim_irq_count(&sim, FAKE_ZONE, FAKE_IRQ), 1);
	region->irq.interrupt_status = REGION_INT_CONFIG;
	pthread_mutex_lock(&sim.lock);
	eventfd_write(attach.call_fd, 1);
	close(attach.attachment_fd);
	CHECK(!sim_device_attached(sim.devices));
	pthread_mutex_unlock(&sim.lock);
	CHECK_INT(sim_irq_wait(&sim, FAKE_ZONE, FAKE_IRQ, 1, 5000), 2);
	/* Nobody is attached any more: the eventfd means nothing. */
	CHECK_INT(get_device(&sim, fake.id).flags, 0);
	eventfd_write(attach.call_fd, 1);
	CHECK_INT(sim_irq_wait(&sim, FAKE_ZONE, FAKE_IRQ, 2, 20), 2);
	sim_stop(&sim);
}

static void test_fail_and_repair(void)
{
	struct hvisor_device_fail fail = {.fail = 1};
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;
	uint32_t before;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 8);
	fail.id = fake.id;
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	before = sim_irq_count(&sim, FAKE_ZONE, FAKE_IRQ);
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_FAIL, &fail), 0);
	CHECK_INT(sim_irq_wait(&sim, FAKE_ZONE, FAKE_IRQ, before, 5000), before + 1);
	CHECK(guest_dev_read(&blk.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
	CHECK(get_device(&sim, fake.id).status & VMMIO_S_NEEDS_RESET);
	CHECK_INT(get_device(&sim, fake.id).flags, HVISOR_DEVICE_FAILED);
	fail.fail = 2;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_FAIL, &fail), -EINVAL);
	fail.fail = 0;
	CHECK_INT(sim_call(&sim, HVISOR_DEVICE_FAIL, &fail), 0);
	CHECK_INT(get_device(&sim, fake.id).flags, 0);
	guest_blk_close(&blk);
	guest_finish(&guest);
	sim_stop(&sim);
}

static const struct test tests[] = {
	{"sim_zone_set", test_zone_set, 0},
	{"sim_device_add", test_device_add, 0},
	{"sim_device_add_nonsense", test_device_add_nonsense, 0},
	{"sim_devices_many", test_devices_many, 0},
	{"sim_socket_nonsense", test_socket_nonsense, 0},
	{"sim_socket_clients", test_socket_clients, 0},
	{"sim_attachment", test_attachment, 0},
	{"sim_attachment_follows", test_attachment_follows, 0},
	{"sim_attachment_restores", test_attachment_restores, 0},
	{"sim_absent_reads_zero", test_absent_reads_zero, 0},
	{"sim_cpus_hammer_registers", test_cpus_hammer_registers, 0},
	{"sim_cpus_in_step", test_cpus_in_step, 0},
	{"sim_notify_does_not_wait", test_notify_does_not_wait, 0},
	{"sim_reset_waits_for_quiescence", test_reset_waits_for_quiescence, 0},
	{"sim_dead_backend_releases_reset", test_dead_backend_releases_reset, 0},
	{"sim_deadline_cuts_off", test_deadline_cuts_off, 0},
	{"sim_stopped_backend_leaves_registers", test_stopped_backend_leaves_registers, 0},
	{"sim_zone_stop", test_zone_stop, 0},
	{"sim_zone_stop_frees_cpus", test_zone_stop_frees_cpus, 0},
	{"sim_events", test_events, 0},
	{"sim_interrupts", test_interrupts, 0},
	{"sim_fail_and_repair", test_fail_and_repair, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
