/* SPDX-License-Identifier: MIT */
/*
 * What a running backend finds at the beginning of its zone's memory: it is stopped and made to load a word from there,
 * and then goes on as if nothing had been. Prints "memory WORD" or "nothing".
 * usage: reach PID
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define MEMORY_OFFSET (1ull << 40) /* kmod/memory.c */
#define LOAD_AND_TRAP 0xd4200000b9400020ull /* ldr w0, [x1]; brk #0 */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t memory_address(const char *pid)
{
	unsigned long long begin, end, offset;
	char path[64], line[512], perms[8];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "r");
	if (!maps)
		fail(path);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx %7s %llx", &begin, &end, perms, &offset) == 4 && strstr(line, "hvisor") &&
		    offset >= MEMORY_OFFSET)
			return begin;
	}
	fprintf(stderr, "%s: no mapping of a zone's memory\n", path);
	exit(1);
}

static int wait_stop(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) {
		fprintf(stderr, "reach: %d does not stop\n", pid);
		exit(1);
	}
	return WSTOPSIG(status);
}

int main(int argc, char **argv)
{
	pid_t pid = argc == 2 ? atoi(argv[1]) : 0;
	uint64_t address = memory_address(argc == 2 ? argv[1] : "0");
	struct user_regs_struct saved, regs;
	struct iovec iov = {&saved, sizeof(saved)};
	long text;
	int number;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) != 0)
		fail("ptrace");
	wait_stop(pid);
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov) != 0)
		fail("its registers");
	errno = 0;
	text = ptrace(PTRACE_PEEKTEXT, pid, saved.pc, 0);
	if (errno || ptrace(PTRACE_POKETEXT, pid, saved.pc, LOAD_AND_TRAP) != 0)
		fail("its program");
	regs = saved;
	regs.regs[1] = address;
	iov.iov_base = &regs;
	if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) != 0 || ptrace(PTRACE_CONT, pid, 0, 0) != 0)
		fail("its registers");
	number = wait_stop(pid);
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov) != 0)
		fail("its registers");
	iov.iov_base = &saved;
	if (ptrace(PTRACE_POKETEXT, pid, saved.pc, text) != 0 ||
	    ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) != 0 || ptrace(PTRACE_DETACH, pid, 0, 0) != 0)
		fail("to go on");
	if (number == SIGTRAP)
		printf("memory %08x\n", __builtin_bswap32((uint32_t)regs.regs[0]));
	else if (number == SIGBUS)
		printf("nothing\n");
	else
		printf("signal %d\n", number);
	return 0;
}
