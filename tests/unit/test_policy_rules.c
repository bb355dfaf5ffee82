/* SPDX-License-Identifier: MIT */
/*
 * Every rule of every policy that we ship, read from the files themselves: what it allows is let through, and what
 * breaks any one of its conditions is not; nor is any call without a rule, or of another architecture. By the kernel,
 * with the program that a backend gets; and with every single bit of every argument by an interpreter of our own, which
 * the kernel's verdicts are compared with.
 *
 * It needs nothing but the policies: the virtual machine runs it too, on the kernel of another architecture.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/policy.h"
#include "launcher/policy_rules.h"
#include "tests/policy_model.h"
#include "tests/test.h"

/* The highest number of any architecture is below it. */
#define NUMBERS_END 1024
#define X32_BIT 0x40000000

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "which architecture do the policies hold for?"
#endif

static const uint32_t architectures[] = {AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, AUDIT_ARCH_ARM, AUDIT_ARCH_AARCH64,
					 AUDIT_ARCH_RISCV64};

/* A policy as its text has it, and as a backend loads it. */
struct subject {
	const char *name;
	struct policy_rule *first;
	struct sock_filter program[BPF_MAXINSNS];
	unsigned short len;
	unsigned int allowed; /* calls that the kernel let through */
	unsigned int forbidden; /* and that it did not */
};

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	CHECK(offset % 4 == 0 && offset + 4 <= sizeof(*data));
	memcpy(&word, (const char *)data + offset, sizeof(word));
	return word;
}

/* What a program says of a call: as much of classic BPF as libseccomp makes use of. */
static uint32_t interpret(const struct subject *subject, const struct seccomp_data *data)
{
	const struct sock_filter *at = subject->program;
	uint32_t a = 0;
	bool jump;

	for (;; at++) {
		CHECK(at < subject->program + subject->len);
		switch (at->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = load(data, at->k);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= at->k;
			continue;
		case BPF_RET | BPF_K:
			return at->k;
		case BPF_JMP | BPF_JA:
			at += at->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			jump = a == at->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			jump = a > at->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			jump = a >= at->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			jump = (a & at->k) != 0;
			break;
		default:
			TEST_FAIL("%s: instruction 0x%x is none that we know", subject->name, at->code);
		}
		at += jump ? at->jt : at->jf;
	}
}

/* Does the program let the call of an architecture through? If not, it kills the whole process. */
static bool passes(const struct subject *subject, uint32_t arch, long nr, const uint64_t arg[POLICY_ARGS])
{
	struct seccomp_data data = {.nr = (int)nr, .arch = arch};
	uint32_t action;

	memcpy(data.args, arg, sizeof(data.args));
	action = interpret(subject, &data);
	CHECK(action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_KILL_PROCESS);
	return action == SECCOMP_RET_ALLOW;
}

/*
 * Makes the call without a stack, so that rt_sigreturn finds none either, and dies by an instruction after it: a call
 * that was let through need not be allowed another one to say so.
 */
static _Noreturn void call_and_die(long nr, const uint64_t arg[POLICY_ARGS])
{
#if defined(__x86_64__)
	register uint64_t r10 __asm__("r10") = arg[3];
	register uint64_t r8 __asm__("r8") = arg[4];
	register uint64_t r9 __asm__("r9") = arg[5];

	__asm__ volatile("xor %%esp, %%esp\n\tsyscall\n\tud2"
			 :
			 : "a"(nr), "D"(arg[0]), "S"(arg[1]), "d"(arg[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "memory", "rcx", "r11");
#else
	register uint64_t x0 __asm__("x0") = arg[0];
	register uint64_t x1 __asm__("x1") = arg[1];
	register uint64_t x2 __asm__("x2") = arg[2];
	register uint64_t x3 __asm__("x3") = arg[3];
	register uint64_t x4 __asm__("x4") = arg[4];
	register uint64_t x5 __asm__("x5") = arg[5];
	register long x8 __asm__("x8") = nr;

	__asm__ volatile("mov x9, #0\n\tmov sp, x9\n\tsvc #0\n\tudf #0"
			 :
			 : "r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8)
			 : "memory", "x9");
#endif
	__builtin_unreachable();
}

#ifdef __x86_64__
/* The same through the door of 32-bit programs. */
static _Noreturn void call_32_and_die(long nr, const uint64_t arg[POLICY_ARGS])
{
	(void)arg;
	__asm__ volatile("int $0x80\n\tud2" : : "a"(nr), "b"(-1), "c"(-1), "d"(-1), "S"(-1), "D"(-1) : "memory");
	__builtin_unreachable();
}
#endif

/* The wait status of a child that makes the call under the program, and that has no open descriptor. */
static int run(struct subject *subject, bool filtered, void (*call)(long nr, const uint64_t arg[POLICY_ARGS]), long nr,
	       const uint64_t arg[POLICY_ARGS])
{
	struct sock_fprog filter = {.len = subject->len, .filter = subject->program};
	int status;
	pid_t pid;

	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0 || syscall(SYS_close_range, 0, ~0u, 0) < 0 ||
		    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			_exit(77);
		if (filtered && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
			_exit(77);
		call(nr, arg);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 77);
	return status;
}

static bool is_sigsys(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

/* The verdict of kernel and interpreter, which has to be this one. */
static void check_call(struct subject *subject, const struct policy_rule *rule, bool allowed, long nr,
		       const uint64_t arg[POLICY_ARGS])
{
	int status = run(subject, true, call_and_die, nr, arg);
	int after = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	/* Through means: dead by what is behind the call, or ended by it, or by the lack of a stack for rt_sigreturn.
	 */
	if (is_sigsys(status) == allowed || passes(subject, NATIVE, nr, arg) != allowed)
		TEST_FAIL("%s, about %s of %s:%u: call %ld(0x%llx, 0x%llx, 0x%llx, 0x%llx, 0x%llx, 0x%llx): wait "
			  "status 0x%x, "
			  "although it is %s",
			  subject->name, rule->name, rule->file, rule->line, nr, (unsigned long long)arg[0],
			  (unsigned long long)arg[1], (unsigned long long)arg[2], (unsigned long long)arg[3],
			  (unsigned long long)arg[4], (unsigned long long)arg[5], status,
			  allowed ? "allowed" : "forbidden");
	if (allowed)
		CHECK(after == SIGILL || (after == SIGSEGV && nr == SYS_rt_sigreturn) ||
		      (after == 0 && nr == SYS_exit_group));
	*(allowed ? &subject->allowed : &subject->forbidden) += 1;
}

/* Values of an argument about which its condition decides: the borders, the mask's ends, and the upper half. */
#define VALUES 8
static void values_near(const struct scmp_arg_cmp *cmp, uint64_t value[VALUES])
{
	const uint64_t mask = cmp->op == SCMP_CMP_MASKED_EQ ? cmp->datum_a : ~0ull;
	const uint64_t base = cmp->op == SCMP_CMP_MASKED_EQ ? cmp->datum_b : cmp->datum_a;

	value[0] = base;
	value[1] = base | ~mask;
	value[2] = base + 1;
	value[3] = base - 1;
	value[4] = base ^ (1ull << 32);
	value[5] = base ^ (mask & -mask);
	value[6] = base ^ (1ull << 63);
	value[7] = ~base;
}

/* Arguments that the rule allows; those that it says nothing of are a bad descriptor and a bad address. */
static void args_allowed(const struct policy_rule *rule, uint64_t arg[POLICY_ARGS])
{
	uint64_t value[VALUES];
	unsigned int i, v;

	memset(arg, 0xff, POLICY_ARGS * sizeof(*arg));
	for (i = 0; i < rule->ncmp; i++) {
		values_near(&rule->cmp[i], value);
		for (v = 0; v < VALUES && !policy_model_holds(&rule->cmp[i], value[v]); v++)
			;
		CHECK(v < VALUES);
		arg[rule->cmp[i].arg] = value[v];
	}
}

/* One condition of the rule with all of its values, the others as they have to be. */
static void check_condition(struct subject *subject, const struct policy_rule *rule, const struct scmp_arg_cmp *cmp)
{
	uint64_t arg[POLICY_ARGS], value[VALUES];
	unsigned int before = subject->forbidden;
	unsigned int v;

	args_allowed(rule, arg);
	values_near(cmp, value);
	for (v = 0; v < VALUES; v++) {
		arg[cmp->arg] = value[v];
		check_call(subject, rule, policy_model_find(subject->first, NULL, rule->syscall, arg), rule->syscall,
			   arg);
	}
	if (subject->forbidden == before)
		TEST_FAIL("%s: %s:%u: no value of arg%u is forbidden", subject->name, rule->file, rule->line, cmp->arg);
	args_allowed(rule, arg);
	value[0] = arg[cmp->arg];
	for (v = 0; v < 64; v++) {
		arg[cmp->arg] = value[0] ^ (1ull << v);
		if (passes(subject, NATIVE, rule->syscall, arg) !=
		    (policy_model_find(subject->first, NULL, rule->syscall, arg) != NULL))
			TEST_FAIL("%s: %s:%u: bit %u of arg%u is not decided by what is written", subject->name,
				  rule->file, rule->line, v, cmp->arg);
	}
}

static void check_rule(struct subject *subject, const struct policy_rule *rule)
{
	uint64_t arg[POLICY_ARGS];
	const struct policy_rule *other;
	unsigned int i;

	args_allowed(rule, arg);
	check_call(subject, rule, true, rule->syscall, arg);
	other = policy_model_find(subject->first, rule, rule->syscall, arg);
	if (other)
		TEST_FAIL("%s: %s:%u: %s:%u allows the same", subject->name, rule->file, rule->line, other->file,
			  other->line);
	for (i = 0; i < rule->ncmp; i++)
		check_condition(subject, rule, &rule->cmp[i]);
}

static bool has_rule(const struct subject *subject, long nr)
{
	const struct policy_rule *rule;

	for (rule = subject->first; rule; rule = rule->next) {
		if (rule->syscall == nr)
			return true;
	}
	return false;
}

/* Calls without a rule: the rule's neighbours by the kernel. */
static void check_neighbours(struct subject *subject, const struct policy_rule *rule)
{
	uint64_t arg[POLICY_ARGS];
	int nr;

	args_allowed(rule, arg);
	for (nr = rule->syscall - 1; nr <= rule->syscall + 1; nr++) {
		if (nr >= 0 && !has_rule(subject, nr))
			check_call(subject, rule, false, nr, arg);
	}
}

/* And all of them, and every call of another architecture, by the interpreter. */
static void check_others(const struct subject *subject, const struct policy_rule *rule)
{
	uint64_t arg[POLICY_ARGS];
	size_t i;
	long nr;

	args_allowed(rule, arg);
	for (nr = -1; nr < NUMBERS_END; nr++) {
		if (!has_rule(subject, nr) && passes(subject, NATIVE, nr, arg))
			TEST_FAIL("%s lets call %ld through, which has no rule", subject->name, nr);
		if (passes(subject, NATIVE, nr | X32_BIT, arg))
			TEST_FAIL("%s lets call %ld of x32 through", subject->name, nr);
		for (i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++) {
			if (architectures[i] != NATIVE && passes(subject, architectures[i], nr, arg))
				TEST_FAIL("%s lets call %ld of architecture 0x%x through", subject->name, nr,
					  architectures[i]);
		}
	}
}

static void subject_compile(struct subject *subject, enum launch_seccomp mode)
{
	struct errors errors;
	struct stat st;
	int fd;

	errors_init(&errors);
	fd = policy_compile("policy", subject->name, mode, &errors);
	subject->first = policy_rules_read("policy", subject->name, &errors);
	errors_print(&errors, stderr, "");
	CHECK(fd >= 0 && subject->first);
	errors_finish(&errors);
	CHECK_INT(fstat(fd, &st), 0);
	subject->len = (unsigned short)((size_t)st.st_size / sizeof(subject->program[0]));
	CHECK_INT(pread(fd, subject->program, sizeof(subject->program), 0), st.st_size);
	close(fd);
}

/* For each policy that there is, common.policy too. */
static void for_each_policy(enum launch_seccomp mode, void (*check)(struct subject *subject))
{
	static struct subject subject;
	glob_t found;
	size_t i;

	CHECK_INT(glob("policy/*.policy", 0, NULL, &found), 0);
	for (i = 0; i < found.gl_pathc; i++) {
		subject = (struct subject){.name = strchr(found.gl_pathv[i], '/') + 1};
		subject_compile(&subject, mode);
		check(&subject);
		policy_rules_free(subject.first);
		if (subject.allowed || subject.forbidden)
			printf("# %s: %u calls allowed, %u forbidden\n", subject.name, subject.allowed,
			       subject.forbidden);
	}
	globfree(&found);
}

static void check_each_rule(struct subject *subject)
{
	const struct policy_rule *rule;

	for (rule = subject->first; rule; rule = rule->next) {
		check_rule(subject, rule);
		check_neighbours(subject, rule);
	}
}

static void test_each_rule(void)
{
	for_each_policy(LAUNCH_SECCOMP_ENFORCE, check_each_rule);
}

static void check_nothing_else(struct subject *subject)
{
	const struct policy_rule *rule;

	for (rule = subject->first; rule; rule = rule->next)
		check_others(subject, rule);
}

static void test_nothing_else(void)
{
	for_each_policy(LAUNCH_SECCOMP_ENFORCE, check_nothing_else);
}

#ifdef __x86_64__
/*
 * How a call of i386 ends: by the policy; or, where the kernel has no such calls (ia32_emulation=off), before it, as it
 * does without a policy. What the policy says of them there, check_others() has tried all the same.
 */
static bool is_without_door(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static bool i386_door;

/* A 64-bit process can make calls of both other kinds; --seccomp=log does not let them through either. */
static void check_other_doors(struct subject *subject)
{
	const struct policy_rule *rule;
	uint64_t arg[POLICY_ARGS];
	int status;

	for (rule = subject->first; rule; rule = rule->next) {
		args_allowed(rule, arg);
		if (!is_sigsys(run(subject, true, call_and_die, rule->syscall | X32_BIT, arg)))
			TEST_FAIL("%s: %s of x32 is let through", subject->name, rule->name);
		status = run(subject, true, call_32_and_die, rule->syscall, arg);
		if (i386_door ? !is_sigsys(status) : !is_without_door(status))
			TEST_FAIL("%s: call %d of i386 is let through", subject->name, rule->syscall);
		subject->forbidden += 2;
	}
}

static void test_other_doors(void)
{
	static struct subject none;
	const uint64_t arg[POLICY_ARGS] = {0};

	i386_door = !is_without_door(run(&none, false, call_32_and_die, 64, arg));
	if (!i386_door)
		printf("# this kernel has no calls of i386: none can be let through\n");
	for_each_policy(LAUNCH_SECCOMP_ENFORCE, check_other_doors);
	for_each_policy(LAUNCH_SECCOMP_LOG, check_other_doors);
}
#endif

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"policy_each_rule", test_each_rule, 300},
		{"policy_nothing_else", test_nothing_else, 0},
#ifdef __x86_64__
		{"policy_other_doors", test_other_doors, 300},
#endif
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
