/* SPDX-License-Identifier: MIT */
/*
 * Faults of the surroundings: of the image, of the run folder, of what the machine has to give, and a second launcher.
 * Each: what the guest sees, what the log says, how it heals. docs/FAULTS.md lists them, with those tested elsewhere.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/faulty.h"
#include "tests/sim/guest_load.h"
#include "tests/sim/rig_status.h"
#include "tests/test.h"

#define DISK_SIZE (1u << 20)
#define BLOCKS 64u

static char out[1 << 16];

struct fixture {
	struct rig rig;
	struct rig_disk disk;
	struct guest_blk blk;
	struct guest_load load;
};

/* One disk with these keys (of the image img, NULL: one of DISK_SIZE), which serves a verified load. */
static void begin(struct fixture *f, const char *img, const char *keys)
{
	memset(f, 0, sizeof(*f));
	rig_init(&f->rig, 16);
	f->disk = (struct rig_disk){.img = img, .size = DISK_SIZE, .keys = keys};
	rig_config_disks(&f->rig, &f->disk, 1, NULL);
	rig_serve(&f->rig, 1);
	CHECK_INT(guest_blk_open(&f->blk, &f->rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	CHECK_INT(guest_load_init(&f->load, &f->blk, 0, BLOCKS, 0, 1), 0);
	CHECK_INT(guest_load_run(&f->load, 50), 0);
}

static void check_load(struct fixture *f)
{
	CHECK_INT(guest_load_run(&f->load, 50), 0);
	CHECK_INT(guest_load_check(&f->load), 0);
	if (f->load.errors + f->load.wrong)
		TEST_FAIL("%s", f->load.what);
}

static void end(struct fixture *f)
{
	guest_load_finish(&f->load);
	guest_blk_close(&f->blk);
	rig_finish(&f->rig);
}

/* Another launcher would take the devices from this one, and this one from it: it is refused, whatever its run folder.
 */
static void test_two_launchers(void)
{
	struct fixture f;
	char other[300];
	char want[800];
	pid_t pid;

	begin(&f, NULL, NULL);
	pid = rig_pid(&f.rig, "blk0");
	snprintf(other, sizeof(other), "%s/run.2", f.rig.dir);
	RIG_REFUSED(&f.rig, out, "blk0: the launcher with pid ", "--run", other, "--hv", f.rig.hv, "--log-dir",
		    f.rig.log_dir, f.rig.config);
	snprintf(want, sizeof(want),
		 "pid %d serves it already, whose run folder is %s; stop it with hvisor-launch --run %s --stop",
		 f.rig.launcher, f.rig.run_dir, f.rig.run_dir);
	CHECK_HAS(out, want);
	check_load(&f);
	CHECK_INT(rig_pid(&f.rig, "blk0"), pid);
	CHECK_STR(rig_status_text(&f.rig, "blk0", "state"), "running");
	CHECK_INT(rig_status_number(&f.rig, "blk0", "restarts"), 0);
	/* One that is gone keeps nobody out. */
	CHECK(WIFSIGNALED(rig_end_launcher(&f.rig, SIGKILL)));
	snprintf(f.rig.run_dir, sizeof(f.rig.run_dir), "%s", other);
	rig_launch(&f.rig, NULL);
	rig_await_starts(&f.rig, "blk0", 2);
	rig_await_text(&f.rig, f.rig.errors, "replacing it");
	check_load(&f);
	end(&f);
}

static void mount_private(void)
{
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
}

/* What is served goes on being served, also by new backends; only a later launcher does not know the process. */
static void test_run_folder_read_only(void)
{
	struct fixture f;

	mount_private();
	memset(&f, 0, sizeof(f));
	rig_init(&f.rig, 16);
	scratch_run("mkdir -m 700 run && truncate -s 2M disk && mkfs.ext4 -q disk && mount -o loop disk run && chmod "
		    "700 run");
	f.disk = (struct rig_disk){.size = DISK_SIZE};
	rig_config_disks(&f.rig, &f.disk, 1, NULL);
	rig_serve(&f.rig, 1);
	CHECK_INT(guest_blk_open(&f.blk, &f.rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	CHECK_INT(guest_load_init(&f.load, &f.blk, 0, BLOCKS, 0, 1), 0);
	/* As after an error of its disk. */
	scratch_run("mount -o remount,abort run");
	rig_kill(&f.rig, "blk0");
	rig_await_starts(&f.rig, "blk0", 2);
	rig_await_text(&f.rig, f.rig.errors, "cannot write its state in ");
	rig_await_text(&f.rig, f.rig.errors, "(Read-only file system): a later launcher will not know this process");
	check_load(&f);
	RIG_ASK(&f.rig, out, "--restart", "blk0");
	check_load(&f);
	/* A launcher that is to begin with such a folder says so. */
	CHECK(WIFSIGNALED(rig_end_launcher(&f.rig, SIGKILL)));
	RIG_REFUSED(&f.rig, out, "Read-only file system", "--hv", f.rig.hv, "--log-dir", f.rig.log_dir, f.rig.config);
	CHECK_HAS(out, f.rig.run_dir);
	check_load(&f);
	CHECK_INT(umount2(f.rig.run_dir, MNT_DETACH), 0);
	rig_launch(&f.rig, NULL);
	rig_await_starts(&f.rig, "blk0", 4);
	check_load(&f);
	end(&f);
}

static rlim_t launcher_files(const struct rig *rig)
{
	char path[64];
	rlim_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", rig->launcher);
	dir = opendir(path);
	CHECK(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int has_served_well(void *arg)
{
	return rig_status_number(arg, "blk0", "uptime_s") >= 1;
}

/*
 * A backend that ends while the launcher has no descriptor left is started when there are some again. The tries get
 * rarer, however long the last backend had served.
 */
static void test_out_of_descriptors(void)
{
	struct rlimit old, none;
	struct fixture f;

	begin(&f, NULL, "\"restart_delay_ms\": 10, \"restart_delay_max_ms\": 200, \"restart_limit\": 0");
	CHECK(test_wait(has_served_well, &f.rig, 10000));
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_NOFILE, NULL, &old), 0);
	none = (struct rlimit){.rlim_cur = launcher_files(&f.rig), .rlim_max = old.rlim_max};
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_NOFILE, &none, NULL), 0);
	rig_kill(&f.rig, "blk0");
	rig_await_text(&f.rig, f.rig.errors, "Too many open files; the next try is in 200 ms");
	CHECK_INT(rig_pid(&f.rig, "blk0"), 0);
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_NOFILE, &old, NULL), 0);
	rig_await_starts(&f.rig, "blk0", 2);
	check_load(&f);
	CHECK_STR(rig_status_text(&f.rig, "blk0", "state"), "running");
	end(&f);
}

/* The launcher gets no more memory: it lives, its devices are served, and it does what it is asked once it has some. */
static void test_out_of_memory(void)
{
	struct rlimit old;
	struct rlimit none = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
	struct fixture f;
	int i;

	begin(&f, NULL, "\"restart_delay_ms\": 10, \"restart_delay_max_ms\": 200, \"restart_limit\": 0");
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_AS, NULL, &old), 0);
	none.rlim_max = old.rlim_max;
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_AS, &none, NULL), 0);
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_DATA, &none, NULL), 0);
	for (i = 0; i < 5; i++) {
		rig_kill(&f.rig, "blk0");
		/* What is not answered now is answered with an error, or not at all: all that counts is who lives. */
		rig_launcher(&f.rig, out, sizeof(out), "--status", "--json", NULL);
		rig_launcher(&f.rig, out, sizeof(out), "--log-level", "blk0=debug", NULL);
		CHECK_INT(waitpid(f.rig.launcher, NULL, WNOHANG), 0);
		rig_await_starts(&f.rig, "blk0", (uint32_t)i + 2);
	}
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_DATA, &old, NULL), 0);
	CHECK_INT(prlimit(f.rig.launcher, RLIMIT_AS, &old, NULL), 0);
	check_load(&f);
	RIG_ASK(&f.rig, out, "--restart", "blk0");
	CHECK_STR(rig_status_text(&f.rig, "blk0", "state"), "running");
	check_load(&f);
	end(&f);
}

/* A disk that has an error in its second half: the driver gets it, for these blocks alone, until the disk is well
 * again. */
static void image_errors(const char *keys)
{
	static const char text[] = "Input/output error";
	uint8_t data[4096] = {1};
	struct rig_disk disk;
	struct guest_blk blk;
	char device[32];
	struct rig rig;
	int loop;

	rig_init(&rig, 16);
	scratch_run("truncate -s %u backing", DISK_SIZE);
	loop = scratch_loop("backing", device, sizeof(device));
	disk = (struct rig_disk){.img = device, .keys = keys};
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	CHECK_INT(guest_blk_write(&blk, 0, 0, data, sizeof(data)), 0);
	scratch_run("truncate -s %u backing", DISK_SIZE / 2);
	CHECK_INT(guest_blk_read(&blk, 0, DISK_SIZE / 512 - 8, data, sizeof(data)), -EIO);
	rig_await_text(&rig, "blk0.log", text);
	CHECK_INT(guest_blk_read(&blk, 0, 0, data, sizeof(data)), 0);
	CHECK_INT(data[0], 1);
	CHECK(rig_status_number(&rig, "blk0", "errors") > 0);
	scratch_run("truncate -s %u backing", DISK_SIZE);
	CHECK_INT(guest_blk_read(&blk, 0, DISK_SIZE / 512 - 8, data, sizeof(data)), 0);
	CHECK_INT(guest_blk_write(&blk, 0, DISK_SIZE / 512 - 8, data, sizeof(data)), 0);
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	close(loop);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

static void test_image_errors_preadv(void)
{
	image_errors("\"engine\": \"preadv\"");
}

static void test_image_errors_io_uring(void)
{
	image_errors("\"engine\": \"io_uring\"");
}

/* Every third read or write does half of its first buffer only, then every third is interrupted: nobody notices. */
static void test_image_short_transfers(void)
{
	struct faulty faulty = {.shorten = true, .period = 3};
	struct fixture f;

	begin(&f, NULL, "\"engine\": \"preadv\"");
	faulty_begin(&faulty, rig_pid(&f.rig, "blk0"));
	CHECK_INT(guest_load_run(&f.load, 500), 0);
	CHECK_INT(guest_load_drain(&f.load), 0);
	CHECK(__atomic_load_n(&faulty.faults, __ATOMIC_RELAXED) > 20);
	__atomic_store_n(&faulty.faults, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faulty.error, EINTR, __ATOMIC_RELAXED);
	CHECK_INT(guest_load_run(&f.load, 500), 0);
	CHECK_INT(guest_load_drain(&f.load), 0);
	CHECK(__atomic_load_n(&faulty.faults, __ATOMIC_RELAXED) > 20);
	faulty_end(&faulty);
	check_load(&f);
	CHECK_INT(rig_status_number(&f.rig, "blk0", "errors"), 0);
	CHECK_INT(rig_starts(&f.rig, "blk0"), 1);
	end(&f);
}

/* Every request of the driver fails with an error of its own, and none after the disk is well again. */
static void check_error(struct fixture *f, struct faulty *faulty, int error)
{
	uint8_t data[4096] = {0};

	__atomic_store_n(&faulty->error, error, __ATOMIC_RELAXED);
	__atomic_store_n(&faulty->period, 1, __ATOMIC_RELAXED);
	CHECK_INT(guest_blk_read(&f->blk, 0, 1024, data, sizeof(data)), -EIO);
	CHECK_INT(guest_blk_write(&f->blk, 0, 1024, data, sizeof(data)), -EIO);
	CHECK_INT(guest_blk_flush(&f->blk, 0), -EIO);
	/* Of many lines about one image, one in a while is logged. */
	if (error == EIO)
		rig_await_text(&f->rig, "blk0.log",
			       "error reading 4096 bytes at sector 1024 of the image: Input/output error");
	__atomic_store_n(&faulty->period, UINT32_MAX, __ATOMIC_RELAXED);
	CHECK_INT(guest_blk_write(&f->blk, 0, 1024, data, sizeof(data)), 0);
	CHECK_INT(guest_blk_flush(&f->blk, 0), 0);
}

static void test_image_call_errors(void)
{
	struct faulty faulty = {.period = UINT32_MAX};
	struct fixture f;

	begin(&f, NULL, "\"engine\": \"preadv\"");
	CHECK_INT(guest_load_drain(&f.load), 0);
	faulty_begin(&faulty, rig_pid(&f.rig, "blk0"));
	check_error(&f, &faulty, EIO);
	check_error(&f, &faulty, ENOSPC);
	check_error(&f, &faulty, ENOMEM);
	CHECK_INT(faulty.faults, 9);
	faulty_end(&faulty);
	check_load(&f);
	CHECK_INT(rig_starts(&f.rig, "blk0"), 1);
	end(&f);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"faults_two_launchers", test_two_launchers, 60},
		{"faults_run_folder_read_only", test_run_folder_read_only, 60},
		{"faults_out_of_descriptors", test_out_of_descriptors, 60},
		{"faults_out_of_memory", test_out_of_memory, 120},
		{"faults_image_errors_preadv", test_image_errors_preadv, 60},
		{"faults_image_errors_io_uring", test_image_errors_io_uring, 60},
		{"faults_image_short_transfers", test_image_short_transfers, 60},
		{"faults_image_call_errors", test_image_call_errors, 60},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
