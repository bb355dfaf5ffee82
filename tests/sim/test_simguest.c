/* SPDX-License-Identifier: MIT */
/* The program simguest, with hvisor-launch beside it, as a person runs the two. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/rig_backend.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

static char simguest[PATH_MAX];
static char launcher[PATH_MAX];

static void find_programs(void)
{
	CHECK_INT(rig_program("tests/sim/simguest", simguest, sizeof(simguest)), 0);
	CHECK_INT(rig_program("hvisor-launch", launcher, sizeof(launcher)), 0);
}

/* Runs simguest with arguments as a shell has them; its exit code, and its output in the file "out". */
static int run_simguest(const char *arguments)
{
	char command[PATH_MAX + 512];
	int status;

	snprintf(command, sizeof(command), "exec '%s' %s >out 2>&1 </dev/null", simguest, arguments);
	status = system(command);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void check_output(const char *part)
{
	char text[65536];
	FILE *file = fopen("out", "re");

	CHECK(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	CHECK_HAS(text, part);
}

static void test_options(void)
{
	find_programs();
	scratch_enter();
	CHECK_INT(run_simguest("--help"), 0);
	check_output("usage: simguest");
	CHECK_INT(run_simguest(""), 2);
	CHECK_INT(run_simguest("--memory 7 --socket s"), 2);
	check_output("--memory 7: not SIZE");
	CHECK_INT(run_simguest("--zone 99 --socket s"), 2);
	CHECK_INT(run_simguest("--socket no/where/s --wait 1"), 1);
	check_output("no/where/s: No such file or directory");
	CHECK_INT(run_simguest("--socket s --wait 1 probe"), 1);
	check_output("no block device in zone 1 after 1 s");
	/* The socket of one that was killed is no hindrance. */
	CHECK_INT(run_simguest(
			  "--socket s --wait 60 probe & pid=$!; until [ -S s ]; do :; done; kill -9 $pid; wait; true"),
		  0);
	CHECK(access("s", F_OK) == 0);
	CHECK_INT(run_simguest("--socket s --wait 1 probe"), 1);
	check_output("no block device in zone 1 after 1 s");
	CHECK(access("s", F_OK) != 0);
}

/* Starts the launcher as a daemon as soon as the simulator listens, and waits for simguest's end. */
static int run_both(const char *arguments)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(run_simguest(arguments));
	scratch_run("until [ -S s ]; do kill -0 %d || exit 1; done", pid);
	/* A simguest that does not like its command may end before the launcher has done its part. */
	scratch_run("'%s' --daemon --hv sim:s --run run --log-dir log virtio_cfg.json || true", launcher);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	scratch_run("'%s' --run run --stop || true", launcher);
	return WEXITSTATUS(status);
}

static void write_config(const char *dir)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "{\"zones\": [{\"id\": 1, \"memory_region\": [{\"zone0_ipa\": \"0x50000000\","
			 " \"zonex_ipa\": \"0x50000000\", \"size\": \"0x4000000\"}], \"devices\": ["
			 "{\"type\": \"blk\", \"addr\": \"0xa003c00\", \"len\": \"0x200\", \"irq\": 78,"
			 " \"status\": \"enable\", \"img\": \"%s/disk.img\", \"serial\": \"S-1\"}]}]}",
			 dir);

	scratch_write("virtio_cfg.json", text, (size_t)n);
}

static void test_commands(void)
{
	const char *dir = scratch_enter();

	find_programs();
	CHECK_INT(mkdir("src", 0755), 0);
	scratch_write("src/hello", "hello, guest\n", 13);
	scratch_write("in", "a file\n", 7);
	scratch_run("mkfs.ext4 -q -F -b 4096 -d src disk.img 64M");
	write_config(dir);
	CHECK_INT(run_both("--socket s --wait 20 probe 'ls /' 'cat /hello' 'put in /in' 'get /in back' 'read 2 1' "
			   "'verify 1' status reset 'cat /in'"),
		  0);
	check_output("131072 sectors");
	check_output("serial       S-1");
	check_output("hello, guest\n");
	check_output("0430 "); /* the superblock's, where its magic is */
	check_output("53 ef");
	check_output("none lost, none torn, none failed");
	check_output("status       0x0f ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK");
	check_output("guest> cat /in\na file\n");
	scratch_check("back", "a file\n", 7);
	scratch_run("e2fsck -fn disk.img");
	scratch_run("debugfs -R 'dump /in dumped' disk.img");
	scratch_check("dumped", "a file\n", 7);
}

static void test_wrong_commands(void)
{
	const char *dir = scratch_enter();

	find_programs();
	scratch_run("truncate -s 1M disk.img");
	write_config(dir);
	CHECK_INT(run_both("--socket s --wait 20 'bogus'"), 1);
	check_output("bogus: no such command");
	CHECK_INT(run_both("--socket s --wait 20 'cat'"), 1);
	check_output("usage: cat PATH");
	CHECK_INT(run_both("--socket s --wait 20 'ls /'"), 1);
	check_output("no ext4 file system can be mounted");
	CHECK_INT(run_both("--socket s --wait 20 'read 4096 1'"), 1);
	check_output("sector 4096: Input/output error");
	CHECK_INT(run_both("--socket s --wait 20 'read x 1'"), 1);
	check_output("\"x\" is not a number");
}

static const struct test tests[] = {
	{"simguest_options", test_options, 0},
	{"simguest_commands", test_commands, 0},
	{"simguest_wrong_commands", test_wrong_commands, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
