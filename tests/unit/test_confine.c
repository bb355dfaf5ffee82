/* SPDX-License-Identifier: MIT */
/* Each test is a process of its own, which confines itself for good. */
#include "common/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "common/log.h"
#include "tests/test.h"

static const struct sock_filter allow_all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

/* One system call fails with err, all others are allowed. */
struct deny {
	struct sock_filter program[4];
};

static struct deny deny_one(int number, uint32_t action)
{
	const struct deny deny = {{
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	}};

	return deny;
}

static int make_policy(const void *program, size_t size)
{
	int fd = memfd_create("policy", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, program, size), size);
	return fd;
}

/* confine_self() with its log in text. */
static int confine(int policy_fd, char *text, size_t size)
{
	int saved = fcntl(BACKEND_FD_LOG, F_DUPFD_CLOEXEC, 10);
	int log[2];
	ssize_t n;
	int err;

	CHECK_INT(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
	log_set_level(LOG_DEBUG);
	dup2(log[1], BACKEND_FD_LOG);
	err = confine_self(policy_fd);
	dup2(saved, BACKEND_FD_LOG);
	n = read(log[0], text, size - 1);
	text[n > 0 ? n : 0] = 0;
	close(log[0]);
	close(log[1]);
	return err;
}

static void check_refused(int fd, int err, const char *log)
{
	char text[1024];

	CHECK_INT(confine(fd, text, sizeof(text)), err);
	CHECK_HAS(text, log);
	CHECK_INT(access("/", R_OK), 0);
}

static void test_bad_programs(void)
{
	static struct sock_filter large[BPF_MAXINSNS + 1];
	size_t i;

	check_refused(200, -EBADF, "Bad file descriptor");
	check_refused(make_policy("", 0), -EINVAL, "has 0 bytes");
	check_refused(make_policy(allow_all, 7), -EINVAL, "has 7 bytes, not a multiple of 8 up to 32768");
	for (i = 0; i <= BPF_MAXINSNS; i++)
		large[i] = allow_all[0];
	check_refused(make_policy(large, sizeof(large)), -EINVAL, "has 32776 bytes");
}

/* What the kernel refuses is known only when the rest is in force. */
static void test_refused_program(void)
{
	static const struct sock_filter no_end[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
	char text[1024];

	CHECK_INT(confine(make_policy(no_end, sizeof(no_end)), text, sizeof(text)), -EINVAL);
	CHECK_HAS(text, "the seccomp program was refused: Invalid argument");
}

static void test_program_is_loaded(void)
{
	struct deny deny = deny_one(SCMP_SYS(getppid), SECCOMP_RET_ERRNO | ENOTNAM);
	int fd = make_policy(&deny, sizeof(deny));
	char text[1024];

	CHECK_INT(confine(fd, text, sizeof(text)), 0);
	CHECK_INT(syscall(SYS_getppid), -1);
	CHECK_INT(errno, ENOTNAM);
	CHECK_INT(fcntl(fd, F_GETFD), -1);
	CHECK_INT(errno, EBADF);
	CHECK_INT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_INT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
}

static void check_denied(int result, int err)
{
	CHECK_INT(result, -1);
	CHECK_INT(errno, err);
}

/* Each right of the file system, in the working folder where there is a file "file"; and those that came later. */
static void check_no_rights(long abi)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int open_before = open("file", O_RDWR | O_CLOEXEC);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char text[1024];

	CHECK_INT(confine(make_policy(allow_all, sizeof(allow_all)), text, sizeof(text)), 0);
	if (abi < 0) {
		CHECK_HAS(text, "<2>landlock: not in this kernel\n");
		return;
	}
	CHECK_HAS(text, "<3>landlock: ABI ");
	check_denied(open("file", O_RDONLY), EACCES);
	check_denied(open("file", O_WRONLY), EACCES);
	check_denied(openat(root, ".", O_RDONLY | O_DIRECTORY), EACCES);
	check_denied(execl("/bin/true", "true", NULL), EACCES);
	check_denied(mkdir("new", 0700), EACCES);
	check_denied(mknod("new", S_IFREG | 0600, 0), EACCES);
	check_denied(mknod("new", S_IFIFO | 0600, 0), EACCES);
	check_denied(mknod("new", S_IFSOCK | 0600, 0), EACCES);
	check_denied(symlink("file", "new"), EACCES);
	check_denied(unlink("file"), EACCES);
	check_denied(rename("file", "folder/file"), abi >= 2 ? EACCES : EXDEV);
	check_denied(rmdir("folder"), EACCES);
	if (abi >= 3)
		check_denied(truncate("file", 0), EACCES);
	if (abi >= 4) {
		check_denied(bind(tcp, (struct sockaddr *)&address, sizeof(address)), EACCES);
		address.sin_port = htons(1);
		check_denied(connect(tcp, (struct sockaddr *)&address, sizeof(address)), EACCES);
	}
	if (abi >= 6)
		check_denied(kill(getppid(), 0), EPERM);
	/* What was opened before stays. */
	CHECK_INT(ftruncate(open_before, 4096), 0);
	CHECK_INT(pwrite(open_before, "x", 1, 0), 1);
}

static void test_landlock_takes_every_right(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	char folder[] = "/tmp/test_confine.XXXXXX";
	int status;
	pid_t pid;

	CHECK(mkdtemp(folder) && chdir(folder) == 0);
	CHECK_INT(mkdir("folder", 0700), 0);
	CHECK_INT(mknod("file", S_IFREG | 0600, 0), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_no_rights(abi);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	unlink("folder/file");
	unlink("file");
	unlink("new");
	rmdir("new");
	rmdir("folder");
	rmdir(folder);
	CHECK_INT(status, 0);
}

static void test_kernel_without_landlock(void)
{
	static const int errors[] = {ENOSYS, EOPNOTSUPP};
	struct deny deny;
	struct sock_fprog filter = {.len = 4, .filter = deny.program};
	char text[1024];
	int status;
	size_t i;

	for (i = 0; i < 2; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			deny = deny_one(SYS_landlock_create_ruleset, SECCOMP_RET_ERRNO | (uint32_t)errors[i]);
			CHECK_INT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
			CHECK_INT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), 0);
			deny = deny_one(SCMP_SYS(getppid), SECCOMP_RET_KILL_PROCESS);
			CHECK_INT(confine(make_policy(&deny, sizeof(deny)), text, sizeof(text)), 0);
			CHECK_STR(text, "<2>landlock: not in this kernel\n");
			syscall(SYS_getppid);
			_exit(1);
		}
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK(WIFSIGNALED(status));
		CHECK_INT(WTERMSIG(status), SIGSYS);
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"confine_bad_programs", test_bad_programs, 0},
		{"confine_refused_program", test_refused_program, 0},
		{"confine_program_is_loaded", test_program_is_loaded, 0},
		{"confine_landlock_takes_every_right", test_landlock_takes_every_right, 0},
		{"confine_kernel_without_landlock", test_kernel_without_landlock, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
