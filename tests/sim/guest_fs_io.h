/* SPDX-License-Identifier: MIT */
/* What guest_fs.c needs of guest_fs_io.c. */
#ifndef HVISOR_GUEST_FS_IO_H
#define HVISOR_GUEST_FS_IO_H

#include "tests/sim/guest_fs.h"

#define GUEST_FS_IO_NAME 48

extern const io_manager guest_fs_io_manager;

/* The name under which ext2fs_open() finds fs with that manager. */
void guest_fs_io_name(const struct guest_fs *fs, char name[GUEST_FS_IO_NAME]);

#endif
