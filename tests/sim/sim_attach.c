/* SPDX-License-Identifier: MIT */
/* Who serves a device: attachments, their owners, and what a backend says by its call eventfd. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int sim_eventfd_dup(int fd)
{
	char path[32];
	char link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -EBADF;
	link[n] = '\0';
	if (strcmp(link, "anon_inode:[eventfd]") != 0)
		return -EINVAL;
	/* In the kernel a signal never blocks. */
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static void sim_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void sim_set_kick(struct sim_device *device, int fd)
{
	sim_drain_lock(device->sim);
	sim_close(&device->kick_fd);
	device->kick_fd = fd;
	sim_drain_unlock(device->sim);
}

void sim_device_called(struct sim_device *device)
{
	eventfd_t count;
	bool owed;

	if (eventfd_read(device->call.fd, &count) != 0)
		return;
	owed = core_load(&device->hold_since_ns) != 0;
	sim_device_settle(device);
	if (core_load_acquire(&device->vmmio.region->irq.interrupt_status) != 0)
		sim_device_interrupt(device);
	else if (!owed)
		__atomic_fetch_add(&device->spurious, 1, __ATOMIC_RELAXED);
}

void sim_device_detach(struct sim_device *device)
{
	/* What the backend said with its last breath. */
	sim_device_called(device);
	sim_unwatch(device->sim, &device->attachment);
	sim_unwatch(device->sim, &device->call);
	sim_set_kick(device, -1);
	sim_close(&device->owner_fd);
	pthread_mutex_lock(&device->lock);
	vmmio_detach(&device->vmmio);
	pthread_mutex_unlock(&device->lock);
	sim_device_settle(device);
}

bool sim_device_attached(struct sim_device *device)
{
	struct pollfd pfd = {.fd = device->attachment.fd};

	if (device->attachment.fd < 0)
		return false;
	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLHUP)) {
		sim_device_detach(device);
		return false;
	}
	return true;
}

static int sim_attachment_open(struct sim_device *device, struct hvisor_device_attach *attach)
{
	struct sim_zone *zone = &device->sim->zone[device->add.zone];
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) != 0)
		return -errno;
	device->attachment.fd = fd[0];
	attach->attachment_fd = fd[1];
	attach->region_fd = fcntl(device->region_fd, F_DUPFD_CLOEXEC, 0);
	attach->memory_fd = fcntl(zone->memory_fd, F_DUPFD_CLOEXEC, 0);
	if (attach->region_fd < 0 || attach->memory_fd < 0)
		return -EMFILE;
	attach->region_size = device->region_size;
	attach->region_offset = 0;
	attach->nmemory = zone->set.nmemory;
	memcpy(attach->memory, zone->set.memory, sizeof(attach->memory));
	sim_zone_offsets(zone, attach->memory_offset);
	return 0;
}

int sim_device_attach(struct sim_device *device, struct hvisor_device_attach *attach)
{
	struct sim *sim = device->sim;
	int kick_fd = -1;
	int error;

	attach->attachment_fd = attach->region_fd = attach->memory_fd = -1;
	if (sim_device_attached(device))
		return -EBUSY;
	error = kick_fd = sim_eventfd_dup(attach->kick_fd);
	if (error < 0)
		goto fail;
	error = device->call.fd = sim_eventfd_dup(attach->call_fd);
	if (error < 0)
		goto fail;
	error = sim_attachment_open(device, attach);
	/* EPOLLHUP is reported without being asked for; what a holder may write into the pipe is nobody's business. */
	if (!error)
		error = sim_watch(sim, &device->attachment, 0);
	if (!error)
		error = sim_watch(sim, &device->call, EPOLLIN);
	if (error)
		goto fail;

	sim_close(&device->owner_fd);
	device->cut_off = false;
	sim_set_kick(device, kick_fd);
	pthread_mutex_lock(&device->lock);
	vmmio_attach(&device->vmmio);
	pthread_mutex_unlock(&device->lock);
	return 0;
fail:
	sim_unwatch(sim, &device->attachment);
	sim_unwatch(sim, &device->call);
	sim_close(&kick_fd);
	sim_close(&attach->attachment_fd);
	sim_close(&attach->region_fd);
	sim_close(&attach->memory_fd);
	return error;
}

int sim_device_own(struct sim_device *device, int32_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return -errno;
	sim_close(&device->owner_fd);
	device->owner_fd = fd;
	return 0;
}

int32_t sim_device_owner_pid(const struct sim_device *device)
{
	char line[128];
	int32_t pid = 0;
	FILE *file;

	if (device->owner_fd < 0)
		return 0;
	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", device->owner_fd);
	file = fopen(line, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	}
	fclose(file);
	return pid > 0 ? pid : 0;
}

/* Its answers stay held back until the attachment is gone: only then is it certain that nothing touches the memory. */
void sim_device_cut_off(struct sim_device *device)
{
	device->cut_off = true;
	if (device->owner_fd >= 0)
		syscall(SYS_pidfd_send_signal, device->owner_fd, SIGKILL, NULL, 0);
	sim_event(device->sim, HVISOR_EVENT_CUT_OFF, device->id);
}
