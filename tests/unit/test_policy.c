/* SPDX-License-Identifier: MIT */
/* Policies: what is wrong in their text is named with its place, and what they allow is exactly what is allowed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/console.h"
#include "launcher/policy.h"
#include "tests/test.h"
#include <linux/falloc.h>

static char folder[64];

static void make_folder(void)
{
	strcpy(folder, "/tmp/test_policy.XXXXXX");
	CHECK(mkdtemp(folder));
}

static void write_policy(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	CHECK(file);
	fputs(text, file);
	CHECK_INT(fclose(file), 0);
}

static void remove_folder(void)
{
	static const char *const names[] = {"t.policy", "common.policy", "a.policy", "b.policy"};
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	CHECK_INT(rmdir(folder), 0);
}

static int compile(const char *text, enum launch_seccomp mode)
{
	struct errors errors;
	int fd;

	errors_init(&errors);
	write_policy("t.policy", text);
	fd = policy_compile(folder, "t.policy", mode, &errors);
	if (fd < 0)
		errors_print(&errors, stderr, "");
	CHECK(fd >= 0);
	CHECK_INT(errors.count, 0);
	errors_finish(&errors);
	return fd;
}

/* Loads the program into a child, which makes one call and then exits with 0; returns its wait status. */
static int run(int policy, long nr, const long *arg)
{
	static struct sock_filter program[BPF_MAXINSNS];
	struct sock_fprog filter = {.filter = program};
	struct stat st;
	int status;
	pid_t pid;

	CHECK_INT(fstat(policy, &st), 0);
	CHECK(st.st_size > 0 && st.st_size % (off_t)sizeof(program[0]) == 0);
	filter.len = (unsigned short)((size_t)st.st_size / sizeof(program[0]));
	CHECK_INT(pread(policy, program, (size_t)st.st_size, 0), st.st_size);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
			_exit(77);
		syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
		syscall(SYS_exit_group, 0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return status;
}

static void check_call(int policy, int allowed, const char *what, long nr, long a, long b, long c, long d, long e,
		       long f)
{
	const long arg[6] = {a, b, c, d, e, f};
	int status = run(policy, nr, arg);

	if (allowed && status != 0)
		TEST_FAIL("%s(%ld, %ld, %ld): wait status 0x%x, although it is allowed", what, a, b, c, status);
	if (!allowed && (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS))
		TEST_FAIL("%s(%ld, %ld, %ld): wait status 0x%x, not killed by SIGSYS", what, a, b, c, status);
}

#define ALLOWED(fd, name, a, b, c) check_call(fd, 1, #name, SYS_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define KILLED(fd, name, a, b, c) check_call(fd, 0, #name, SYS_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)

#define ALLOWED6(fd, name, a, b, c, d, e, f)                                                                           \
	check_call(fd, 1, #name, SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define KILLED6(fd, name, a, b, c, d, e, f)                                                                            \
	check_call(fd, 0, #name, SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static void test_unconditional(void)
{
	int fd;

	make_folder();
	fd = compile("exit_group\ngetppid # a comment\n\n   # nothing\n\tgetuid\t\n", LAUNCH_SECCOMP_ENFORCE);
	ALLOWED(fd, getppid, 0, 0, 0);
	ALLOWED(fd, getuid, 5, 6, 7);
	KILLED(fd, getgid, 0, 0, 0);
	KILLED(fd, socket, 1, 1, 0);
	KILLED(fd, openat, -100, "/", 0);
	close(fd);
	remove_folder();
}

static void test_operators(void)
{
	int fd;

	make_folder();
	/* Calls that only fail with these arguments. */
	fd = compile("exit_group\n"
		     "close: arg0 == 1000\n"
		     "dup: arg0 != 1000\n"
		     "fsync: arg0 <= 1000\n"
		     "fdatasync: arg0 >= 1000\n"
		     "fchdir: arg0 < 1000\n"
		     "syncfs: arg0 > 1000\n"
		     "lseek: arg0 & 0xff00 == 0x300\n"
		     "ftruncate: arg1 & ~(1 | 2) == 0\n",
		     LAUNCH_SECCOMP_ENFORCE);
	ALLOWED(fd, close, 1000, 0, 0);
	KILLED(fd, close, 1001, 0, 0);
	KILLED(fd, close, 999, 0, 0);
	KILLED(fd, close, 1000 + (1l << 32), 0, 0);
	ALLOWED(fd, dup, 1001, 0, 0);
	KILLED(fd, dup, 1000, 0, 0);
	ALLOWED(fd, fsync, 1000, 0, 0);
	KILLED(fd, fsync, 1001, 0, 0);
	KILLED(fd, fsync, 1l << 32, 0, 0);
	ALLOWED(fd, fdatasync, 1000, 0, 0);
	KILLED(fd, fdatasync, 999, 0, 0);
	ALLOWED(fd, fchdir, 999, 0, 0);
	KILLED(fd, fchdir, 1000, 0, 0);
	ALLOWED(fd, syncfs, 1001, 0, 0);
	KILLED(fd, syncfs, 1000, 0, 0);
	ALLOWED(fd, lseek, 0x303, 0, 0);
	KILLED(fd, lseek, 0x703, 0, 0);
	KILLED(fd, lseek, 0x3, 0, 0);
	ALLOWED(fd, ftruncate, 1000, 3, 0);
	KILLED(fd, ftruncate, 1000, 4, 0);
	KILLED(fd, ftruncate, 1000, 1l << 40, 0);
	close(fd);
	remove_folder();
}

static void test_alternatives(void)
{
	int fd;

	make_folder();
	write_policy("common.policy", "exit_group\nlseek: arg0 == 1003 && arg2 == 9\n");
	fd = compile("lseek: arg0 == 1000 && arg1 == 7 && arg2 == 1 || arg0 == 1001\n"
		     "lseek: arg0 == 1002\n"
		     "@include common.policy\n",
		     LAUNCH_SECCOMP_ENFORCE);
	ALLOWED(fd, lseek, 1000, 7, 1);
	KILLED(fd, lseek, 1000, 7, 2);
	KILLED(fd, lseek, 1000, 6, 1);
	ALLOWED(fd, lseek, 1001, 6, 5);
	ALLOWED(fd, lseek, 1002, 6, 5);
	ALLOWED(fd, lseek, 1003, 0, 9);
	KILLED(fd, lseek, 1003, 0, 8);
	KILLED(fd, lseek, 1004, 0, 9);
	close(fd);
	remove_folder();
}

static void test_constants(void)
{
	int fd;

	make_folder();
	fd = compile("exit_group\n"
		     "close: arg0 == READY\n"
		     "fsync: arg0 == DEVICE\n"
		     "lseek: arg2 == SEEK_END\n"
		     "mmap: arg2 & ~(PROT_READ | PROT_WRITE) == 0 && arg0 == 0 && arg1 == 0\n",
		     LAUNCH_SECCOMP_ENFORCE);
	ALLOWED(fd, close, 8, 0, 0);
	KILLED(fd, close, 9, 0, 0);
	ALLOWED(fd, fsync, 10, 0, 0);
	KILLED(fd, fsync, 11, 0, 0);
	ALLOWED(fd, lseek, 0, 0, SEEK_END);
	KILLED(fd, lseek, 0, 0, SEEK_SET);
	ALLOWED(fd, mmap, 0, 0, PROT_READ | PROT_WRITE);
	KILLED(fd, mmap, 0, 0, PROT_READ | PROT_EXEC);
	close(fd);
	remove_folder();
}

static void test_log_mode(void)
{
	int fd;

	make_folder();
	fd = compile("exit_group\n", LAUNCH_SECCOMP_LOG);
	ALLOWED(fd, getppid, 0, 0, 0);
	close(fd);
	remove_folder();
}

static void test_sealed(void)
{
	int fd;

	make_folder();
	fd = compile("exit_group\n", LAUNCH_SECCOMP_ENFORCE);
	CHECK(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
	CHECK(ftruncate(fd, 0) < 0 && errno == EPERM);
	CHECK_INT(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	remove_folder();
}

static void check_error(const char *text, const char *want)
{
	struct errors errors;

	errors_init(&errors);
	write_policy("t.policy", text);
	CHECK_INT(policy_compile(folder, "t.policy", LAUNCH_SECCOMP_ENFORCE, &errors), -1);
	CHECK_INT(errors.count, 1);
	CHECK_HAS(errors.line[0], want);
	errors_finish(&errors);
}

static void test_errors(void)
{
	make_folder();
	write_policy("a.policy", "@include b.policy\n");
	write_policy("b.policy", "@include a.policy\n");
	check_error("", "allows nothing");
	check_error("# only this\n", "allows nothing");
	check_error("read\nreed\n", "t.policy:2: no system call is named reed; did you mean read?");
	check_error("read: arg6 == 1\n", "t.policy:1: a condition begins with arg0 to arg5, not with \"arg6\"");
	check_error("read: fd == 1\n", "not with \"fd\"");
	check_error("read: arg0\n", "one of == != <= >= < > should be at \"\"");
	check_error("read: arg0 = 1\n", "should be at \"= 1\"");
	check_error("read: arg0 == KIKC\n", "unknown constant KIKC; did you mean KICK?");
	check_error("read: arg0 == 12z\n", "\"12z\" is no number");
	check_error("read: arg0 == 0x1ffffffffffffffff\n", "is no number of 64 bits");
	check_error("read: arg0 == \n", "a number or a constant should be at");
	check_error("read: arg0 == (1 | 2\n", "\")\" is missing");
	check_error("read: arg0 == 1 && arg0 == 2\n", "arg0 is twice in one alternative");
	check_error("read: arg0 & 3 != 1\n", "behind a mask only == can follow");
	check_error("read: arg0 & 3 == 4\n", "never true: 0x4 has bits outside the mask 0x3");
	check_error("read: arg0 == 1 arg1 == 2\n", "&& or || should be at \"arg1 == 2\"");
	check_error("read arg0 == 1\n", "\":\" should be at \"arg0 == 1\"");
	check_error("read:\n", "a condition begins with");
	check_error("read: arg0 == 1 ||\n", "a condition begins with");
	check_error(": arg0\n", "a line begins with the name of a system call");
	check_error("read\n\nread: arg0 == 1\n", "t.policy:3: read is in t.policy:1 too");
	check_error("read: arg0 == 1\nread\n", "t.policy:2: read is in t.policy:1 too");
	check_error("read\n@include ../x\n", "t.policy:2: @include takes the name of one file");
	check_error("read\n@include\n", "@include takes the name of one file");
	check_error("read\n@include common.policy\n", "t.policy:2: cannot read");
	check_error("read\n@include a.policy\n", "files include each other");
	check_error("arm_fadvise64_64\nread\n", "t.policy:1: this architecture has no system call arm_fadvise64_64");
	close(compile("read\narm_fadvise64_64?\narm_fadvise64_64?: arg0 == 1\n", LAUNCH_SECCOMP_ENFORCE));
	remove_folder();
}

static void test_every_error_at_once(void)
{
	struct errors errors;

	make_folder();
	errors_init(&errors);
	write_policy("common.policy", "wriet\n");
	write_policy("t.policy", "reed\n@include common.policy\nread: arg9 == 1\n");
	CHECK_INT(policy_compile(folder, "t.policy", LAUNCH_SECCOMP_ENFORCE, &errors), -1);
	CHECK_INT(errors.count, 3);
	CHECK_HAS(errors.line[0], "t.policy:1:");
	CHECK_HAS(errors.line[1], "common.policy:1: no system call is named wriet; did you mean write?");
	CHECK_HAS(errors.line[2], "t.policy:3:");
	errors_finish(&errors);
	errors_init(&errors);
	CHECK_INT(policy_compile(folder, "none.policy", LAUNCH_SECCOMP_ENFORCE, &errors), -1);
	CHECK_INT(errors.count, 1);
	CHECK_HAS(errors.line[0], "none.policy: No such file");
	errors_finish(&errors);
	remove_folder();
}

/* The policies that we ship. */
static void test_our_own(void)
{
	const char *const names[] = {"common.policy", "hvisor-blk.policy", "hvisor-net.policy", "hvisor-rng.policy",
				     "hvisor-console.policy"};
	struct errors errors;
	size_t i;
	int fd;

	errors_init(&errors);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		fd = policy_compile("policy", names[i], LAUNCH_SECCOMP_ENFORCE, &errors);
		errors_print(&errors, stderr, "");
		CHECK(fd >= 0);
		KILLED(fd, openat, -100, "/", 0);
		KILLED(fd, socket, 1, 1, 0);
		KILLED(fd, execve, "/bin/sh", 0, 0);
		KILLED(fd, mmap, 0, 4096, PROT_READ | PROT_EXEC);
		close(fd);
	}
	errors_finish(&errors);
}

/* Of a tap's settings a network backend gets at those that it needs, and at its own tap only. */
static void test_net(void)
{
	static const unsigned long forbidden[] = {TUNSETIFF,        TUNGETIFF,          TUNSETPERSIST,   TUNSETOWNER,
						  TUNSETGROUP,      TUNSETSNDBUF,       TUNSETVNETHDRSZ, TUNSETTXFILTER,
						  TUNSETFILTEREBPF, TUNSETSTEERINGEBPF, FIONREAD,        SIOCSIFFLAGS};
	struct errors errors;
	size_t i;
	int fd, device;

	errors_init(&errors);
	fd = policy_compile("policy", "hvisor-net.policy", LAUNCH_SECCOMP_ENFORCE, &errors);
	CHECK(fd >= 0);
	for (i = 0; i < 8; i++) {
		device = BACKEND_FD_DEVICE + (int)i;
		ALLOWED(fd, readv, device, 0, 0);
		ALLOWED(fd, writev, device, 0, 0);
		ALLOWED(fd, read, device, 0, 0);
		KILLED(fd, write, device, 0, 0);
		KILLED(fd, close, device, 0, 0);
		if (i > 0) {
			ALLOWED(fd, ioctl, device, TUNSETQUEUE, 0);
			KILLED(fd, ioctl, device, TUNSETOFFLOAD, 0);
			KILLED(fd, ioctl, device, TUNSETCARRIER, 0);
		}
	}
	/* The first queue holds the tap: it stays attached. */
	KILLED(fd, ioctl, BACKEND_FD_DEVICE, TUNSETQUEUE, 0);
	ALLOWED(fd, ioctl, BACKEND_FD_DEVICE, TUNSETOFFLOAD, 0);
	ALLOWED(fd, ioctl, BACKEND_FD_DEVICE, TUNSETCARRIER, 0);
	for (i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		KILLED(fd, ioctl, BACKEND_FD_DEVICE, forbidden[i], 0);
	KILLED(fd, readv, BACKEND_FD_KICK, 0, 0);
	KILLED(fd, writev, BACKEND_FD_LOG, 0, 0);
	KILLED(fd, readv, BACKEND_FD_DEVICE + 8, 0, 0);
	KILLED(fd, writev, BACKEND_FD_DEVICE - 1, 0, 0);
	KILLED(fd, socket, AF_PACKET, SOCK_RAW, 0);
	close(fd);
	errors_finish(&errors);
}

/* A console backend moves bytes between its endpoints and its memory, and can read or write none of them otherwise. */
static void test_console(void)
{
	const int memory = CONSOLE_FD(CONSOLE_PLACE_MEMORY);
	const int pipe = CONSOLE_FD(CONSOLE_PLACE_PIPE);
	const int pipe_in = CONSOLE_FD(CONSOLE_PLACE_PIPE_IN);
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct errors errors;
	int fd, i;

	errors_init(&errors);
	fd = policy_compile("policy", "hvisor-console.policy", LAUNCH_SECCOMP_ENFORCE, &errors);
	CHECK(fd >= 0);
	for (i = 0; i < (int)CONSOLE_PORTS_MAX; i++) {
		const int port = CONSOLE_FD(CONSOLE_PLACE_PORT + i);
		const int log = CONSOLE_FD(CONSOLE_PLACE_LOG + i);

		ALLOWED(fd, sendfile, port, memory, 0);
		ALLOWED(fd, sendfile, log, memory, 0);
		KILLED(fd, sendfile, memory, port, 0);
		ALLOWED6(fd, splice, port, 0, pipe_in, 0, 1, SPLICE_F_NONBLOCK);
		KILLED6(fd, splice, port, 0, pipe_in, 0, 1, 0);
		KILLED6(fd, splice, port, 0, memory, 0, 1, SPLICE_F_NONBLOCK);
		KILLED6(fd, splice, log, 0, pipe_in, 0, 1, SPLICE_F_NONBLOCK);
		KILLED(fd, read, port, 0, 0);
		KILLED(fd, write, port, 0, 0);
		ALLOWED(fd, ioctl, port, TIOCGWINSZ, 0);
		KILLED(fd, ioctl, port, TIOCSWINSZ, 0);
		KILLED(fd, ioctl, port, TIOCSTI, 0);
		KILLED(fd, ioctl, port, TIOCSCTTY, 0);
		KILLED(fd, accept4, port, 0, 0);
	}
	ALLOWED6(fd, splice, pipe, 0, memory, 0, 1, SPLICE_F_NONBLOCK);
	ALLOWED(fd, fallocate, memory, punch, 0);
	KILLED(fd, fallocate, memory, 0, 0);
	KILLED(fd, fallocate, BACKEND_FD_DEVICE, punch, 0);
	ALLOWED(fd, read, CONSOLE_FD(CONSOLE_PLACE_NEWS), 0, 0);
	KILLED(fd, read, pipe, 0, 0);
	KILLED(fd, inotify_add_watch, CONSOLE_FD(CONSOLE_PLACE_NEWS), 0, 0);
	close(fd);
	errors_finish(&errors);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"policy_unconditional", test_unconditional, 0},
		{"policy_operators", test_operators, 0},
		{"policy_alternatives", test_alternatives, 0},
		{"policy_constants", test_constants, 0},
		{"policy_log_mode", test_log_mode, 0},
		{"policy_sealed", test_sealed, 0},
		{"policy_errors", test_errors, 0},
		{"policy_every_error_at_once", test_every_error_at_once, 0},
		{"policy_our_own", test_our_own, 0},
		{"policy_net", test_net, 0},
		{"policy_console", test_console, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
