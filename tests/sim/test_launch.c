/* SPDX-License-Identifier: MIT */
/* hvisor-launch at work: what it says, how it watches over its backends, and what happens when it is killed itself. */
#include <cjson/cJSON.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/vmmio.h"
#include "tests/sim/rig.h"
#include "tests/sim/rig_status.h"
#include "tests/small_disk.h"
#include "tests/test.h"

#define OUT_MAX (1u << 20)

static char out[OUT_MAX];

static void open_disk(struct rig *rig, struct guest_blk *blk, uint32_t index)
{
	CHECK_INT(guest_blk_open(blk, &rig->guest, rig_base(index), rig_irq(index), NULL), 0);
}

static void check_served(struct guest_blk *blk)
{
	uint8_t bytes[4096];

	CHECK_INT(guest_blk_read(blk, 0, 0, bytes, sizeof(bytes)), 0);
}

/* n disks of 1 MiB with these keys, served. */
static void serve(struct rig *rig, uint32_t n, const char *keys)
{
	struct rig_disk disk[2] = {{.size = 1 << 20, .keys = keys}, {.size = 1 << 20}};

	CHECK(n <= 2);
	rig_init(rig, 16);
	rig_config_disks(rig, disk, n, NULL);
	rig_serve(rig, n);
}

/* What a made-up backend does. */
enum program {
	PROGRAM_EXITS_2,
	PROGRAM_WAITS,
};

/* A statically linked program of a few instructions: an ELF file with one segment. */
static void make_program(const char *path, enum program program)
{
#if defined(__x86_64__)
	static const uint8_t exits[] = {0xbf, 2, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}; /* exit_group(2) */
	static const uint8_t waits[] = {0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}; /* pause(), again */
	const uint16_t machine = EM_X86_64;
#elif defined(__aarch64__)
	static const uint32_t exits[] = {0xd2800040, 0xd2800bc8, 0xd4000001}; /* exit_group(2) */
	static const uint32_t waits[] = {0xd503205f, 0x17ffffff}; /* wfe, again */
	const uint16_t machine = EM_AARCH64;
#else
#error "no made-up program for this architecture"
#endif
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr segment;
		uint8_t code[64];
	} file = {
		.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			 .e_type = ET_EXEC,
			 .e_machine = machine,
			 .e_version = EV_CURRENT,
			 .e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
			 .e_phoff = sizeof(Elf64_Ehdr),
			 .e_ehsize = sizeof(Elf64_Ehdr),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 1},
		.segment = {.p_type = PT_LOAD,
			    .p_flags = PF_R | PF_X,
			    .p_vaddr = 0x400000,
			    .p_filesz = sizeof(file),
			    .p_memsz = sizeof(file),
			    .p_align = 0x10000},
	};

	if (program == PROGRAM_EXITS_2)
		memcpy(file.code, exits, sizeof(exits));
	else
		memcpy(file.code, waits, sizeof(waits));
	CHECK_INT(mkdir("bin", 0755), 0);
	scratch_write(path, &file, sizeof(file));
	CHECK_INT(chmod(path, 0755), 0);
}

static void test_status(void)
{
	const cJSON *launcher;
	struct guest_blk blk;
	struct rig rig;
	cJSON *reply;

	serve(&rig, 2, NULL);
	open_disk(&rig, &blk, 0);
	check_served(&blk);
	reply = rig_status(&rig);
	CHECK(cJSON_IsTrue(cJSON_GetObjectItem(reply, "ok")));
	launcher = cJSON_GetObjectItem(reply, "launcher");
	CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItem(launcher, "pid")), rig.launcher);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(launcher, "hv")), rig.hv);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(launcher, "config")), rig.config);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(launcher, "seccomp")), "enforce");
	CHECK(cJSON_IsNull(cJSON_GetObjectItem(launcher, "log")));
	CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(reply, "devices")), 2);
	cJSON_Delete(reply);
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
	CHECK_STR(rig_status_text(&rig, "blk0", "type"), "blk");
	CHECK_STR(rig_status_text(&rig, "blk0", "log_level"), "info");
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "");
	CHECK_INT(rig_status_number(&rig, "blk0", "pid"), rig_pid(&rig, "blk0"));
	CHECK_INT(rig_status_number(&rig, "blk0", "zone"), RIG_ZONE);
	CHECK_INT(rig_status_number(&rig, "blk0", "requests"), 1);
	CHECK_INT(rig_status_number(&rig, "blk0", "bytes_read"), 4096);
	CHECK_INT(rig_status_number(&rig, "blk0", "status"), 15);
	CHECK_INT(rig_status_number(&rig, "blk1", "requests"), 0);
	CHECK_INT(rig_status_number(&rig, "blk1", "status"), 0);
	CHECK(rig_status_number(&rig, "blk0", "accesses") > 10);
	RIG_ASK(&rig, out, "--status", "blk1");
	CHECK_HAS(out, "blk1");
	CHECK(!strstr(out, "blk0"));
	RIG_REFUSED(&rig, out, "blk0", "--status", "blk7");
	guest_blk_close(&blk);
	rig_finish(&rig);
}

static void test_stop_and_start(void)
{
	struct guest_blk_request *request;
	struct guest_blk blk[2];
	struct rig rig;

	serve(&rig, 2, NULL);
	open_disk(&rig, &blk[0], 0);
	open_disk(&rig, &blk[1], 1);
	RIG_ASK(&rig, out, "--stop", "blk0");
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "stopped");
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "exit code 0");
	CHECK_INT(rig_status_number(&rig, "blk0", "pid"), 0);
	/* What the guest asks now waits; the other disk and every register answer. */
	request = guest_blk_get(&blk[0], 0);
	request->type = VIRTIO_BLK_T_IN;
	request->sector = 0;
	request->len = 512;
	CHECK_INT(guest_blk_submit(&blk[0], request), 0);
	guest_blk_kick(&blk[0], 0);
	check_served(&blk[1]);
	CHECK_INT(guest_dev_read(&blk[0].dev, 0, VMMIO_STATUS), 15);
	CHECK(!guest_blk_reap(&blk[0], 0));
	/* Stopping what is stopped is no error, and restarting all leaves it alone. */
	RIG_ASK(&rig, out, "--stop", "blk0");
	RIG_ASK(&rig, out, "--restart", "all");
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "stopped");
	CHECK_INT(rig_starts(&rig, "blk1"), 2);
	RIG_ASK(&rig, out, "--start", "blk0");
	CHECK(guest_blk_wait(&blk[0], 0, 10000) == request);
	CHECK_INT(request->error, 0);
	guest_blk_put(&blk[0], request);
	RIG_ASK(&rig, out, "--start", "blk0");
	CHECK_INT(rig_starts(&rig, "blk0"), 2);
	guest_blk_close(&blk[0]);
	guest_blk_close(&blk[1]);
	rig_finish(&rig);
}

struct load {
	struct guest_blk *blk;
	bool stop; /* atomic */
	uint64_t done;
	uint64_t errors;
};

/* Keeps 16 reads in flight. */
static void *run_load(void *arg)
{
	struct load *load = arg;
	struct guest_blk_request *request;
	uint32_t in_flight = 0;

	while (!__atomic_load_n(&load->stop, __ATOMIC_RELAXED) || in_flight) {
		while (in_flight < 16 && !__atomic_load_n(&load->stop, __ATOMIC_RELAXED)) {
			request = guest_blk_get(load->blk, 0);
			request->type = VIRTIO_BLK_T_IN;
			request->sector = load->done % 2000;
			request->len = 4096;
			CHECK_INT(guest_blk_submit(load->blk, request), 0);
			in_flight++;
		}
		guest_blk_kick(load->blk, 0);
		request = guest_blk_wait(load->blk, 0, 30000);
		CHECK(request);
		load->errors += request->error != 0;
		load->done++;
		in_flight--;
		guest_blk_put(load->blk, request);
	}
	return NULL;
}

static void test_restart_under_load(void)
{
	struct guest_blk blk;
	struct load load = {.blk = &blk};
	pthread_t thread;
	struct rig rig;
	int i;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	CHECK_INT(pthread_create(&thread, NULL, run_load, &load), 0);
	for (i = 0; i < 10; i++)
		RIG_ASK(&rig, out, "--restart", i % 2 ? "all" : "blk0");
	CHECK_INT(rig_starts(&rig, "blk0"), 11);
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	CHECK_INT(pthread_join(thread, NULL), 0);
	CHECK_INT(load.errors, 0);
	CHECK(load.done > 16);
	/* Somebody asked for them: no backend ended by itself. */
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 0);
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "exit code 0");
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* Each end in a row makes the delay twice as long, and one too many makes the device fail, which its guest sees. */
static void test_limit(void)
{
	struct guest_blk blk;
	struct rig rig;
	uint32_t i;

	serve(&rig, 1, "\"restart_limit\": 5, \"restart_delay_ms\": 40, \"restart_delay_max_ms\": 100");
	open_disk(&rig, &blk, 0);
	for (i = 1; i <= 5; i++) {
		rig_await_starts(&rig, "blk0", i);
		CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), i - 1);
		rig_kill(&rig, "blk0");
	}
	rig_await_state(&rig, "blk0", "failed");
	rig_await_text(&rig, rig.errors, "ended: signal 9 (Killed); starting the next one");
	rig_await_text(&rig, rig.errors, "ended: signal 9 (Killed); the next try is in 40 ms");
	rig_await_text(&rig, rig.errors, "ended: signal 9 (Killed); the next try is in 80 ms");
	rig_await_text(&rig, rig.errors, "ended: signal 9 (Killed); the next try is in 100 ms");
	rig_await_text(&rig, rig.errors, "blk0: 5 ends within 60 s");
	CHECK_HAS(rig_status_text(&rig, "blk0", "failed_reason"), "signal 9 (Killed)");
	CHECK_INT(rig_starts(&rig, "blk0"), 5);
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	CHECK(guest_dev_read(&blk.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
	/* It stays so until somebody starts it; then the driver finds a device that works. */
	RIG_ASK(&rig, out, "--start", "blk0");
	CHECK_STR(rig_status_text(&rig, "blk0", "failed_reason"), "");
	guest_blk_close(&blk);
	open_disk(&rig, &blk, 0);
	check_served(&blk);
	CHECK(!(guest_dev_read(&blk.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET));
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* A backend that ran for the window starts a new row. */
static void test_window(void)
{
	struct rig rig;
	int i;

	serve(&rig, 1, "\"restart_limit\": 2, \"restart_window_s\": 1");
	for (i = 1; i <= 3; i++) {
		rig_await_starts(&rig, "blk0", (uint32_t)i);
		while (rig_status_number(&rig, "blk0", "uptime_s") < 2)
			poll(NULL, 0, 50);
		rig_kill(&rig, "blk0");
	}
	rig_await_starts(&rig, "blk0", 4);
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 3);
	rig_kill(&rig, "blk0");
	rig_await_state(&rig, "blk0", "failed");
	rig_finish(&rig);
}

/* What another start would not mend is not tried again. */
static void test_hopeless(void)
{
	struct rig rig;

	serve(&rig, 1, NULL);
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	make_program("bin/hvisor-blk", PROGRAM_EXITS_2);
	rig_launch(&rig, "--program-dir", "bin", NULL);
	rig_await_launcher(&rig);
	rig_await_state(&rig, "blk0", "failed");
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "exit code 2");
	CHECK_HAS(rig_status_text(&rig, "blk0", "failed_reason"), "exit code 2");
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 0);
	RIG_REFUSED(&rig, out, "blk0 is failed: process ", "--restart", "blk0");
	rig_finish(&rig);
}

/* A device that cannot start yet does not stop the others, and is served as soon as it can be. */
static void test_image_goes_and_comes(void)
{
	struct guest_blk blk[2];
	struct rig rig;

	serve(&rig, 2, "\"restart_delay_max_ms\": 200, \"restart_limit\": 0");
	open_disk(&rig, &blk[0], 0);
	open_disk(&rig, &blk[1], 1);
	CHECK_INT(rename("disk0.img", "gone.img"), 0);
	rig_kill(&rig, "blk0");
	rig_await_state(&rig, "blk0", "waiting");
	rig_await_text(&rig, rig.errors, "disk0.img: No such file or directory; the next try is in 200 ms");
	check_served(&blk[1]);
	CHECK_INT(rename("gone.img", "disk0.img"), 0);
	rig_await_state(&rig, "blk0", "running");
	check_served(&blk[0]);
	guest_blk_close(&blk[0]);
	guest_blk_close(&blk[1]);
	rig_finish(&rig);
}

static int lock_image(const char *path, off_t start, off_t len)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(fcntl(fd, F_OFD_SETLK, &lock), 0);
	return fd;
}

/* --daemon returns when everything is settled, and its exit code says how. */
static void test_daemon(void)
{
	struct rig_disk disk[2] = {{.size = 1 << 20, .keys = "\"restart_delay_max_ms\": 100, \"restart_limit\": 0"},
				   {.size = 1 << 20}};
	struct rig rig;
	int fd;

	rig_init(&rig, 16);
	rig_config_disks(&rig, disk, 2, NULL);
	fd = lock_image("disk0.img", 0, 1);
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--hv", rig.hv, "--log-dir", rig.log_dir, "--daemon", rig.config,
			       NULL),
		  1);
	CHECK_HAS(out, "blk0: waiting: ");
	CHECK_HAS(out, "disk0.img: is in use by another process");
	CHECK(!strstr(out, "blk1"));
	CHECK_STR(rig_status_text(&rig, "blk1", "state"), "running");
	close(fd);
	rig_await_state(&rig, "blk0", "running");
	rig_await_text(&rig, "launcher.log", "info blk1: process ");
	RIG_ASK(&rig, out, "--stop");
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	CHECK_INT(rig_pid(&rig, "blk1"), 0);
	RIG_REFUSED(&rig, out, "", "--status");
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--hv", rig.hv, "--log-dir", rig.log_dir, "--daemon", rig.config,
			       NULL),
		  0);
	CHECK_STR(out, "");
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
	RIG_ASK(&rig, out, "--stop");
	rig_finish(&rig);
}

/* Signals end it and all backends; the devices stay, and their guest waits for the next launcher. */
static void test_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct hvisor_device_get get;
	struct guest_blk blk;
	struct rig rig;
	uint32_t i;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	for (i = 0; i < 2; i++) {
		check_served(&blk);
		CHECK_INT(rig_end_launcher(&rig, signals[i]), 0);
		CHECK_INT(rig_pid(&rig, "blk0"), 0);
		CHECK(rig_device(&rig, "blk0", &get));
		CHECK_INT(get.status, 15);
		rig_launch(&rig, NULL);
		rig_await_starts(&rig, "blk0", i + 2);
	}
	check_served(&blk);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

static void test_reopen_logs(void)
{
	struct rig rig;

	serve(&rig, 1, NULL);
	CHECK_INT(rename("log/blk0.log", "log/moved"), 0);
	CHECK_INT(kill(rig.launcher, SIGHUP), 0);
	RIG_ASK(&rig, out, "--log-level", "blk0=debug");
	RIG_ASK(&rig, out, "--restart", "blk0");
	rig_await_text(&rig, "blk0.log", " debug landlock");
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
	rig_finish(&rig);
}

/* A backend that does not end is killed after the deadline. */
static void test_stop_deadline(void)
{
	uint64_t begin;
	struct rig rig;

	serve(&rig, 1, NULL);
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	begin = test_now_ns();
	RIG_ASK(&rig, out, "--stop", "blk0");
	CHECK(test_now_ns() - begin > 2900000000u);
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "signal 9 (Killed)");
	rig_await_text(&rig, rig.errors, "did not end within 3 s of SIGTERM; killing it");
	rig_finish(&rig);
}

/* A backend that does not begin to serve is killed after the deadline, which counts as an end. */
static void test_start_deadline(void)
{
	struct rig rig;

	serve(&rig, 1, "\"restart_limit\": 1");
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	make_program("bin/hvisor-blk", PROGRAM_WAITS);
	rig_launch(&rig, "--program-dir", "bin", NULL);
	rig_await_launcher(&rig);
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "starting");
	rig_await_state(&rig, "blk0", "failed");
	CHECK_HAS(rig_status_text(&rig, "blk0", "failed_reason"), "did not begin to serve within 5 s");
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "signal 9 (Killed)");
	rig_finish(&rig);
}

/* hvisor kills a backend that does not become quiet; the next one serves. */
static void test_cut_off(void)
{
	struct guest_blk blk;
	struct rig rig;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	check_served(&blk);
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	/* Resets the device, which waits for the backend, at most for the deadline. */
	guest_blk_close(&blk);
	rig_await_text(&rig, rig.errors, "blk0: hvisor cut its backend off");
	rig_await_starts(&rig, "blk0", 2);
	CHECK_STR(rig_status_text(&rig, "blk0", "last_exit"), "signal 9 (Killed) by hvisor");
	open_disk(&rig, &blk, 0);
	check_served(&blk);
	guest_blk_close(&blk);
	CHECK_INT(sim_zone_stop(&rig.sim, RIG_ZONE), 0);
	rig_await_text(&rig, rig.errors, "zone 1 went down");
	CHECK_INT(sim_zone_start(&rig.sim, RIG_ZONE), 0);
	rig_await_text(&rig, rig.errors, "zone 1 came up");
	rig_finish(&rig);
}

/* Killed under load and started again: the same backends serve on, and nothing in the guest notices. */
static void test_adoption(void)
{
	struct guest_blk blk;
	struct load load = {.blk = &blk};
	char fifo[400];
	pthread_t thread;
	struct rig rig;
	pid_t pid;
	int fd;
	int i;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	CHECK_INT(pthread_create(&thread, NULL, run_load, &load), 0);
	RIG_ASK(&rig, out, "--log-level", "blk0=debug");
	pid = rig_pid(&rig, "blk0");
	for (i = 0; i < 3; i++) {
		CHECK(WIFSIGNALED(rig_end_launcher(&rig, SIGKILL)));
		/* What it says meanwhile waits in its pipe. */
		snprintf(fifo, sizeof(fifo), "%s/blk0.log.fifo", rig.run_dir);
		fd = open(fifo, O_RDWR | O_NONBLOCK);
		CHECK(fd >= 0);
		CHECK_INT(write(fd, "<2>nobody listens\n", 18), 18);
		close(fd);
		rig_launch(&rig, NULL);
		rig_await_launcher(&rig);
		CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
		CHECK_INT(rig_status_number(&rig, "blk0", "pid"), pid);
		CHECK_STR(rig_status_text(&rig, "blk0", "log_level"), "debug");
		rig_await_text(&rig, "blk0.log", "info nobody listens");
		CHECK_INT(truncate("log/blk0.log", 0), 0);
	}
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	/* It is watched as its own would be. */
	rig_kill(&rig, "blk0");
	rig_await_starts(&rig, "blk0", 2);
	CHECK_HAS(rig_status_text(&rig, "blk0", "last_exit"), "unknown");
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 1);
	CHECK(WIFSIGNALED(rig_end_launcher(&rig, SIGKILL)));
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 1);
	RIG_ASK(&rig, out, "--stop", "blk0");
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	RIG_ASK(&rig, out, "--start", "blk0");
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	CHECK_INT(pthread_join(thread, NULL), 0);
	CHECK_INT(load.errors, 0);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* A process that the run folder's state does not name is replaced, and no other one is touched. */
static void test_adoption_of_a_stranger(void)
{
	char state[400];
	char text[512];
	struct guest_blk blk;
	struct rig rig;
	pid_t pid;
	int i;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	snprintf(state, sizeof(state), "%s/blk0.state", rig.run_dir);
	for (i = 0; i < 3; i++) {
		pid = rig_pid(&rig, "blk0");
		CHECK(WIFSIGNALED(rig_end_launcher(&rig, SIGKILL)));
		if (i == 0) {
			CHECK_INT(unlink(state), 0);
		} else {
			/* Names this very process, or the right one of an earlier start. */
			snprintf(text, sizeof(text),
				 "pid=%d\nstart=1\nboot=01234567-0123-0123-0123-0123456789ab\nuid=1\nrestarts=0\n"
				 "log_level=2\n",
				 i == 1 ? getpid() : pid);
			scratch_write(state, text, strlen(text));
		}
		rig_launch(&rig, NULL);
		rig_await_starts(&rig, "blk0", (uint32_t)i + 2);
		rig_await_text(&rig, rig.errors, "replacing it");
		CHECK(rig_pid(&rig, "blk0") != pid);
		rig_await_state(&rig, "blk0", "running");
		check_served(&blk);
	}
	guest_blk_close(&blk);
	rig_finish(&rig);
}

static void test_second_launcher(void)
{
	char want[64];
	struct rig rig;

	serve(&rig, 1, NULL);
	RIG_REFUSED(&rig, out, "uses the run folder", "--hv", rig.hv, "--log-dir", rig.log_dir, rig.config);
	snprintf(want, sizeof(want), "a launcher with pid %d ", rig.launcher);
	CHECK_HAS(out, want);
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	rig_finish(&rig);
}

static void test_run_folder_of_others(void)
{
	struct rig_disk disk = {.size = 1 << 20};
	struct rig rig;

	rig_init(&rig, 4);
	rig_config_disks(&rig, &disk, 1, NULL);
	CHECK_INT(mkdir("run", 0700), 0);
	CHECK_INT(chmod("run", 0777), 0);
	RIG_REFUSED(&rig, out, "can be written by others", "--hv", rig.hv, "--log-dir", rig.log_dir, rig.config);
	rig_finish(&rig);
}

static void test_no_hypervisor(void)
{
	struct rig_disk disk = {.size = 1 << 20};
	struct rig rig;

	rig_init(&rig, 4);
	rig_config_disks(&rig, &disk, 1, NULL);
	RIG_REFUSED(&rig, out, "cannot open /nonexistent/hvisor: it is not there; is the module loaded", "--hv",
		    "/nonexistent/hvisor", "--log-dir", rig.log_dir, rig.config);
	RIG_REFUSED(&rig, out, "cannot open sim:/nonexistent/sim: ", "--hv", "sim:/nonexistent/sim", "--log-dir",
		    rig.log_dir, rig.config);
	rig_finish(&rig);
}

static void test_bad_policy(void)
{
	struct rig_disk disk = {.size = 1 << 20};
	struct rig rig;

	rig_init(&rig, 4);
	rig_config_disks(&rig, &disk, 1, NULL);
	CHECK_INT(mkdir("policy", 0755), 0);
	scratch_write("policy/hvisor-blk.policy", "read\nreed\n", 10);
	RIG_REFUSED(&rig, out, "policy/hvisor-blk.policy:2: no system call is named reed; did you mean read?", "--hv",
		    rig.hv, "--log-dir", rig.log_dir, "--policy-dir", "policy", rig.config);
	rig_finish(&rig);
}

/* A program that cannot be executed in the sandbox, since the dynamic linker is not there. */
static void test_bad_program(void)
{
	struct rig_disk disk = {.size = 1 << 20, .keys = "\"restart_limit\": 2, \"restart_delay_ms\": 1"};
	struct rig rig;

	rig_init(&rig, 4);
	rig_config_disks(&rig, &disk, 1, NULL);
	scratch_run("mkdir bin && cp /bin/true bin/hvisor-blk");
	rig_launch(&rig, "--program-dir", "bin", NULL);
	rig_await_launcher(&rig);
	rig_await_state(&rig, "blk0", "failed");
	rig_await_text(&rig, rig.errors, "blk0: cannot start: execute the program: No such file or directory");
	rig_finish(&rig);
}

/* Logs that cannot be written stop nothing; what was lost is said when there is room again. */
static void test_full_log_disk(void)
{
	static uint8_t block[64 << 10];
	char folder[] = "/tmp/test_launch.XXXXXX";
	char path[64];
	struct rig_disk disk = {.size = 1 << 20};
	struct guest_blk blk;
	struct rig rig;
	int fd;
	int i;

	CHECK(mkdtemp(folder));
	small_disk_mount(folder);
	rig_init(&rig, 16);
	rig_config_disks(&rig, &disk, 1, NULL);
	snprintf(rig.log_dir, sizeof(rig.log_dir), "%s/log", folder);
	snprintf(path, sizeof(path), "%s/ballast", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(write(fd, block, sizeof(block)) > 0);
	close(fd);
	rig_serve(&rig, 1);
	open_disk(&rig, &blk, 0);
	RIG_ASK(&rig, out, "--log-level", "blk0=debug");
	for (i = 0; i < 3; i++) {
		RIG_ASK(&rig, out, "--restart", "blk0");
		check_served(&blk);
	}
	CHECK_INT(unlink(path), 0);
	RIG_ASK(&rig, out, "--restart", "blk0");
	rig_await_text(&rig, "blk0.log", "lines could not be written here: No space left on device");
	rig_await_text(&rig, "blk0.log", " debug landlock");
	guest_blk_close(&blk);
	rig_finish(&rig);
	umount2(folder, MNT_DETACH);
	CHECK_INT(rmdir(folder), 0);
}

static void test_log_level(void)
{
	struct guest_blk blk;
	struct rig rig;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	/* So that it knows of a driver whose reset it can tell of. */
	check_served(&blk);
	RIG_ASK(&rig, out, "--log-level", "blk0=debug");
	guest_blk_close(&blk);
	rig_await_text(&rig, "blk0.log", " debug reset by the driver");
	CHECK_STR(rig_status_text(&rig, "blk0", "log_level"), "debug");
	/* A new backend says as much. */
	rig_kill(&rig, "blk0");
	rig_await_starts(&rig, "blk0", 2);
	rig_await_text(&rig, "blk0.log", " debug landlock");
	RIG_ASK(&rig, out, "--log-level", "blk0=error");
	CHECK_STR(rig_status_text(&rig, "blk0", "log_level"), "error");
	rig_finish(&rig);
}

/* As a driver does: looks at the capacity when it is told that config has changed. */
static int capacity_is_new(void *arg)
{
	struct guest_blk *blk = arg;

	if (guest_dev_interrupt(&blk->dev, 0) & REGION_INT_CONFIG)
		guest_blk_update(blk);
	return blk->capacity == 4096;
}

static void test_resize(void)
{
	uint8_t bytes[4096] = "at the new end";
	uint8_t got[4096];
	struct guest_blk blk;
	struct rig rig;

	serve(&rig, 1, NULL);
	open_disk(&rig, &blk, 0);
	CHECK_INT(blk.capacity, 2048);
	CHECK_INT(truncate("disk0.img", 2 << 20), 0);
	RIG_ASK(&rig, out, "--resize", "blk0");
	CHECK_HAS(out, "2097152");
	/* It answers when the guest can see it. */
	guest_blk_update(&blk);
	CHECK_INT(blk.capacity, 4096);
	blk.capacity = 0;
	CHECK(test_wait(capacity_is_new, &blk, 10000));
	CHECK_INT(blk.capacity, 4096);
	CHECK_INT(guest_blk_write(&blk, 0, 4088, bytes, sizeof(bytes)), 0);
	rig_kill(&rig, "blk0");
	CHECK_INT(guest_blk_read(&blk, 0, 4088, got, sizeof(got)), 0);
	CHECK_MEM(got, bytes, sizeof(got));
	CHECK_INT(truncate("disk0.img", 1 << 20), 0);
	RIG_REFUSED(&rig, out, "can grow but not shrink", "--resize", "blk0");
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* Other properties of a device whose driver is not active are simply taken; of one in use, they are refused. */
static void test_changed_configuration(void)
{
	struct rig_disk disk[2] = {{.size = 1 << 20}, {.size = 1 << 20}};
	struct hvisor_device_get get;
	struct guest_blk blk;
	struct rig rig;

	rig_init(&rig, 16);
	rig_config_disks(&rig, disk, 2, NULL);
	rig_serve(&rig, 2);
	open_disk(&rig, &blk, 0);
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	disk[0].keys = disk[1].keys = "\"queues\": 2, \"restart_limit\": 1";
	rig_config_disks(&rig, disk, 2, NULL);
	rig_launch(&rig, NULL);
	rig_await_starts(&rig, "blk1", 1);
	CHECK(rig_device(&rig, "blk1", &get));
	CHECK_INT(get.device.nqueues, 2);
	rig_await_state(&rig, "blk0", "failed");
	CHECK_HAS(rig_status_text(&rig, "blk0", "failed_reason"), "with other properties than the configuration says");
	CHECK(rig_device(&rig, "blk0", &get));
	CHECK_INT(get.device.nqueues, 1);
	/* What is no longer in the file is taken away. */
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	disk[0].keys = NULL;
	rig_config_disks(&rig, disk, 1, NULL);
	rig_launch(&rig, NULL);
	rig_await_text(&rig, rig.errors, "blk1 of an earlier configuration is taken away");
	CHECK(!rig_device(&rig, "blk1", &get));
	check_served(&blk);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* Devices that are new in the file come in beside those that are in use. */
static void test_added_device(void)
{
	struct rig_disk disk[2] = {{.size = 1 << 20}, {.size = 1 << 20}};
	struct guest_blk blk[2];
	struct rig rig;

	rig_init(&rig, 16);
	rig_config_disks(&rig, disk, 1, NULL);
	rig_serve(&rig, 1);
	open_disk(&rig, &blk[0], 0);
	rig_config_disks(&rig, disk, 2, NULL);
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	rig_launch(&rig, NULL);
	rig_await_starts(&rig, "blk0", 2);
	rig_await_starts(&rig, "blk1", 1);
	check_served(&blk[0]);
	open_disk(&rig, &blk[1], 1);
	check_served(&blk[1]);
	guest_blk_close(&blk[0]);
	guest_blk_close(&blk[1]);
	rig_finish(&rig);
}

/*
 * As scripts for hvisor's own tool do it: "hvisor virtio start FILE &" with paths that count from the folder it is
 * started in, ended by the name of its process.
 */
static void test_virtio_start(void)
{
	const struct rig_disk disk = {.img = "disk0.img"};
	char hvisor[PATH_MAX];
	struct guest_blk blk;
	char path[64];
	char name[32];
	struct rig rig;
	FILE *file;

	rig_init(&rig, 16);
	scratch_run("truncate -s 1M disk0.img");
	rig_config_disks(&rig, &disk, 1, NULL);
	CHECK_INT(rig_program("hvisor", hvisor, sizeof(hvisor)), 0);
	fflush(NULL);
	rig.launcher = fork();
	CHECK(rig.launcher >= 0);
	if (rig.launcher == 0) {
		dup2(open(rig.errors, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), STDERR_FILENO);
		execl(hvisor, "./hvisor", "--hv", rig.hv, "virtio", "start", "virtio_cfg.json", "--run", rig.run_dir,
		      "--log-dir", rig.log_dir, NULL);
		_exit(127);
	}
	rig.launcher_fd = (int)syscall(SYS_pidfd_open, rig.launcher, 0);
	rig_await_launcher(&rig);
	rig_await_starts(&rig, "blk0", 1);
	open_disk(&rig, &blk, 0);
	check_served(&blk);
	guest_blk_close(&blk);
	/* It is the same process, in the foreground, and called as upstream's is. */
	snprintf(path, sizeof(path), "/proc/%d/comm", rig.launcher);
	file = fopen(path, "re");
	CHECK(file && fgets(name, sizeof(name), file));
	fclose(file);
	CHECK_STR(name, "hvisor-virtio\n");
	CHECK_INT(rig_end_launcher(&rig, SIGTERM), 0);
	CHECK_INT(rig_pid(&rig, "blk0"), 0);
	rig_finish(&rig);
}

static void test_many_devices(void)
{
	static struct rig_disk disk[64];
	char name[16];
	uint64_t begin;
	struct rig rig;
	uint32_t i;

	for (i = 0; i < 64; i++)
		disk[i].size = 1 << 20;
	rig_init(&rig, 16);
	rig_config_disks(&rig, disk, 64, NULL);
	rig_serve(&rig, 64);
	for (i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "blk%u", i);
		CHECK(rig_pid(&rig, name) > 0);
	}
	begin = test_now_ns();
	RIG_ASK(&rig, out, "--status", "--json");
	CHECK(test_now_ns() - begin < 500000000u);
	CHECK_HAS(out, "\"blk63\"");
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"launch_status", test_status, 0},
		{"launch_stop_and_start", test_stop_and_start, 0},
		{"launch_restart_under_load", test_restart_under_load, 0},
		{"launch_limit", test_limit, 0},
		{"launch_window", test_window, 0},
		{"launch_hopeless", test_hopeless, 0},
		{"launch_image_goes_and_comes", test_image_goes_and_comes, 0},
		{"launch_daemon", test_daemon, 0},
		{"launch_signals", test_signals, 0},
		{"launch_reopen_logs", test_reopen_logs, 0},
		{"launch_stop_deadline", test_stop_deadline, 0},
		{"launch_start_deadline", test_start_deadline, 0},
		{"launch_cut_off", test_cut_off, 0},
		{"launch_adoption", test_adoption, 0},
		{"launch_adoption_of_a_stranger", test_adoption_of_a_stranger, 0},
		{"launch_second_launcher", test_second_launcher, 0},
		{"launch_run_folder_of_others", test_run_folder_of_others, 0},
		{"launch_no_hypervisor", test_no_hypervisor, 0},
		{"launch_bad_policy", test_bad_policy, 0},
		{"launch_bad_program", test_bad_program, 0},
		{"launch_full_log_disk", test_full_log_disk, 0},
		{"launch_log_level", test_log_level, 0},
		{"launch_resize", test_resize, 0},
		{"launch_changed_configuration", test_changed_configuration, 0},
		{"launch_added_device", test_added_device, 0},
		{"launch_virtio_start", test_virtio_start, 0},
		{"launch_many_devices", test_many_devices, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
