/* SPDX-License-Identifier: MIT */
/*
 * What calls have handed out: descriptors of attachments and views, and mappings of them. Each thread has its own.
 * Where there is a model it is told who holds what; without one others do things at the same time.
 */
#ifndef HVISOR_TESTS_IOCTLS_HOLD_H
#define HVISOR_TESTS_IOCTLS_HOLD_H

#include "tests/vm/root/ioctls.h"

extern uint64_t holds_mapped, holds_touched;

void holds_init(void);

/* Takes what HVISOR_DEVICE_ATTACH or HVISOR_DEVICE_VIEW gave: NULL, or what is wrong with it. */
const char *hold(struct model *model, unsigned long cmd, const union ioctl_argument *answer);

/* Does something with what is held: maps it, touches it, gives some of it back. */
void hold_do(struct model *model);

/* Gives all of it back. */
void holds_end(struct model *model);

#endif
