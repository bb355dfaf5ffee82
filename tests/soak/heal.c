/* SPDX-License-Identifier: MIT */
/* Whether the system goes on after a fault: pieces that were given afterwards come through. */
#include <poll.h>
#include <stdio.h>

#include "common/core_os.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define HEAL_MS 60000
#define NOT_WAITED_FOR UINT64_MAX

static void mark_none(struct soak_pending *pending)
{
	uint32_t i, k;

	for (i = 0; i < SOAK_DEVICES_MAX; i++) {
		for (k = 0; k < SOAK_FLOWS; k++)
			pending->mark[i][k] = NOT_WAITED_FOR;
	}
}

/* A piece is counted as given a moment after it was. */
static void mark_device(struct soak_pending *pending, const struct soak_device *device)
{
	uint32_t k;

	for (k = 0; k < device->load->flows; k++)
		pending->mark[device->index][k] = core_load_acquire(device->flow[k].given) + 1;
}

static bool device_waited_for(const struct soak_pending *pending, const struct soak_device *device)
{
	uint32_t k;

	for (k = 0; k < SOAK_FLOWS; k++) {
		if (pending->mark[device->index][k] != NOT_WAITED_FOR)
			return true;
	}
	return false;
}

/* True: all of it has healed. */
static bool pending_look(struct soak *soak, struct soak_pending *pending, uint64_t now)
{
	struct soak_device *device;
	bool all = true;
	uint64_t *mark;
	uint32_t k;

	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (!device_waited_for(pending, device))
			continue;
		for (k = 0; k < device->load->flows; k++) {
			mark = &pending->mark[device->index][k];
			if (*mark != NOT_WAITED_FOR && core_load_acquire(device->flow[k].taken) > *mark)
				*mark = NOT_WAITED_FOR;
		}
		if (device_waited_for(pending, device))
			all = false;
		else if (pending->fault && now - pending->begin_ns > device->longest_ns)
			device->longest_ns = now - pending->begin_ns;
	}
	return all;
}

static void heal_fail(struct soak *soak, const struct soak_pending *pending, const char *what)
{
	static const char *const way[SOAK_FLOWS] = {"what the guest gives it", "what is for the guest"};
	const struct soak_device *device = soak->device;
	uint32_t k = 0;

	while (!device_waited_for(pending, device))
		device++;
	while (pending->mark[device->index][k] == NOT_WAITED_FOR)
		k++;
	TEST_FAIL("%s: %d s after \"%s\" %s stands still at %llu of %llu, and %llu were given before", device->name,
		  HEAL_MS / 1000, what, way[k], (unsigned long long)*device->flow[k].taken,
		  (unsigned long long)*device->flow[k].given, (unsigned long long)pending->mark[device->index][k]);
}

static void heal_look(struct soak *soak)
{
	uint64_t now = test_now_ns();
	uint32_t n = 0;
	uint32_t i;

	for (i = 0; i < soak->npending; i++) {
		struct soak_pending *pending = &soak->pending[i];
		struct soak_fault *fault = pending->fault;
		uint64_t took = now - pending->begin_ns;

		if (!pending_look(soak, pending, now)) {
			if (took > HEAL_MS * 1000000ull)
				heal_fail(soak, pending, fault->name);
			soak->pending[n++] = *pending;
			continue;
		}
		fault->survived++;
		fault->sum_ns += took;
		if (took > fault->longest_ns)
			fault->longest_ns = took;
	}
	core_store_release(&soak->npending, n);
}

static void *heal_watch(void *arg)
{
	struct soak *soak = arg;

	while (core_load(&soak->watched)) {
		pthread_mutex_lock(&soak->lock);
		heal_look(soak);
		pthread_mutex_unlock(&soak->lock);
		poll(NULL, 0, 1);
	}
	return NULL;
}

void soak_heal_start(struct soak *soak)
{
	soak->watched = true;
	pthread_mutex_init(&soak->lock, NULL);
	CHECK_INT(pthread_create(&soak->watcher, NULL, heal_watch, soak), 0);
}

void soak_heal_stop(struct soak *soak)
{
	core_store(&soak->watched, false);
	CHECK_INT(pthread_join(soak->watcher, NULL), 0);
	pthread_mutex_destroy(&soak->lock);
}

void soak_heal_begin(struct soak *soak)
{
	struct soak_device *device;

	soak->burst[0] = '\0';
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		device->ends = 0;
		device->starts = rig_starts(&soak->rig, device->name);
	}
}

void soak_heal_add(struct soak *soak, struct soak_fault *fault, uint64_t begin_ns, const struct soak_device *of)
{
	const struct soak_device *device;
	struct soak_pending *pending;

	pthread_mutex_lock(&soak->lock);
	CHECK(soak->npending < SOAK_PENDING_MAX);
	pending = &soak->pending[soak->npending++];
	*pending = (struct soak_pending){.fault = fault, .begin_ns = begin_ns};
	mark_none(pending);
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device == of || fault->scope == SOAK_ALL || (fault->scope == SOAK_ZONE && device->zone == of->zone))
			mark_device(pending, device);
	}
	pthread_mutex_unlock(&soak->lock);
}

bool soak_heal_pending(struct soak *soak, const struct soak_device *device)
{
	bool found = false;
	uint32_t i;

	pthread_mutex_lock(&soak->lock);
	for (i = 0; i < soak->npending && !found; i++)
		found = device_waited_for(&soak->pending[i], device);
	pthread_mutex_unlock(&soak->lock);
	return found;
}

void soak_heal_await_others(struct soak *soak, int zone, const char *what)
{
	struct soak_pending pending = {0};
	const struct soak_device *device;

	mark_none(&pending);
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if ((int)device->zone != zone && !soak_heal_pending(soak, device))
			mark_device(&pending, device);
	}
	pending.begin_ns = test_now_ns();
	while (!pending_look(soak, &pending, test_now_ns())) {
		if (test_now_ns() - pending.begin_ns > HEAL_MS * 1000000ull)
			heal_fail(soak, &pending, what);
		poll(NULL, 0, 1);
	}
}

void soak_heal_await(struct soak *soak)
{
	const struct soak_device *device;

	while (core_load_acquire(&soak->npending) > 0)
		poll(NULL, 0, 1);
	soak_heal_await_others(soak, -1, "all of this");
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->ends == 0 && rig_starts(&soak->rig, device->name) != device->starts)
			TEST_FAIL("%s: its backend was started anew though nothing was done to it", device->name);
	}
}
