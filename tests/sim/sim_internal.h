/* SPDX-License-Identifier: MIT */
/* What the files of the simulator share among themselves. "Any context": no lock but sim_device.lock must be free. */
#ifndef HVISOR_SIM_INTERNAL_H
#define HVISOR_SIM_INTERNAL_H

#include "tests/sim/sim.h"

uint64_t sim_now_ns(void);

/* sim.c: with sim->lock held, unless said otherwise. */
int sim_watch(struct sim *sim, struct sim_source *source, uint32_t events);
void sim_unwatch(struct sim *sim, struct sim_source *source); /* and closes it */
void sim_wake_server(struct sim *sim); /* any context */
void sim_event(struct sim *sim, uint32_t type, uint32_t id);
int sim_memfd(const char *name, uint64_t size); /* of a fixed size, zero: descriptor or -errno; any context */
/*
 * Maps size bytes (whole pages) of fd, or new ones (-1), with guards around them: NULL, or where the first guard
 * begins.
 */
uint8_t *sim_map_guarded(int fd, uint32_t size);
void sim_unmap_guarded(uint8_t *guarded, uint32_t size);
int sim_zone_set(struct sim *sim, const struct hvisor_zone_set *set);
void sim_zone_offsets(const struct sim_zone *zone, __u64 *offset); /* of the declared memory in memory_fd */

/* sim_socket.c: with sim->lock held. */
int sim_listen(struct sim *sim, const char *path);
void sim_accept(struct sim *sim);
void sim_connection_serve(struct sim *sim, struct sim_connection *connection);
void sim_connection_close(struct sim *sim, struct sim_connection *connection);

/* sim_calls.c */
struct sim_call_shape {
	uint32_t size; /* bytes of the argument */
	uint32_t nin; /* descriptors that the caller gives, and where they are in the argument */
	uint32_t in[2];
	uint32_t nout; /* descriptors that the caller gets */
	uint32_t out[3];
};

const struct sim_call_shape *sim_call_shape(uint32_t cmd); /* NULL: no such call */
int sim_call_locked(struct sim *sim, uint32_t cmd, void *argument); /* sim_call() with sim->lock held */

/* sim_device.c: with sim->lock held, unless said otherwise. */
int sim_device_add(struct sim *sim, struct hvisor_device_add *add);
int sim_device_delete(struct sim_device *device);
void sim_device_free(struct sim_device *device);
struct sim_device *sim_device_find(struct sim *sim, uint32_t id); /* NULL */
struct sim_device *sim_device_from(struct sim *sim, uint32_t id); /* lowest id that is at least id; NULL */
bool sim_device_quiet(struct sim_device *device);
void sim_device_settle(struct sim_device *device); /* answers what need not be held back any more */
void sim_device_reset(struct sim_device *device); /* as its zone goes down */
uint64_t sim_device_deadline(const struct sim_device *device); /* ns; 0: none */
void sim_device_hold(struct sim_device *device); /* the deadline begins, if quiescence is owed; any context */
void sim_device_kick(struct sim_device *device); /* any context with sim->lock or sim->drain_lock */
void sim_device_interrupt(struct sim_device *device); /* any context */

/* sim_attach.c: with sim->lock held. */
int sim_device_attach(struct sim_device *device, struct hvisor_device_attach *attach);
int sim_device_own(struct sim_device *device, int32_t pid);
int32_t sim_device_owner_pid(const struct sim_device *device);
bool sim_device_attached(struct sim_device *device); /* notices when the attachment has just gone */
void sim_device_detach(struct sim_device *device);
void sim_device_called(struct sim_device *device); /* its call eventfd may be readable */
void sim_device_cut_off(struct sim_device *device);
int sim_eventfd_dup(int fd); /* -EBADF, or -EINVAL for what is no eventfd; writing to it never blocks */

/* sim_cpu.c: any context. */
void sim_drain_lock(struct sim *sim);
void sim_drain_unlock(struct sim *sim); /* and handles what came meanwhile */
void sim_inject(struct sim *sim, uint32_t zone, uint32_t irq);

#endif
