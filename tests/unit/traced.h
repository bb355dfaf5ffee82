/* SPDX-License-Identifier: MIT */
/* A function in a child, run instruction by instruction: what memory shows in between is what others can see. */
#ifndef HVISOR_TESTS_TRACED_H
#define HVISOR_TESTS_TRACED_H

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

/* A child that is stopped just before it calls run(), after which it ends. */
static inline pid_t start_traced(void (*run)(void))
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		syscall(SYS_kill, getpid(), SIGSTOP);
		run();
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSTOPPED(status));
	return pid;
}

/* Lets it run one instruction. */
static inline void step_traced(pid_t pid)
{
	int status;

	CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSTOPPED(status));
}

/* Lets it run to its end. */
static inline void finish_traced(pid_t pid)
{
	int status;

	CHECK_INT(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
}

#endif
