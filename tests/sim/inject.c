/* SPDX-License-Identifier: MIT */
#include "tests/sim/inject.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tests/test.h"

#if defined(__x86_64__)
static const uint8_t syscall_instruction[] = {0x0f, 0x05};
static const uint8_t jump_to_itself[] = {0xeb, 0xfe};

static void set_call(struct user_regs_struct *regs, uint64_t pc, long nr, const uint64_t arg[6])
{
	regs->rip = pc;
	regs->rax = (uint64_t)nr;
	regs->orig_rax = (uint64_t)-1; /* the call that was interrupted is not restarted */
	regs->rdi = arg[0];
	regs->rsi = arg[1];
	regs->rdx = arg[2];
	regs->r10 = arg[3];
	regs->r8 = arg[4];
	regs->r9 = arg[5];
}

static long result_of(const struct user_regs_struct *regs)
{
	return (long)regs->rax;
}

static uint64_t stack_of(const struct user_regs_struct *regs)
{
	return regs->rsp;
}
#elif defined(__aarch64__)
static const uint8_t syscall_instruction[] = {0x01, 0x00, 0x00, 0xd4};
static const uint8_t jump_to_itself[] = {0x00, 0x00, 0x00, 0x14};

static void set_call(struct user_regs_struct *regs, uint64_t pc, long nr, const uint64_t arg[6])
{
	regs->pc = pc;
	regs->regs[8] = (uint64_t)nr;
	memcpy(regs->regs, arg, 6 * sizeof(*arg));
}

static long result_of(const struct user_regs_struct *regs)
{
	return (long)regs->regs[0];
}

static uint64_t stack_of(const struct user_regs_struct *regs)
{
	return regs->sp;
}
#else
#error "no way to make another process call on this architecture"
#endif

/* The next stop of the process: its signal, or 0 when it has ended. */
static int await_stop(struct inject *inject)
{
	int status;

	CHECK_INT(waitpid(inject->pid, &status, __WALL), inject->pid);
	if (WIFSTOPPED(status))
		return WSTOPSIG(status);
	inject->ended = 1;
	inject->status = status;
	return 0;
}

static void get_regs(struct inject *inject, struct user_regs_struct *regs)
{
	struct iovec iov = {regs, sizeof(*regs)};

	CHECK_INT(ptrace(PTRACE_GETREGSET, inject->pid, NT_PRSTATUS, &iov), 0);
}

static void set_regs(struct inject *inject, struct user_regs_struct *regs)
{
	struct iovec iov = {regs, sizeof(*regs)};

	CHECK_INT(ptrace(PTRACE_SETREGSET, inject->pid, NT_PRSTATUS, &iov), 0);
}

static void get_memory(struct inject *inject, uint64_t at, void *bytes, size_t len)
{
	struct iovec here = {bytes, len};
	struct iovec there = {(void *)(uintptr_t)at, len};

	CHECK_INT(process_vm_readv(inject->pid, &here, 1, &there, 1, 0), len);
}

/* Looks through what the process has mapped executable. */
static uint64_t find_syscall(struct inject *inject)
{
	unsigned long long begin, end;
	uint64_t found = 0;
	char path[64];
	char line[512];
	uint8_t *bytes;
	uint8_t *at;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", inject->pid);
	maps = fopen(path, "re");
	CHECK(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx r-xp", &begin, &end) != 2 || !strstr(line, " r-xp ") || strstr(line, "[v"))
			continue;
		bytes = malloc(end - begin);
		CHECK(bytes);
		get_memory(inject, begin, bytes, end - begin);
		at = memmem(bytes, end - begin, syscall_instruction, sizeof(syscall_instruction));
		if (at)
			found = begin + (uint64_t)(at - bytes);
		free(bytes);
	}
	fclose(maps);
	CHECK(found);
	return found;
}

void inject_open(struct inject *inject, pid_t pid)
{
	struct user_regs_struct regs = {0};

	memset(inject, 0, sizeof(*inject));
	CHECK(pid > 0);
	inject->pid = pid;
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) != 0)
		TEST_FAIL("ptrace of process %d: %s", pid, strerror(errno));
	CHECK_INT(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	CHECK_INT(await_stop(inject), SIGTRAP);
	inject->syscall = find_syscall(inject);
	get_regs(inject, &regs);
	/* Below what the interrupted function may use without moving its stack pointer. */
	inject->scratch = (stack_of(&regs) - 2 * INJECT_SCRATCH) & ~(uint64_t)15;
}

void inject_close(struct inject *inject)
{
	if (!inject->ended) {
		kill(inject->pid, SIGKILL);
		while (await_stop(inject))
			ptrace(PTRACE_CONT, inject->pid, NULL, NULL);
	}
}

long inject_call(struct inject *inject, long nr, const uint64_t arg[6])
{
	struct user_regs_struct regs = {0};
	int stops = 0;
	int signal;

	if (inject->ended)
		return -ESRCH;
	get_regs(inject, &regs);
	set_call(&regs, inject->syscall, nr, arg);
	set_regs(inject, &regs);
	/* Once when the call begins and once when it has ended; other signals are not delivered. */
	while (stops < 2) {
		CHECK_INT(ptrace(PTRACE_SYSCALL, inject->pid, NULL, NULL), 0);
		signal = await_stop(inject);
		if (signal == 0)
			return -ESRCH;
		stops += signal == (SIGTRAP | 0x80);
	}
	get_regs(inject, &regs);
	return result_of(&regs);
}

void inject_leave_spinning(struct inject *inject)
{
	const uint64_t none[6] = {0};
	struct user_regs_struct regs = {0};
	long word;

	get_memory(inject, inject->syscall, &word, sizeof(word));
	memcpy(&word, jump_to_itself, sizeof(jump_to_itself));
	/* Only ptrace may write where the process may not. */
	CHECK_INT(ptrace(PTRACE_POKETEXT, inject->pid, inject->syscall, word), 0);
	get_regs(inject, &regs);
	set_call(&regs, inject->syscall, 0, none);
	set_regs(inject, &regs);
	CHECK_INT(ptrace(PTRACE_DETACH, inject->pid, NULL, NULL), 0);
}

uint64_t inject_put(struct inject *inject, uint32_t offset, const void *bytes, size_t len)
{
	struct iovec here = {(void *)(uintptr_t)bytes, len};
	struct iovec there = {(void *)(uintptr_t)(inject->scratch + offset), len};

	CHECK(offset + len <= INJECT_SCRATCH);
	CHECK_INT(process_vm_writev(inject->pid, &here, 1, &there, 1, 0), len);
	return inject->scratch + offset;
}

void inject_get(struct inject *inject, uint32_t offset, void *bytes, size_t len)
{
	CHECK(offset + len <= INJECT_SCRATCH);
	get_memory(inject, inject->scratch + offset, bytes, len);
}
