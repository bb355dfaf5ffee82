/* SPDX-License-Identifier: MIT */
#include "tests/sim/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#define LIMIT_MS 30000
#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT)

/* Calls by which a process learns something, or changes nothing but itself. */
static const long harmless[] = {
	SYS_read,
	SYS_pread64,
	SYS_readv,
	SYS_fstat,
	SYS_newfstatat,
	SYS_lseek,
	SYS_mmap,
	SYS_munmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_brk,
	SYS_madvise,
	SYS_getpid,
	SYS_gettid,
	SYS_geteuid,
	SYS_getuid,
	SYS_getegid,
	SYS_getgid,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_getrandom,
	SYS_futex,
	SYS_faccessat,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_uname,
	SYS_ppoll,
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_epoll_create1,
	SYS_prlimit64,
	SYS_recvmsg,
	SYS_recvfrom,
	SYS_getsockopt,
	SYS_getsockname,
	SYS_statfs,
	SYS_fstatfs,
	SYS_set_tid_address,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_prctl,
	SYS_execve,
	SYS_pidfd_open,
	SYS_pidfd_getfd,
	SYS_eventfd2,
	SYS_signalfd4,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_pipe2,
	SYS_memfd_create,
	SYS_dup,
	SYS_dup3,
	SYS_capget,
	SYS_inotify_init1,
	SYS_sysinfo,
	SYS_sched_getaffinity,
#ifdef __x86_64__
	SYS_stat,
	SYS_lstat,
	SYS_access,
	SYS_readlink,
	SYS_poll,
	SYS_epoll_wait,
	SYS_arch_prctl,
	SYS_dup2,
	SYS_time,
#endif
};

static bool changes_the_world(const struct __ptrace_syscall_info *info)
{
	long nr = (long)info->entry.nr;
	size_t i;

	if (nr == SYS_openat)
		return info->entry.args[2] & (O_CREAT | O_TRUNC);
#ifdef __x86_64__
	if (nr == SYS_open)
		return info->entry.args[1] & (O_CREAT | O_TRUNC);
#endif
	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
		if (nr == harmless[i])
			return false;
	}
	return true;
}

static bool waits(const struct __ptrace_syscall_info *info)
{
#ifdef __x86_64__
	if (info->entry.nr == SYS_epoll_wait)
		return true;
#endif
	return info->entry.nr == SYS_epoll_pwait;
}

static int await_stop(const struct calls *calls)
{
	int status;

	CHECK_INT(waitpid(calls->pid, &status, __WALL), calls->pid);
	if (!WIFSTOPPED(status))
		TEST_FAIL("process %d has ended by itself: 0x%x", calls->pid, status);
	return status;
}

void calls_attach(struct calls *calls, pid_t pid)
{
	*calls = (struct calls){.pid = pid};
	if (ptrace(PTRACE_SEIZE, pid, NULL, OPTIONS) != 0)
		TEST_FAIL("ptrace of process %d: %s", pid, strerror(errno));
	CHECK_INT(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	await_stop(calls);
}

void calls_attach_child(struct calls *calls, pid_t pid)
{
	*calls = (struct calls){.pid = pid};
	CHECK_INT(WSTOPSIG(await_stop(calls)), SIGSTOP);
	CHECK_INT(ptrace(PTRACE_SETOPTIONS, pid, NULL, OPTIONS), 0);
}

/* Kills it and lets it die, which is left to be waited for. */
static void calls_kill(struct calls *calls)
{
	siginfo_t info;

	CHECK_INT(kill(calls->pid, SIGKILL), 0);
	for (;;) {
		CHECK_INT(waitid(P_PID, (id_t)calls->pid, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL), 0);
		if (info.si_code == CLD_KILLED)
			return;
		await_stop(calls);
		ptrace(PTRACE_CONT, calls->pid, NULL, NULL);
	}
}

struct watch {
	struct calls *calls;
	bool waiting; /* at the last look it was to wait for events */
	bool poked;
	bool (*done)(void *arg);
	void *arg;
};

/* It stands still. One that waits for events and has done its work is told to stand still, by a signal that it ignores.
 */
static int has_stopped(void *arg)
{
	struct watch *watch = arg;
	siginfo_t info = {0};

	CHECK_INT(waitid(P_PID, (id_t)watch->calls->pid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL), 0);
	if (info.si_pid)
		return 1;
	if (watch->waiting && !watch->poked && watch->done(watch->arg)) {
		watch->poked = true;
		CHECK_INT(kill(watch->calls->pid, SIGURG), 0);
	}
	return 0;
}

/* Stopped for a call: true if it is killed before it. */
static bool stopped_for_call(struct watch *watch, uint32_t n)
{
	struct calls *calls = watch->calls;
	struct __ptrace_syscall_info info;

	CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, calls->pid, sizeof(info), &info) > 0);
	watch->waiting = info.op == PTRACE_SYSCALL_INFO_ENTRY && waits(&info);
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes_the_world(&info) || ++calls->made < n)
		return false;
	calls->last = (long)info.entry.nr;
	calls_kill(calls);
	return true;
}

bool calls_run(struct calls *calls, uint32_t n, bool (*done)(void *arg), void *arg)
{
	struct watch watch = {.calls = calls, .done = done, .arg = arg};
	int signal = 0;
	int status;

	for (;;) {
		CHECK_INT(ptrace(PTRACE_SYSCALL, calls->pid, NULL, signal), 0);
		if (watch.waiting && !test_wait(has_stopped, &watch, LIMIT_MS))
			TEST_FAIL("process %d neither does what it is to do nor makes a call", calls->pid);
		status = await_stop(calls);
		signal = 0;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (stopped_for_call(&watch, n))
				return true;
		} else if (watch.poked || status >> 16 == PTRACE_EVENT_EXIT) {
			break;
		} else if (WSTOPSIG(status) != SIGTRAP && status >> 16 == 0) {
			signal = WSTOPSIG(status);
		}
	}
	CHECK_INT(ptrace(PTRACE_DETACH, calls->pid, NULL, NULL), 0);
	return false;
}
