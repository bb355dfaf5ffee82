/* SPDX-License-Identifier: MIT */
/* The whole system, as a user runs it: hvisor-launch, a confined hvisor-blk, a guest with an ext4 file system. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/guest_fs.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define CHECK_FS(call)                                                                                                 \
	do {                                                                                                           \
		errcode_t error_ = (call);                                                                             \
		if (error_)                                                                                            \
			TEST_FAIL("%s: %s", #call, guest_fs_error(error_));                                            \
	} while (0)

#define FILE_SIZE 300003u

static void check_file(struct guest_fs *fs, const char *path, const void *want, size_t len)
{
	void *data;
	size_t got;

	CHECK_FS(guest_fs_read(fs, path, &data, &got));
	CHECK_INT(got, len);
	CHECK_MEM(data, want, len);
	free(data);
}

/* Read what the host put there; write, with the backend killed and restarted in between; let the host look. */
static void test_ext4(void)
{
	struct rig_disk disk = {.size = 32 << 20};
	char out[8192];
	struct guest_blk blk;
	struct guest_fs fs;
	struct rig rig;
	uint8_t *bytes;

	rig_init(&rig, 32);
	bytes = scratch_random(FILE_SIZE);
	CHECK_INT(mkdir("src", 0755), 0);
	scratch_write("src/file", bytes, FILE_SIZE);
	scratch_run("mkfs.ext4 -q -F -b 4096 -d src disk0.img 32M");
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);

	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	CHECK_FS(guest_fs_mount(&fs, &blk, 0, true));
	check_file(&fs, "/file", bytes, FILE_SIZE);
	CHECK_FS(guest_fs_write(&fs, "/first", bytes + 1, FILE_SIZE - 1));
	rig_kill(&rig, "blk0");
	check_file(&fs, "/first", bytes + 1, FILE_SIZE - 1);
	CHECK_INT(rig_starts(&rig, "blk0"), 2);
	CHECK_FS(guest_fs_write(&fs, "/second", bytes + 2, FILE_SIZE - 2));
	if (rig_launcher(&rig, out, sizeof(out), "--restart", "blk0", NULL) != 0)
		TEST_FAIL("--restart: %s", out);
	CHECK_INT(rig_starts(&rig, "blk0"), 3);
	check_file(&fs, "/second", bytes + 2, FILE_SIZE - 2);
	CHECK_FS(guest_fs_unmount(&fs));
	guest_blk_close(&blk);

	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--status", "--json", NULL), 0);
	CHECK_HAS(out, "\"blk0\"");
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	rig_finish(&rig);
	scratch_run("e2fsck -fn disk0.img");
	scratch_run("debugfs -R 'dump /first first' disk0.img && debugfs -R 'dump /second second' disk0.img");
	scratch_check("first", bytes + 1, FILE_SIZE - 1);
	scratch_check("second", bytes + 2, FILE_SIZE - 2);
	free(bytes);
}

/* The launcher is not in the data path: killed, its backends serve on; started again, it adopts them. */
static void test_launcher_killed(void)
{
	const struct rig_disk disk[2] = {{.size = 1 << 20}, {.size = 2 << 20, .keys = "\"readonly\": true"}};
	struct guest_blk blk[2];
	uint8_t bytes[4096] = "written without a launcher";
	uint8_t got[4096];
	char out[8192];
	struct rig rig;
	pid_t pid[2];
	uint32_t i;

	rig_init(&rig, 32);
	rig_config_disks(&rig, disk, 2, NULL);
	rig_serve(&rig, 2);
	for (i = 0; i < 2; i++)
		CHECK_INT(guest_blk_open(&blk[i], &rig.guest, rig_base(i), rig_irq(i), NULL), 0);
	CHECK_INT(blk[0].capacity, 2048);
	CHECK_INT(blk[1].capacity, 4096);
	CHECK(blk[1].readonly);
	pid[0] = rig_pid(&rig, "blk0");
	pid[1] = rig_pid(&rig, "blk1");
	CHECK(WIFSIGNALED(rig_end_launcher(&rig, SIGKILL)));
	CHECK_INT(guest_blk_write(&blk[0], 0, 0, bytes, sizeof(bytes)), 0);
	CHECK_INT(guest_blk_read(&blk[1], 0, 0, got, sizeof(got)), 0);

	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	if (rig_launcher(&rig, out, sizeof(out), "--restart", "blk1", NULL) != 0)
		TEST_FAIL("--restart: %s", out);
	CHECK_INT(rig_pid(&rig, "blk0"), pid[0]);
	CHECK(rig_pid(&rig, "blk1") != pid[1]);
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	CHECK_INT(rig_starts(&rig, "blk1"), 2);
	CHECK_INT(guest_blk_read(&blk[0], 0, 0, got, sizeof(got)), 0);
	CHECK_MEM(got, bytes, sizeof(got));
	for (i = 0; i < 2; i++)
		guest_blk_close(&blk[i]);
	rig_finish(&rig);
}

/* What a wrong test looks like: a test must not pass when nothing is served. */
static void test_wrong_config(void)
{
	const struct rig_disk disk = {.img = "/nonexistent.img"};
	char text[4096] = "";
	struct rig rig;
	FILE *file;

	rig_init(&rig, 4);
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_launch(&rig, NULL);
	rig_await_text(&rig, rig.errors, "zones[0].devices[0].img");
	CHECK_INT(WEXITSTATUS(rig_end_launcher(&rig, 0)), 2);
	file = fopen(rig.errors, "re");
	CHECK(file);
	CHECK(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	CHECK_HAS(text, "/nonexistent.img");
	CHECK_INT(rig_starts(&rig, "blk0"), 0);
	rig_finish(&rig);
}

static const struct test tests[] = {
	{"rig_ext4", test_ext4, 0},
	{"rig_launcher_killed", test_launcher_killed, 0},
	{"rig_wrong_config", test_wrong_config, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
