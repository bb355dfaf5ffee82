/* SPDX-License-Identifier: MIT */
/* A real ext4 image through the guest's driver and hvisor-blk, compared with what the host's own tools say. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/sim/guest_fs.h"
#include "tests/sim/rig_backend.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

#define FS_IMAGE_SIZE (64u << 20)
#define FS_BIG 2000000u

#define CHECK_FS(call)                                                                                                 \
	do {                                                                                                           \
		errcode_t error_ = (call);                                                                             \
		if (error_)                                                                                            \
			TEST_FAIL("%s: %s", #call, guest_fs_error(error_));                                            \
	} while (0)

/* An image with files that are there in src/ too, and a guest with the disk open. */
struct fixture {
	struct sim sim;
	struct rig_backend backend;
	struct guest guest;
	struct guest_blk blk;
	struct guest_fs fs;
	uint8_t *big;
};

static void set_up(struct fixture *f, const char *mkfs_options, uint32_t block_size)
{
	memset(f, 0, sizeof(*f));
	scratch_enter();
	CHECK_INT(mkdir("src", 0755), 0);
	CHECK_INT(mkdir("src/etc", 0755), 0);
	f->big = scratch_random(FS_BIG);
	scratch_write("src/hello", "hello, guest\n", 13);
	scratch_write("src/etc/empty", "", 0);
	scratch_write("src/etc/big", f->big, FS_BIG);
	scratch_run("mkfs.ext4 -q -F %s -d src disk.img %uk", mkfs_options, FS_IMAGE_SIZE / 1024);

	CHECK_INT(sim_start(&f->sim, NULL), 0);
	CHECK_INT(rig_zone(&f->sim, 32), 0);
	CHECK_INT(rig_backend_blk(&f->backend, &f->sim, "disk.img", 0), 0);
	f->backend.config.blk.logical_block_size = block_size;
	CHECK_INT(rig_backend_start(&f->backend), 0);
	CHECK_INT(guest_init(&f->guest, &f->sim, RIG_ZONE), 0);
	CHECK_INT(guest_blk_open(&f->blk, &f->guest, RIG_BASE, RIG_IRQ, NULL), 0);
	CHECK_INT(f->blk.capacity, FS_IMAGE_SIZE / 512);
	CHECK_INT(f->blk.block_size, block_size);
	CHECK_FS(guest_fs_mount(&f->fs, &f->blk, 0, true));
}

static void tear_down(struct fixture *f)
{
	guest_blk_close(&f->blk);
	rig_backend_finish(&f->backend);
	guest_finish(&f->guest);
	sim_stop(&f->sim);
	free(f->big);
}

static void note_entry(const struct guest_fs_entry *entry, void *argument)
{
	char *list = argument;

	sprintf(list + strlen(list), "%s %o %llu\n", entry->name, entry->mode, (unsigned long long)entry->size);
}

static void check_read(struct fixture *f, const char *path, const void *want, size_t len)
{
	void *data;
	size_t got;

	CHECK_FS(guest_fs_read(&f->fs, path, &data, &got));
	CHECK_INT(got, len);
	CHECK_MEM(data, want, len);
	free(data);
}

static void round_trip(const char *mkfs_options, uint32_t block_size)
{
	uint8_t *more = scratch_random(FS_BIG);
	char list[4096] = "";
	struct fixture f;
	char path[64];
	uint32_t i;

	set_up(&f, mkfs_options, block_size);
	CHECK_FS(guest_fs_list(&f.fs, "/etc", note_entry, list));
	CHECK_HAS(list, "empty 100644 0\n");
	CHECK_HAS(list, "big 100644 2000000\n");
	check_read(&f, "/hello", "hello, guest\n", 13);
	check_read(&f, "/etc/empty", "", 0);
	check_read(&f, "/etc/big", f.big, FS_BIG);

	CHECK_FS(guest_fs_mkdir(&f.fs, "/new"));
	CHECK_FS(guest_fs_write(&f.fs, "/new/more", more, FS_BIG));
	CHECK_FS(guest_fs_write(&f.fs, "/etc/big", more, 1234567));
	CHECK_FS(guest_fs_write(&f.fs, "/hello", "bye\n", 4));
	for (i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "/new/a-file-with-a-long-name-to-fill-the-folder-%u", i);
		CHECK_FS(guest_fs_write(&f.fs, path, path, strlen(path)));
	}
	CHECK_FS(guest_fs_unmount(&f.fs));
	CHECK_INT(rig_backend_end(&f.backend, SIGTERM), 0);

	scratch_run("e2fsck -fn disk.img");
	scratch_run("mkdir out && debugfs -R 'rdump / out' disk.img");
	scratch_check("out/new/more", more, FS_BIG);
	scratch_check("out/etc/big", more, 1234567);
	scratch_check("out/hello", "bye\n", 4);
	scratch_check("out/etc/empty", "", 0);
	for (i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "out/new/a-file-with-a-long-name-to-fill-the-folder-%u", i);
		scratch_check(path, path + 3, strlen(path + 3));
	}
	tear_down(&f);
	free(more);
}

static void test_round_trip(void)
{
	round_trip("", 512);
}

static void test_round_trip_4k(void)
{
	round_trip("-b 4096", 4096);
}

/* Blocks of 1 KiB on a disk of 4 KiB blocks: each write is a part of one. */
static void test_round_trip_small_blocks(void)
{
	round_trip("-b 1024 -O ^extents,^64bit,^metadata_csum", 4096);
}

static void test_errors(void)
{
	struct fixture f;
	void *data;
	size_t len;

	set_up(&f, "", 512);
	CHECK_INT(guest_fs_read(&f.fs, "/nothing", &data, &len), EXT2_ET_FILE_NOT_FOUND);
	CHECK_INT(guest_fs_read(&f.fs, "/etc", &data, &len), EISDIR);
	CHECK_INT(guest_fs_list(&f.fs, "/hello", note_entry, NULL), EXT2_ET_NO_DIRECTORY);
	CHECK_INT(guest_fs_write(&f.fs, "/etc", "x", 1), EISDIR);
	CHECK_INT(guest_fs_write(&f.fs, "/nothing/x", "x", 1), EXT2_ET_FILE_NOT_FOUND);
	CHECK_INT(guest_fs_write(&f.fs, "/etc/", "x", 1), EISDIR);
	CHECK_FS(guest_fs_unmount(&f.fs));
	tear_down(&f);
}

/* The backend is killed in the middle, and the guest's file system sees nothing of it. */
static void test_backend_killed(void)
{
	struct fixture f;
	char path[32];
	uint32_t i;

	set_up(&f, "", 512);
	for (i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/file%u", i);
		CHECK_FS(guest_fs_write(&f.fs, path, f.big + i, 200000));
		CHECK(WIFSIGNALED(rig_backend_end(&f.backend, SIGKILL)));
		CHECK_INT(rig_backend_start(&f.backend), 0);
		check_read(&f, path, f.big + i, 200000);
	}
	CHECK_FS(guest_fs_unmount(&f.fs));
	scratch_run("e2fsck -fn disk.img");
	tear_down(&f);
}

static const struct test tests[] = {
	{"fs_round_trip", test_round_trip, 0},
	{"fs_round_trip_4k", test_round_trip_4k, 0},
	{"fs_round_trip_small_blocks", test_round_trip_small_blocks, 0},
	{"fs_errors", test_errors, 0},
	{"fs_backend_killed", test_backend_killed, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
