/* SPDX-License-Identifier: MIT */
/*
 * The launcher, killed before each of the calls by which it changes the world: while it starts, adopts, starts anew,
 * stops, and opens its logs anew. The next launcher on the same configuration serves all devices, whose guest goes on
 * with the drivers that it has; and nothing is left of the killed one: no process, interface, or file.
 *
 * With STEPS_ALL, as "make test-steps" sets it, before each of these calls; else before each SOME_STEPS-th.
 */
#include <dirent.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "tests/sim/calls.h"
#include "tests/sim/net_rig.h"
#include "tests/sim/work.h"
#include "tests/test.h"

#define DEVICES 4u
#define LIMIT_MS 20000
#define LIST_MAX 2048
#define SOME_STEPS 25u
#define ROUNDS 20u /* of work without a launcher */

static const enum config_type types[DEVICES] = {CONFIG_BLK, CONFIG_NET, CONFIG_CONSOLE, CONFIG_RNG};

struct fixture {
	struct rig rig;
	struct work work[DEVICES];
	uint32_t starts[DEVICES]; /* as of the last look */
	char serving[LIST_MAX]; /* what is in the run folder while all are served */
	char stopped[LIST_MAX]; /* and when no launcher is there */
	pid_t asker; /* a command that is under way, 0: none */
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The names in the run folder. */
static void list_run(const struct rig *rig, char list[LIST_MAX])
{
	struct dirent **entry;
	int n = scandir(rig->run_dir, &entry, NULL, by_name);
	size_t at = 0;
	int i;

	CHECK(n >= 0);
	list[0] = '\0';
	for (i = 0; i < n; i++) {
		at += (size_t)snprintf(list + at, LIST_MAX - at, "%s ", entry[i]->d_name);
		CHECK(at < LIST_MAX);
		free(entry[i]);
	}
	free(entry);
}

/* How many processes there are below this one, but for those that wait to be collected. */
static uint32_t count_descendants(pid_t pid)
{
	char path[64];
	char state;
	int child, parent;
	uint32_t n = 0;
	FILE *children;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	children = fopen(path, "re");
	while (children && fscanf(children, "%d", &child) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/stat", child);
		stat = fopen(path, "re");
		if (stat && fscanf(stat, "%d (%*[^)]) %c", &parent, &state) == 2 && state != 'Z')
			n++;
		if (stat)
			fclose(stat);
		n += count_descendants(child);
	}
	if (children)
		fclose(children);
	return n;
}

static int are_gone(void *arg)
{
	return count_descendants(getpid()) == *(uint32_t *)arg;
}

static void check_processes(uint32_t want)
{
	if (!test_wait(are_gone, &want, LIMIT_MS)) {
		TEST_FAIL("%u processes instead of %u", count_descendants(getpid()), want);
	}
}

static void check_interfaces(bool tap)
{
	struct if_nameindex *all = if_nameindex();
	uint32_t n = 0;

	CHECK(all);
	while (all[n].if_index)
		n++;
	if_freenameindex(all);
	/* lo, and the tap. */
	CHECK_INT(n, tap ? 2 : 1);
	CHECK_INT(if_nametoindex(WORK_TAP) != 0, tap);
}

static bool has_fd(pid_t pid, enum backend_fd fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	return access(path, F_OK) == 0;
}

/* It has said that it serves: not one that waits for a launcher which is gone, nor one that ends. */
static bool is_ready(pid_t pid)
{
	return !has_fd(pid, BACKEND_FD_READY) && has_fd(pid, BACKEND_FD_CALL);
}

static bool all_served(void *arg)
{
	struct fixture *f = arg;
	struct hvisor_device_get get;
	uint32_t i;

	for (i = 0; i < DEVICES; i++) {
		if (!rig_device(&f->rig, f->work[i].name, &get) || !(get.flags & HVISOR_DEVICE_ATTACHED) ||
		    get.owner_pid <= 0 || !is_ready(get.owner_pid) ||
		    rig_starts(&f->rig, f->work[i].name) < f->starts[i])
			return false;
	}
	return true;
}

static int are_served(void *arg)
{
	return all_served(arg);
}

/* The command that was given is answered. */
static bool is_answered(void *arg)
{
	struct fixture *f = arg;

	return f->asker == 0 || waitpid(f->asker, NULL, WNOHANG) == f->asker ? f->asker = 0, true : false;
}

/* A launcher that nobody disturbs serves all of them, as their drivers see, and nothing is left over. */
static void serve(struct fixture *f)
{
	static char said[8192];
	char list[LIST_MAX];
	uint32_t i;

	rig_launch(&f->rig, NULL);
	rig_await_launcher(&f->rig);
	/* Answered, whatever the answer, when it has looked at all that was there before it. */
	rig_launcher(&f->rig, NULL, 0, "--status", NULL);
	if (!test_wait(are_served, f, LIMIT_MS)) {
		rig_launcher(&f->rig, said, sizeof(said), "--status", NULL);
		TEST_FAIL("not all devices are served:\n%s", said);
	}
	for (i = 0; i < DEVICES; i++) {
		work_meet(&f->work[i]);
		if (!f->work[i].open)
			work_open(&f->work[i]);
		work_do(&f->work[i]);
	}
	check_processes(1 + DEVICES);
	check_interfaces(true);
	list_run(&f->rig, list);
	if (!f->serving[0])
		strcpy(f->serving, list);
	CHECK_STR(list, f->serving);
}

static void stop(struct fixture *f)
{
	char list[LIST_MAX];
	int status = rig_end_launcher(&f->rig, SIGTERM);

	CHECK_INT(status, 0);
	check_processes(0);
	check_interfaces(false);
	list_run(&f->rig, list);
	if (!f->stopped[0])
		strcpy(f->stopped, list);
	CHECK_STR(list, f->stopped);
}

static void fixture_init(struct fixture *f)
{
	const char *device[DEVICES];
	uint32_t i;

	memset(f, 0, sizeof(*f));
	/* Backends of a launcher that is killed are counted too. */
	CHECK_INT(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	net_rig_enter_namespace();
	rig_init(&f->rig, 64);
	f->rig.guest.queue_max = 16;
	scratch_run("truncate -s 1M disk.img");
	for (i = 0; i < DEVICES; i++) {
		work_init(&f->work[i], &f->rig, types[i], i);
		device[i] = work_keys(types[i]);
	}
	rig_config(&f->rig, device, DEVICES);
	/* So it is when nothing happens. */
	serve(f);
	stop(f);
	serve(f);
}

static void fixture_finish(struct fixture *f)
{
	uint32_t i;

	stop(f);
	for (i = 0; i < DEVICES; i++)
		work_finish(&f->work[i]);
	rig_finish(&f->rig);
}

/* Gives the launcher a command, which it is to answer while it is traced. */
static void ask(struct fixture *f, const char *option, const char *name)
{
	fflush(NULL);
	f->asker = fork();
	CHECK(f->asker >= 0);
	if (f->asker == 0)
		_exit(rig_launcher(&f->rig, NULL, 0, option, name, NULL));
}

static void forget_asker(struct fixture *f)
{
	if (f->asker)
		CHECK_INT(waitpid(f->asker, NULL, 0), f->asker);
	f->asker = 0;
}

struct operation {
	const char *name;
	/* Brings it about that the traced launcher does it. */
	void (*begin)(struct fixture *f, struct calls *calls);
	bool (*done)(void *arg);
	bool ends; /* the launcher */
	bool keeps; /* the processes: they are those of before, wherever the launcher is killed */
};

static void begin_start(struct fixture *f, struct calls *calls)
{
	stop(f);
	rig_launch_traced(&f->rig);
	calls_attach_child(calls, f->rig.launcher);
}

static void begin_adopt(struct fixture *f, struct calls *calls)
{
	CHECK(WIFSIGNALED(rig_end_launcher(&f->rig, SIGKILL)));
	rig_launch_traced(&f->rig);
	calls_attach_child(calls, f->rig.launcher);
}

static void begin_restart(struct fixture *f, struct calls *calls)
{
	calls_attach(calls, f->rig.launcher);
	ask(f, "--restart", "all");
}

static void begin_stop(struct fixture *f, struct calls *calls)
{
	calls_attach(calls, f->rig.launcher);
	ask(f, "--stop", NULL);
}

static void begin_stop_net(struct fixture *f, struct calls *calls)
{
	calls_attach(calls, f->rig.launcher);
	ask(f, "--stop", "net0");
}

static void begin_reopen(struct fixture *f, struct calls *calls)
{
	calls_attach(calls, f->rig.launcher);
	scratch_run("rm log/*.log");
	CHECK_INT(kill(f->rig.launcher, SIGHUP), 0);
}

static bool is_reopened(void *arg)
{
	struct fixture *f = arg;
	char path[400];
	uint32_t i;

	for (i = 0; i < DEVICES; i++) {
		snprintf(path, sizeof(path), "%s/%s.log", f->rig.log_dir, f->work[i].name);
		if (access(path, F_OK) != 0)
			return false;
	}
	return true;
}

/* How often the devices were served before the operation begins; one that starts them anew adds to that. */
static void note_starts(struct fixture *f, uint32_t more)
{
	uint32_t i;

	for (i = 0; i < DEVICES; i++)
		f->starts[i] = rig_starts(&f->rig, f->work[i].name) + more;
}

static void sweep(const struct operation *op)
{
	static struct fixture f;
	uint32_t step = getenv("STEPS_ALL") ? 1 : SOME_STEPS;
	uint64_t begin = test_now_ns();
	struct calls calls;
	bool killed = true;
	uint32_t kills = 0;
	uint32_t n, i;

	fixture_init(&f);
	for (n = 1; killed; n += step) {
		note_starts(&f, 0);
		op->begin(&f, &calls);
		if (op->begin == begin_start)
			note_starts(&f, 1);
		killed = calls_run(&calls, n, op->done, &f);
		if (killed || op->ends)
			rig_await_end(&f.rig);
		kills += killed;
		if (getenv("STEPS_DEBUG"))
			fprintf(stderr, "%u: before call %ld\n", n, calls.last);
		forget_asker(&f);
		/* As many as there were, whoever started them. */
		note_starts(&f, 0);
		if (killed || op->ends)
			serve(&f);
		for (i = 0; op->keeps && i < DEVICES; i++)
			CHECK_INT(rig_starts(&f.rig, f.work[i].name), 2);
	}
	printf("# %s: killed before %u of %u calls, %llu ms\n", op->name, kills, calls.made,
	       (unsigned long long)((test_now_ns() - begin) / 1000000));
	CHECK(kills > 0);
	if (!f.rig.launcher)
		serve(&f);
	fixture_finish(&f);
}

static void test_start(void)
{
	sweep(&(struct operation){"start", begin_start, all_served, false, false});
}

static void test_adopt(void)
{
	sweep(&(struct operation){"adopt", begin_adopt, all_served, false, true});
}

static void test_restart(void)
{
	sweep(&(struct operation){"restart", begin_restart, is_answered, false, false});
}

static void test_stop(void)
{
	sweep(&(struct operation){"stop", begin_stop, is_answered, true, false});
}

static void test_stop_net(void)
{
	sweep(&(struct operation){"stop net0", begin_stop_net, is_answered, false, false});
}

static void test_reopen(void)
{
	sweep(&(struct operation){"reopen logs", begin_reopen, is_reopened, false, true});
}

static void work_all(struct fixture *f)
{
	uint32_t i;

	for (i = 0; i < DEVICES; i++)
		work_do(&f->work[i]);
}

/* Killed outright it is missed by nobody; the next one takes over the very processes, in the middle of their work. */
static void test_adoption(void)
{
	static struct fixture f;
	uint32_t during = 0;
	pid_t pid[DEVICES];
	uint32_t i, n, k;

	fixture_init(&f);
	for (i = 0; i < DEVICES; i++)
		pid[i] = rig_pid(&f.rig, f.work[i].name);
	note_starts(&f, 0);
	for (n = 0; n < 5; n++) {
		CHECK(WIFSIGNALED(rig_end_launcher(&f.rig, SIGKILL)));
		for (k = 0; k < ROUNDS; k++)
			work_all(&f);
		check_processes(DEVICES);
		rig_launch(&f.rig, NULL);
		rig_await_launcher(&f.rig);
		/* Answered when all are adopted. */
		ask(&f, "--status", NULL);
		while (!is_answered(&f)) {
			work_all(&f);
			during++;
		}
		for (i = 0; i < DEVICES; i++) {
			CHECK_INT(rig_pid(&f.rig, f.work[i].name), pid[i]);
			CHECK_INT(rig_starts(&f.rig, f.work[i].name), f.starts[i]);
		}
		check_processes(1 + DEVICES);
	}
	printf("# %u pieces of work of each device without a launcher, %u while one began\n", n * ROUNDS, during);
	CHECK(during > 0);
	CHECK_INT(f.work[1].tx_lost, 0);
	CHECK_INT(f.work[1].rx_lost, 0);
	fixture_finish(&f);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"launch_steps_start", test_start, 900},
		{"launch_steps_adopt", test_adopt, 900},
		{"launch_steps_restart", test_restart, 900},
		{"launch_steps_stop", test_stop, 900},
		{"launch_adoption_of_all_types", test_adoption, 0},
		{"launch_steps_stop_net", test_stop_net, 900},
		{"launch_steps_reopen", test_reopen, 900},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
