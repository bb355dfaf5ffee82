/* SPDX-License-Identifier: MIT */
#include "tests/sim/faulty.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tests/test.h"

/* PTRACE_GETREGSET's NT_PRSTATUS of the process that is stopped. */
static void regs_get(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec iov = {regs, sizeof(*regs)};

	CHECK_INT(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov), 0);
}

static void regs_set(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec iov = {regs, sizeof(*regs)};

	CHECK_INT(ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov), 0);
}

static void call_set_result(pid_t pid, long result)
{
	struct user_regs_struct regs = {0};

	regs_get(pid, &regs);
#if defined(__x86_64__)
	regs.rax = (unsigned long long)result;
#elif defined(__aarch64__)
	regs.regs[0] = (unsigned long long)result;
#else
#error "no way to change another process's calls on this architecture"
#endif
	regs_set(pid, &regs);
}

/* The third argument: the length, or the number of buffers. */
static void call_set_length(pid_t pid, uint64_t length)
{
	struct user_regs_struct regs = {0};

	regs_get(pid, &regs);
#if defined(__x86_64__)
	regs.rdx = length;
#else
	regs.regs[2] = length;
#endif
	regs_set(pid, &regs);
}

static void iov_put(const struct faulty *faulty, const struct iovec *value)
{
	struct iovec here = {(void *)(uintptr_t)value, sizeof(*value)};
	struct iovec there = {(void *)(uintptr_t)faulty->iov_at, sizeof(*value)};

	CHECK_INT(process_vm_writev(faulty->pid, &here, 1, &there, 1, 0), sizeof(*value));
}

static void shorten_vector(struct faulty *faulty, uint64_t at)
{
	struct iovec here = {&faulty->iov, sizeof(faulty->iov)};
	struct iovec there = {(void *)(uintptr_t)at, sizeof(faulty->iov)};
	struct iovec half;

	CHECK_INT(process_vm_readv(faulty->pid, &here, 1, &there, 1, 0), sizeof(faulty->iov));
	half = (struct iovec){faulty->iov.iov_base, (faulty->iov.iov_len + 1) / 2};
	faulty->iov_at = at;
	iov_put(faulty, &half);
	call_set_length(faulty->pid, 1);
}

static bool call_is_file_io(uint64_t nr)
{
	return nr == SYS_pread64 || nr == SYS_pwrite64 || nr == SYS_preadv2 || nr == SYS_pwritev2 ||
	       nr == SYS_fdatasync;
}

static void on_entry(struct faulty *faulty, const struct __ptrace_syscall_info *info)
{
	uint64_t nr = info->entry.nr;

	faulty->failing = 0;
	faulty->iov_at = 0;
	if (!call_is_file_io(nr))
		return;
	if (__atomic_add_fetch(&faulty->calls, 1, __ATOMIC_RELAXED) %
	    __atomic_load_n(&faulty->period, __ATOMIC_RELAXED))
		return;
	faulty->failing = __atomic_load_n(&faulty->error, __ATOMIC_RELAXED);
	if (faulty->failing) {
		/* Nothing is done. The policy would kill for a number that is none, which is how ptrace leaves out a
		 * call. */
		if (nr != SYS_fdatasync)
			call_set_length(faulty->pid, 0);
	} else if (__atomic_load_n(&faulty->shorten, __ATOMIC_RELAXED) && nr != SYS_fdatasync) {
		if (nr == SYS_preadv2 || nr == SYS_pwritev2)
			shorten_vector(faulty, info->entry.args[1]);
		else
			call_set_length(faulty->pid, (info->entry.args[2] + 1) / 2);
	} else {
		return;
	}
	__atomic_fetch_add(&faulty->faults, 1, __ATOMIC_RELAXED);
}

static void on_exit_of_call(struct faulty *faulty)
{
	if (faulty->failing)
		call_set_result(faulty->pid, -faulty->failing);
	if (faulty->iov_at)
		iov_put(faulty, &faulty->iov);
	faulty->failing = 0;
	faulty->iov_at = 0;
}

static void *run(void *arg)
{
	struct faulty *faulty = arg;
	struct __ptrace_syscall_info info;
	int signal = 0;
	int status;

	if (ptrace(PTRACE_SEIZE, faulty->pid, NULL, PTRACE_O_TRACESYSGOOD) != 0)
		TEST_FAIL("ptrace of process %d: %s", faulty->pid, strerror(errno));
	CHECK_INT(ptrace(PTRACE_INTERRUPT, faulty->pid, NULL, NULL), 0);
	sem_post(&faulty->attached);
	for (;;) {
		if (waitpid(faulty->pid, &status, __WALL) != faulty->pid || !WIFSTOPPED(status))
			return NULL;
		signal = 0;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			memset(&info, 0, sizeof(info));
			CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, faulty->pid, sizeof(info), &info) > 0);
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
				on_entry(faulty, &info);
			else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
				on_exit_of_call(faulty);
		} else if (status >> 16 == 0 && WSTOPSIG(status) != SIGURG) {
			signal = WSTOPSIG(status);
		}
		if (__atomic_load_n(&faulty->stop, __ATOMIC_RELAXED) && !faulty->failing && !faulty->iov_at)
			break;
		if (ptrace(PTRACE_SYSCALL, faulty->pid, NULL, signal) != 0)
			return NULL;
	}
	ptrace(PTRACE_DETACH, faulty->pid, NULL, signal);
	return NULL;
}

void faulty_begin(struct faulty *faulty, pid_t pid)
{
	faulty->pid = pid;
	faulty->stop = false;
	faulty->calls = faulty->faults = 0;
	CHECK_INT(sem_init(&faulty->attached, 0, 0), 0);
	CHECK_INT(pthread_create(&faulty->thread, NULL, run, faulty), 0);
	sem_wait(&faulty->attached);
}

void faulty_end(struct faulty *faulty)
{
	__atomic_store_n(&faulty->stop, true, __ATOMIC_RELAXED);
	/* One that it ignores, but that its tracer sees. */
	kill(faulty->pid, SIGURG);
	CHECK_INT(pthread_join(faulty->thread, NULL), 0);
}
