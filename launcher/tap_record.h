/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of a network interface in the run folder, so that whatever launcher ends later can take back what
 * was made, and leave what was there as it was. Written before anything is changed.
 */
#ifndef HVISOR_TAP_RECORD_H
#define HVISOR_TAP_RECORD_H

#include "launcher/link.h"
#include "launcher/rundir.h"

struct tap_record {
	/* Which interface it is: the name may be another one's later. */
	int index;
	uint64_t netns; /* inode of the network namespace */
	char boot[RUNDIR_BOOT_MAX];
	bool made; /* by hvisor-launch */
	/* As it was before. */
	bool was_up;
	uint32_t was_mtu;
	int was_master;
	bool was_vnet_hdr;
	bool was_packet_info;
	/* What it was given; 0: nothing. */
	uint32_t set_mtu;
	int set_master;
};

/* The record of an interface as it is now, which nothing was done to. 0 or -errno. */
int tap_record_init(struct tap_record *record, const struct link *link, bool made);

/* Writes it, all or nothing. 0 or -errno. */
int tap_record_save(const struct rundir *run, const char *name, const struct tap_record *record);

/* False if there is none that makes sense, or if it is of another interface than link; index 0 is no interface. */
bool tap_record_load(const struct rundir *run, const char *name, const struct link *link, struct tap_record *record);
void tap_record_forget(const struct rundir *run, const char *name);

/* Calls each(name, arg) for the name of every interface that has a record. */
void tap_record_each(const struct rundir *run, void (*each)(const char *name, void *arg), void *arg);

#endif
