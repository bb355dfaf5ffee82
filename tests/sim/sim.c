/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SIM_GUARD_BYTE 0xc5

uint64_t sim_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int sim_watch(struct sim *sim, struct sim_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(sim->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0 ? 0 : -errno;
}

/* Taken off first: epoll would go on reporting a file that others hold open. */
void sim_unwatch(struct sim *sim, struct sim_source *source)
{
	if (source->fd < 0)
		return;
	epoll_ctl(sim->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	close(source->fd);
	source->fd = -1;
	sim->unwatched++;
}

void sim_wake_server(struct sim *sim)
{
	eventfd_write(sim->wake.fd, 1);
}

void sim_event(struct sim *sim, uint32_t type, uint32_t id)
{
	struct hvisor_event_next *event;

	if (sim->nevents == SIM_EVENTS) {
		sim->events_lost++;
		return;
	}
	event = &sim->event[(sim->event_first + sim->nevents++) % SIM_EVENTS];
	*event = (struct hvisor_event_next){.type = type, .id = id, .lost = sim->events_lost};
	sim->events_lost = 0;
	if (sim->event_fd >= 0)
		eventfd_write(sim->event_fd, 1);
}

static int sim_timeout_ms(struct sim *sim)
{
	struct sim_device *device;
	uint64_t first = 0;
	uint64_t deadline;
	uint64_t now;

	for (device = sim->devices; device; device = device->next) {
		deadline = sim_device_deadline(device);
		if (deadline != 0 && (first == 0 || deadline < first))
			first = deadline;
	}
	if (first == 0)
		return -1;
	now = sim_now_ns();
	return first <= now ? 0 : (int)((first - now) / 1000000u) + 1;
}

static void sim_deadlines(struct sim *sim)
{
	struct sim_device *device;
	uint64_t now = sim_now_ns();
	uint64_t deadline;

	for (device = sim->devices; device; device = device->next) {
		deadline = sim_device_deadline(device);
		if (deadline == 0 || deadline > now)
			continue;
		/* The last word: it may have become quiet or be gone just now. */
		if (sim_device_attached(device))
			sim_device_settle(device);
		if (sim_device_deadline(device) != 0)
			sim_device_cut_off(device);
	}
}

static void sim_serve(struct sim *sim, struct sim_source *source)
{
	eventfd_t count;

	switch (source->kind) {
	case SIM_SOURCE_LISTEN:
		sim_accept(sim);
		break;
	case SIM_SOURCE_WAKE:
		eventfd_read(source->fd, &count);
		break;
	case SIM_SOURCE_CONNECTION:
		sim_connection_serve(sim, source->owner);
		break;
	case SIM_SOURCE_CALL:
		sim_device_called(source->owner);
		break;
	case SIM_SOURCE_ATTACHMENT:
		sim_device_detach(source->owner);
		break;
	}
}

/*
 * One event at a time, and none that came before a source was taken off: it may name that one, or another that is in
 * its place now. What is still true is reported again.
 */
static void *sim_server(void *argument)
{
	struct sim *sim = argument;
	struct epoll_event event;
	uint32_t unwatched = 0;
	int timeout_ms = -1;
	int n;

	for (;;) {
		n = epoll_wait(sim->epoll_fd, &event, 1, timeout_ms);
		pthread_mutex_lock(&sim->lock);
		if (sim->stopping)
			break;
		if (n == 1 && sim->unwatched == unwatched)
			sim_serve(sim, event.data.ptr);
		sim_deadlines(sim);
		timeout_ms = sim_timeout_ms(sim);
		unwatched = sim->unwatched;
		pthread_cond_broadcast(&sim->changed);
		pthread_mutex_unlock(&sim->lock);
	}
	pthread_mutex_unlock(&sim->lock);
	return NULL;
}

/* Signals are for the program's own threads. */
static int sim_start_server(struct sim *sim)
{
	sigset_t all;
	sigset_t old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&sim->server, NULL, sim_server, sim);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -error;
}

static void sim_release(struct sim *sim)
{
	struct sim_device *device;
	uint32_t i;

	while (sim->connections)
		sim_connection_close(sim, sim->connections);
	while ((device = sim->devices)) {
		sim->devices = device->next;
		sim_device_free(device);
	}
	for (i = 0; i < HVISOR_ZONES_MAX; i++) {
		if (!sim->zone[i].exists)
			continue;
		gmem_unmap(&sim->zone[i].mem);
		close(sim->zone[i].memory_fd);
	}
	for (i = 0; i < sim->nmaps; i++)
		free(sim->maps[i]);
	free(sim->maps);
	free(sim->irq);
	if (sim->listen.fd >= 0) {
		close(sim->listen.fd);
		unlink(sim->path);
	}
	if (sim->wake.fd >= 0)
		close(sim->wake.fd);
	if (sim->epoll_fd >= 0)
		close(sim->epoll_fd);
	if (sim->event_fd >= 0)
		close(sim->event_fd);
	if (sim->guarded)
		sim_unmap_guarded(sim->guarded, sizeof(*sim->page));
}

static void sim_init_locks(struct sim *sim)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&sim->lock, NULL);
	pthread_mutex_init(&sim->drain_lock, NULL);
	pthread_mutex_init(&sim->inject_lock, NULL);
	pthread_mutex_init(&sim->hv_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sim->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int sim_start(struct sim *sim, const char *path)
{
	int error;

	if (sim->quiesce_ms == 0)
		sim->quiesce_ms = SIM_QUIESCE_MS;
	sim->event_fd = -1;
	sim->listen = (struct sim_source){SIM_SOURCE_LISTEN, -1, sim};
	sim->wake = (struct sim_source){SIM_SOURCE_WAKE, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), sim};
	sim->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sim_init_locks(sim);

	sim->guarded = sim_map_guarded(-1, sizeof(*sim->page));
	sim->page = sim->guarded ? (struct bridge_page *)(void *)(sim->guarded + SIM_GUARD) : NULL;
	sim->irq = calloc(HVISOR_ZONES_MAX * SIM_IRQS, sizeof(*sim->irq));
	sim->maps = calloc(SIM_MAPS_MAX, sizeof(struct sim_map *));
	error = -ENOMEM;
	if (!sim->page || !sim->irq || !sim->maps || sim->wake.fd < 0 || sim->epoll_fd < 0)
		goto fail;
	sim->map = calloc(1, sizeof(*sim->map));
	if (!sim->map)
		goto fail;
	sim->maps[sim->nmaps++] = sim->map;
	bridge_init(&sim->bridge, sim->page);
	bridge_set_need_wakeup(&sim->bridge, true);

	error = sim_watch(sim, &sim->wake, EPOLLIN);
	if (!error && path)
		error = sim_listen(sim, path);
	if (!error)
		error = sim_start_server(sim);
	if (!error)
		return 0;
fail:
	sim_release(sim);
	return error;
}

void sim_stop(struct sim *sim)
{
	pthread_mutex_lock(&sim->lock);
	sim->stopping = true;
	pthread_mutex_unlock(&sim->lock);
	sim_wake_server(sim);
	pthread_join(sim->server, NULL);
	sim_release(sim);
}

static bool sim_guard_intact(const uint8_t *guard)
{
	uint32_t i;

	for (i = 0; i < SIM_GUARD && guard[i] == SIM_GUARD_BYTE; i++)
		;
	return i == SIM_GUARD;
}

const char *sim_guards_broken(struct sim *sim)
{
	const struct sim_device *device;
	const char *broken = NULL;

	pthread_mutex_lock(&sim->lock);
	for (device = sim->devices; device; device = device->next) {
		if (!sim_guard_intact(device->guarded) ||
		    !sim_guard_intact(device->guarded + SIM_GUARD + device->region_size))
			broken = device->add.name;
	}
	if (!sim_guard_intact(sim->guarded) || !sim_guard_intact(sim->guarded + SIM_GUARD + sizeof(*sim->page)))
		broken = "bridge";
	pthread_mutex_unlock(&sim->lock);
	return broken;
}

uint8_t *sim_map_guarded(int fd, uint32_t size)
{
	uint8_t *at = mmap(NULL, size + 2 * SIM_GUARD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	if (fd >= 0 &&
	    mmap(at + SIM_GUARD, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		sim_unmap_guarded(at, size);
		return NULL;
	}
	memset(at, SIM_GUARD_BYTE, SIM_GUARD);
	memset(at + SIM_GUARD + size, SIM_GUARD_BYTE, SIM_GUARD);
	return at;
}

void sim_unmap_guarded(uint8_t *guarded, uint32_t size)
{
	munmap(guarded, size + 2 * SIM_GUARD);
}

static bool sim_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int sim_memory_check(const struct hvisor_memory *memory, uint32_t n)
{
	uint32_t i;
	uint32_t j;

	if (n < 1 || n > HVISOR_MEMORY_MAX)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		if ((memory[i].zone0_ipa | memory[i].zonex_ipa | memory[i].size) % REGION_PAGE != 0 ||
		    memory[i].size == 0 || memory[i].zone0_ipa + memory[i].size < memory[i].size ||
		    memory[i].zonex_ipa + memory[i].size < memory[i].size)
			return -EINVAL;
		for (j = 0; j < i; j++) {
			if (sim_overlap(memory[i].zonex_ipa, memory[i].size, memory[j].zonex_ipa, memory[j].size) ||
			    sim_overlap(memory[i].zone0_ipa, memory[i].size, memory[j].zone0_ipa, memory[j].size))
				return -EINVAL;
		}
	}
	return 0;
}

int sim_memfd(const char *name, uint64_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

int sim_zone_add(struct sim *sim, uint32_t number, const struct hvisor_memory *memory, uint32_t n)
{
	struct gmem_region region[HVISOR_MEMORY_MAX];
	struct sim_zone *zone;
	uint64_t size = 0;
	uint32_t i;
	int error;

	if (number < 1 || number >= HVISOR_ZONES_MAX)
		return -EINVAL;
	error = sim_memory_check(memory, n);
	if (error)
		return error;

	pthread_mutex_lock(&sim->lock);
	zone = &sim->zone[number];
	error = -EEXIST;
	if (zone->exists)
		goto out;
	for (i = 0; i < n; i++) {
		zone->board[i] = memory[i];
		zone->board_offset[i] = size;
		region[i] = (struct gmem_region){memory[i].zonex_ipa, memory[i].size, size};
		size += memory[i].size;
	}
	zone->nboard = n;
	error = zone->memory_fd = sim_memfd("zone-memory", size);
	if (error < 0)
		goto out;
	error = gmem_map(&zone->mem, zone->memory_fd, region, n);
	if (error) {
		close(zone->memory_fd);
		goto out;
	}
	zone->exists = true;
	__atomic_store_n(&zone->running, true, __ATOMIC_RELEASE);
out:
	pthread_mutex_unlock(&sim->lock);
	return error;
}

const struct gmem *sim_zone_memory(const struct sim *sim, uint32_t zone)
{
	return zone < HVISOR_ZONES_MAX && sim->zone[zone].exists ? &sim->zone[zone].mem : NULL;
}

/* Where [base, base + size) of root's addresses lies in the zone's memory_fd; false: not in one piece of its board. */
static bool sim_zone_offset(const struct sim_zone *zone, const struct hvisor_memory *memory, __u64 *offset)
{
	const struct hvisor_memory *board;
	uint64_t delta;
	uint32_t i;

	for (i = 0; i < zone->nboard; i++) {
		board = &zone->board[i];
		delta = memory->zone0_ipa - board->zone0_ipa;
		if (delta >= board->size || memory->size > board->size - delta ||
		    memory->zonex_ipa - board->zonex_ipa != delta)
			continue;
		*offset = zone->board_offset[i] + delta;
		return true;
	}
	return false;
}

void sim_zone_offsets(const struct sim_zone *zone, __u64 *offset)
{
	uint32_t i;

	for (i = 0; i < zone->set.nmemory; i++)
		sim_zone_offset(zone, &zone->set.memory[i], &offset[i]);
}

static bool sim_zone_busy(const struct sim *sim, uint32_t zone)
{
	const struct sim_device *device;

	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted && device->add.zone == zone)
			return true;
	}
	return false;
}

int sim_zone_set(struct sim *sim, const struct hvisor_zone_set *set)
{
	struct sim_zone *zone;
	__u64 offset;
	uint32_t i;
	int error;

	if (set->zone < 1 || set->zone >= HVISOR_ZONES_MAX)
		return -EINVAL;
	error = sim_memory_check(set->memory, set->nmemory);
	if (error)
		return error;
	zone = &sim->zone[set->zone];
	if (zone->declared && zone->set.nmemory == set->nmemory &&
	    memcmp(zone->set.memory, set->memory, set->nmemory * sizeof(set->memory[0])) == 0)
		return 0;
	for (i = 0; i < set->nmemory; i++) {
		if (sim->root_ram.size &&
		    sim_overlap(set->memory[i].zone0_ipa, set->memory[i].size, sim->root_ram.base, sim->root_ram.size))
			return -EPERM;
	}
	for (i = 0; i < set->nmemory; i++) {
		if (!zone->exists || !sim_zone_offset(zone, &set->memory[i], &offset))
			return -ERANGE;
	}
	if (sim_zone_busy(sim, set->zone))
		return -EBUSY;
	zone->set = *set;
	zone->declared = true;
	return 0;
}

static bool sim_zone_quiet(struct sim *sim, uint32_t zone)
{
	struct sim_device *device;

	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted && device->add.zone == zone && sim_device_attached(device) &&
		    !sim_device_quiet(device))
			return false;
	}
	return true;
}

/* The time on the clock of sim->changed. */
static struct timespec sim_time_in(uint64_t ms)
{
	uint64_t ns = sim_now_ns() + ms * 1000000u;

	return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

bool sim_await(struct sim *sim, bool (*done)(struct sim *sim, void *argument), void *argument, int timeout_ms)
{
	struct timespec end = sim_time_in(timeout_ms < 0 ? 0 : (uint64_t)timeout_ms);
	bool result;
	int error = 0;

	pthread_mutex_lock(&sim->lock);
	while (!(result = done(sim, argument)) && error == 0) {
		if (timeout_ms < 0)
			error = pthread_cond_wait(&sim->changed, &sim->lock);
		else
			error = pthread_cond_timedwait(&sim->changed, &sim->lock, &end);
	}
	pthread_mutex_unlock(&sim->lock);
	return result;
}

int sim_zone_stop(struct sim *sim, uint32_t number)
{
	struct timespec end = sim_time_in(sim->quiesce_ms + 1000);
	struct sim_device *device;
	int error = 0;

	if (!sim_zone_memory(sim, number))
		return -ENOENT;
	pthread_mutex_lock(&sim->lock);
	__atomic_store_n(&sim->zone[number].running, false, __ATOMIC_RELEASE);
	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted && device->add.zone == number)
			sim_device_reset(device);
	}
	sim_wake_server(sim);
	while (!sim_zone_quiet(sim, number) && error == 0)
		error = -pthread_cond_timedwait(&sim->changed, &sim->lock, &end);
	if (error == 0)
		sim_event(sim, HVISOR_EVENT_ZONE_DOWN, number);
	pthread_mutex_unlock(&sim->lock);
	return error;
}

int sim_zone_start(struct sim *sim, uint32_t number)
{
	if (!sim_zone_memory(sim, number))
		return -ENOENT;
	pthread_mutex_lock(&sim->lock);
	__atomic_store_n(&sim->zone[number].running, true, __ATOMIC_RELEASE);
	sim_event(sim, HVISOR_EVENT_ZONE_UP, number);
	pthread_mutex_unlock(&sim->lock);
	return 0;
}
