/* SPDX-License-Identifier: MIT */
/* What hvisor-launch --status says of the devices of a rig. */
#ifndef HVISOR_RIG_STATUS_H
#define HVISOR_RIG_STATUS_H

#include <cjson/cJSON.h>

#include "tests/sim/rig.h"

/* --status --json; to be deleted. */
cJSON *rig_status(struct rig *rig);

/* The device in it, which has to be there. */
const cJSON *rig_status_device(const cJSON *reply, const char *name);

/* A number of the device. */
long long rig_status_number(struct rig *rig, const char *name, const char *key);

/* A copy of a text of the device that lasts until the next call; "" for null. */
const char *rig_status_text(struct rig *rig, const char *name, const char *key);

/* Waits until the device is in this state, at most 20 s. */
void rig_await_state(struct rig *rig, const char *name, const char *state);

#endif
