/* SPDX-License-Identifier: MIT */
#include "tests/sim/fake.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/virtqueue.h"
#include "tests/test.h"

/* In the process. */
struct fake_process {
	struct fake *fake;
	struct queue_region *region;
	struct region_shape shape;
	struct gmem mem;
	struct virtq vq[FAKE_QUEUES];
	uint32_t epoch[FAKE_QUEUES];
};

struct hvisor_device_add fake_device(void)
{
	struct hvisor_device_add add = {
		.zone = FAKE_ZONE,
		.irq = FAKE_IRQ,
		.base = FAKE_BASE,
		.size = 0x200,
		.device_id = 2,
		.nqueues = FAKE_QUEUES,
		.queue_size_max = 128,
		.config_len = sizeof(struct virtio_blk_config),
		.features = VMMIO_F_VERSION_1 | VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC | 1ull << VIRTIO_BLK_F_MQ |
			    1ull << VIRTIO_BLK_F_CONFIG_WCE,
		.name = "fake0",
	};
	struct virtio_blk_config config = {.capacity = htole64(FAKE_SECTORS), .num_queues = htole16(FAKE_QUEUES)};
	uint32_t wce = offsetof(struct virtio_blk_config, wce);

	memcpy(add.config, &config, sizeof(config));
	add.config_writable[wce / 8] = (uint8_t)(1u << (wce % 8));
	return add;
}

void fake_board(struct fake *fake, struct sim *sim, uint32_t mebibytes)
{
	struct hvisor_memory memory = {FAKE_RAM, FAKE_RAM, (uint64_t)mebibytes << 20};
	struct hvisor_zone_set set = {.zone = FAKE_ZONE, .nmemory = 1, .memory = {memory}};
	struct hvisor_device_add add = fake_device();

	*fake = (struct fake){.sim = sim};
	CHECK_INT(sim_zone_add(sim, FAKE_ZONE, &memory, 1), 0);
	CHECK_INT(sim_call(sim, HVISOR_ZONE_SET, &set), 0);
	CHECK_INT(sim_call(sim, HVISOR_DEVICE_ADD, &add), 0);
	fake->id = add.id;
	fake->control = mmap(NULL, sizeof(*fake->control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(fake->control != MAP_FAILED);
}

static uint8_t fake_request(struct fake_process *p, const struct virtq_chain *chain)
{
	struct virtio_blk_outhdr header;
	uint64_t at;
	uint16_t i;

	memcpy(&header, chain->iov[0].iov_base, sizeof(header));
	at = le64toh(header.sector) * 512;
	for (i = 1; i + 1 < chain->nread + chain->nwrite; i++) {
		if (at + chain->iov[i].iov_len > sizeof(p->fake->control->disk))
			return VIRTIO_BLK_S_IOERR;
		if (i < chain->nread)
			memcpy(p->fake->control->disk + at, chain->iov[i].iov_base, chain->iov[i].iov_len);
		else
			memcpy(chain->iov[i].iov_base, p->fake->control->disk + at, chain->iov[i].iov_len);
		at += chain->iov[i].iov_len;
	}
	return VIRTIO_BLK_S_OK;
}

static void fake_call(struct fake_process *p)
{
	eventfd_write(p->fake->call_fd, 1);
}

static bool fake_serve(struct fake_process *p, uint32_t q)
{
	struct virtq *vq = &p->vq[q];
	struct virtq_chain chain;
	bool any = false;

	while (vq->num && virtq_pop(vq, &chain) == 1) {
		*(uint8_t *)chain.iov[chain.nread + chain.nwrite - 1].iov_base = fake_request(p, &chain);
		virtq_push(vq, chain.head, (uint32_t)chain.write_len);
		any = true;
	}
	/* An interrupt that the driver has yet to acknowledge stands for this one too. */
	if (any && virtq_publish(vq) && core_or32(&p->region->irq.interrupt_status, REGION_INT_USED) == 0)
		fake_call(p);
	return any;
}

static void fake_follow(struct fake_process *p)
{
	struct region_driver *driver = &p->region->driver;
	uint32_t seq = core_load_acquire(&driver->quiesce_seq);
	struct region_queue queue;
	uint32_t q;

	for (q = 0; q < FAKE_QUEUES; q++) {
		if (!core_load_acquire(&driver->queue[q].ready)) {
			virtq_close(&p->vq[q]);
			p->epoch[q] = 0;
			continue;
		}
		queue = driver->queue[q];
		if (p->epoch[q] == queue.epoch)
			continue;
		virtq_open(&p->vq[q], &p->mem, &queue, driver->features,
			   (void *)((uint8_t *)p->region + region_journal_offset(&p->shape, q)));
		p->epoch[q] = queue.epoch;
	}
	if (!core_load(&p->fake->control->stubborn) && core_load(&p->region->device.quiesce_ack) != seq) {
		core_store_release(&p->region->device.quiesce_ack, seq);
		fake_call(p);
	}
}

static bool fake_turn(struct fake_process *p)
{
	bool any = core_xchg32(&p->region->doorbell.events, 0) != 0;
	uint32_t q;

	any |= core_xchg64(&p->region->doorbell.queues, 0) != 0;
	fake_follow(p);
	for (q = 0; q < FAKE_QUEUES; q++)
		any |= fake_serve(p, q);
	p->fake->control->turns++;
	return any;
}

static void fake_run(struct fake *fake)
{
	struct gmem_region memory = {fake->attach.memory[0].zonex_ipa, fake->attach.memory[0].size,
				     fake->attach.memory_offset[0]};
	struct pollfd kick = {.fd = fake->kick_fd, .events = POLLIN};
	static struct fake_process p;
	eventfd_t count;
	uint32_t q;

	p.fake = fake;
	p.region = mmap(NULL, fake->attach.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, fake->attach.region_fd, 0);
	if (p.region == MAP_FAILED || !region_open(p.region, fake->attach.region_size, &p.shape) ||
	    gmem_map(&p.mem, fake->attach.memory_fd, &memory, 1) != 0)
		_exit(2);
	core_or32(&p.region->irq.interrupt_status, REGION_INT_USED);
	fake_call(&p);
	for (;;) {
		if (fake_turn(&p))
			continue;
		for (q = 0; q < FAKE_QUEUES; q++) {
			if (p.vq[q].num)
				virtq_enable_notification(&p.vq[q]);
		}
		core_xchg32(&p.region->doorbell.sleeping, 1);
		if (!fake_turn(&p))
			poll(&kick, 1, 1000);
		core_store(&p.region->doorbell.sleeping, 0);
		eventfd_read(fake->kick_fd, &count);
	}
}

void fake_start(struct fake *fake)
{
	struct hvisor_device_owner owner = {.id = fake->id};

	fake->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fake->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fake->attach =
		(struct hvisor_device_attach){.id = fake->id, .kick_fd = fake->kick_fd, .call_fd = fake->call_fd};
	CHECK_INT(sim_call(fake->sim, HVISOR_DEVICE_ATTACH, &fake->attach), 0);
	fake->pid = fork();
	CHECK(fake->pid >= 0);
	if (fake->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fake_run(fake);
	}
	close(fake->attach.attachment_fd);
	close(fake->attach.region_fd);
	close(fake->attach.memory_fd);
	close(fake->kick_fd);
	close(fake->call_fd);
	fake->pid_fd = (int)syscall(SYS_pidfd_open, fake->pid, 0);
	owner.pid = fake->pid;
	CHECK_INT(sim_call(fake->sim, HVISOR_DEVICE_OWNER, &owner), 0);
}

void fake_kill(struct fake *fake)
{
	kill(fake->pid, SIGKILL);
	CHECK_INT(waitpid(fake->pid, NULL, 0), fake->pid);
	close(fake->pid_fd);
}
