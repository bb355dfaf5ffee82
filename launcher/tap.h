/* SPDX-License-Identifier: MIT */
/*
 * The tap of a net device: made, set up and joined to a bridge as the configuration says, and taken back. One that the
 * launcher makes is persistent: it outlives backends and launchers, and its record in the run folder
 * (launcher/tap_record.h) says that it is ours to remove.
 */
#ifndef HVISOR_TAP_H
#define HVISOR_TAP_H

#include "launcher/config.h"
#include "launcher/errors.h"
#include "launcher/rundir.h"

/* Finds what tap_prepare() would complain of, as far as that is seen without changing anything. 0, or -1. */
int tap_check(const struct config_device *device, const struct rundir *run, struct errors *errors);

/*
 * Sees to it that the tap is there, of the right kind, up, in its bridge and of its MTU. 0, or -1 after errors_add();
 * what was done until then is remembered all the same.
 */
int tap_prepare(const struct config_device *device, const struct rundir *run, struct errors *errors);

/*
 * Attaches device->net.queues descriptors to the tap, one a queue, non-blocking and close-on-exec, owned by the caller.
 * 0, or -1 after errors_add(), with none attached.
 */
int tap_attach(const struct config_device *device, int *fd, struct errors *errors);

/*
 * Takes back every interface that the run folder remembers, except those of the n devices of keep, and those that are
 * in use: removes what was made, and gives back to the others what they were before, unless somebody else has changed
 * it since. What could not be done is a line in errors, and tried again the next time.
 */
void tap_release(const struct rundir *run, const struct config_device *const *keep, uint32_t n, struct errors *errors);

#endif
