/* SPDX-License-Identifier: MIT */
/* A file system that is soon full. */
#ifndef HVISOR_SMALL_DISK_H
#define HVISOR_SMALL_DISK_H

/*
 * Mounts 64 KiB on folder, which is there, for this process and its children alone; an ordinary user gets a user
 * namespace for it. Only while the process has no other thread. Failures end the test.
 */
void small_disk_mount(const char *folder);

#endif
