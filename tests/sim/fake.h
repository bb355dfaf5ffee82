/* SPDX-License-Identifier: MIT */
/*
 * A backend that does as the test of the simulator tells it, in a process of its own: a disk in memory, which may
 * refuse to become quiet.
 */
#ifndef HVISOR_FAKE_H
#define HVISOR_FAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/sim/sim.h"

#define FAKE_SECTORS 2048u
#define FAKE_QUEUES 4u
#define FAKE_BASE 0xa003c00u
#define FAKE_IRQ 78u
#define FAKE_ZONE 1u
#define FAKE_RAM 0x50000000u

/* What the test changes while the process runs. */
struct fake_control {
	uint32_t stubborn; /* 1: does not acknowledge quiescence */
	uint32_t turns; /* grows */
	uint8_t disk[FAKE_SECTORS * 512];
};

struct fake {
	struct sim *sim;
	uint32_t id;
	pid_t pid;
	int pid_fd;
	int kick_fd;
	int call_fd;
	struct hvisor_device_attach attach; /* as it was got; its descriptors are the process's alone */
	struct fake_control *control; /* shared with the process; outlives it */
};

/* The device that fake_start() serves, in zone FAKE_ZONE at FAKE_BASE. */
struct hvisor_device_add fake_device(void);

/* Puts zone FAKE_ZONE with mebibytes of memory at FAKE_RAM on the board, declares it and adds the device. */
void fake_board(struct fake *fake, struct sim *sim, uint32_t mebibytes);

/* Attaches and starts the process, named as the owner; ends the test when that fails. */
void fake_start(struct fake *fake);

/* SIGKILL, waited for. */
void fake_kill(struct fake *fake);

#endif
