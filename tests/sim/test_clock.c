/* SPDX-License-Identifier: MIT */
/*
 * Backends on a machine whose clock is not in the vDSO, so that each look at it is a system call: an x86 board with an
 * unstable TSC, an arm64 board with an erratum of its timer. Here the kernel's own vDSO is written over in each
 * process.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/net_rig.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define DEVICES 4u

static const char *const names[DEVICES] = {"blk0", "console0", "net0", "rng0"};

#if defined(__x86_64__)
#define CLOCK_SYMBOL "__vdso_clock_gettime"
/* mov eax, 228; syscall; ret */
static const uint8_t clock_code[] = {0xb8, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xc3};
#elif defined(__aarch64__)
#define CLOCK_SYMBOL "__kernel_clock_gettime"
/* mov x8, 113; svc 0; ret */
static const uint8_t clock_code[] = {0x28, 0x0e, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xc0, 0x03, 0x5f, 0xd6};
#else
#error "no way to read the clock by a system call on this architecture"
#endif

/* How far clock_gettime() is from the vDSO's beginning, in this process as in all. */
static uint64_t clock_offset(void)
{
	void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
	void *at = vdso ? dlsym(vdso, CLOCK_SYMBOL) : NULL;

	CHECK(at);
	return (uint64_t)(uintptr_t)at - getauxval(AT_SYSINFO_EHDR);
}

static uint64_t vdso_of(pid_t pid)
{
	unsigned long long begin = 0;
	char path[64];
	char line[512];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	CHECK(maps);
	while (fgets(line, sizeof(line), maps) && !(strstr(line, "[vdso]") && sscanf(line, "%llx-", &begin) == 1))
		begin = 0;
	fclose(maps);
	CHECK(begin);
	return begin;
}

/* A process that is stopped gets a copy of its own of that page. */
static void clock_take_away(pid_t pid)
{
	uint64_t at = vdso_of(pid) + clock_offset();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	CHECK_INT(kill(pid, SIGSTOP), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(pwrite(fd, clock_code, sizeof(clock_code), (off_t)at), sizeof(clock_code));
	close(fd);
	CHECK_INT(kill(pid, SIGCONT), 0);
}

/* One device of each type, served under our policies, with the rule for the clock or without it. */
static void serve(struct rig *rig, bool allowed)
{
	char ours[PATH_MAX];
	FILE *file;
	uint32_t i;

	/* It is found from the folder that the tests are started in. */
	CHECK(realpath("policy", ours));
	net_rig_enter_namespace();
	rig_init(rig, 64);
	scratch_run("truncate -s 1M disk.img && mkdir policy && cp %s/*.policy policy", ours);
	if (!allowed)
		scratch_run("sed -i /^clock_gettime/d policy/common.policy");
	file = fopen(rig->config, "we");
	CHECK(file);
	fprintf(file,
		"{\"zones\": [{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": "
		"67108864}], \"devices\": [",
		RIG_ZONE, RIG_RAM, RIG_RAM);
	for (i = 0; i < DEVICES; i++)
		fprintf(file, "%s{\"type\": \"%.*s\", \"addr\": %llu, \"len\": 512, \"irq\": %u%s}", i ? ",\n" : "",
			(int)strcspn(names[i], "0"), names[i], (unsigned long long)rig_base(i), rig_irq(i),
			i == 0   ? ", \"img\": \"disk.img\""
			: i == 2 ? ", \"tap\": \"tap0\""
				 : "");
	fputs("]}]}\n", file);
	CHECK_INT(fclose(file), 0);
	rig_launch(rig, "--policy-dir", "policy", NULL);
	rig_await_launcher(rig);
	for (i = 0; i < DEVICES; i++)
		rig_await_starts(rig, names[i], 1);
}

/* Wakes the device's backend, which looks at the clock in each of its turns. */
static void turn(struct rig *rig, const char *name)
{
	struct hvisor_device_get get;
	struct hvisor_device_kick kick = {.events = REGION_EV_CONTROL};

	CHECK(rig_device(rig, name, &get));
	kick.id = get.id;
	CHECK_INT(sim_call(&rig->sim, HVISOR_DEVICE_KICK, &kick), 0);
}

struct turned {
	struct rig *rig;
	const char *name;
	uint64_t heartbeat;
};

static int has_turned(void *arg)
{
	struct turned *turned = arg;
	struct region_device counters;

	rig_counters(turned->rig, turned->name, &counters);
	return counters.heartbeat > turned->heartbeat;
}

static void test_by_call(void)
{
	struct region_device counters;
	struct turned turned;
	struct rig rig;
	uint32_t i, n;
	pid_t pid;

	serve(&rig, true);
	for (i = 0; i < DEVICES; i++) {
		rig_await_rest(&rig, names[i]);
		pid = rig_pid(&rig, names[i]);
		clock_take_away(pid);
		for (n = 0; n < 3; n++) {
			rig_counters(&rig, names[i], &counters);
			turned = (struct turned){&rig, names[i], counters.heartbeat};
			turn(&rig, names[i]);
			CHECK(test_wait(has_turned, &turned, 10000));
		}
		CHECK_INT(rig_pid(&rig, names[i]), pid);
	}
	rig_finish(&rig);
}

/* The call is what they need: without its rule they die of it. */
static void test_forbidden(void)
{
	static char out[65536];
	struct rig rig;
	uint32_t i;
	pid_t pid;

	serve(&rig, false);
	for (i = 0; i < DEVICES; i++) {
		rig_await_rest(&rig, names[i]);
		pid = rig_pid(&rig, names[i]);
		/* Once traced it is no witness of what backends do by themselves: tests/trace/policy_use.c. */
		CHECK_INT(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
		CHECK_INT(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
		CHECK_INT(waitpid(pid, NULL, __WALL), pid);
		CHECK_INT(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
		clock_take_away(pid);
		turn(&rig, names[i]);
		rig_await_starts(&rig, names[i], 2);
		RIG_ASK(&rig, out, "--status", "--json", names[i]);
		CHECK_HAS(out, "signal 31 (Bad system call)");
	}
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"clock_by_call", test_by_call, 0},
		{"clock_by_call_forbidden", test_forbidden, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
