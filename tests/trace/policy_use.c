/* SPDX-License-Identifier: MIT */
/*
 * Runs a command and writes down what the backends below it made of their seccomp policies: how often each rule of
 * policy/hvisor-*.policy allowed a call, and which calls none of them allows.
 *
 * usage: policy_use FILE COMMAND...
 *
 * It looks at each backend from the moment when it loads its filter, and until somebody traces it: what a test makes a
 * backend do is nothing that it does itself. The lines of FILE, tests/trace/report sums up those of many runs:
 *
 *	on ARCH CALLS LOST			what was recorded, or
 *	not ARCH WHY				that nothing could be
 *	rule POLICY FILE:LINE:ALTERNATIVE CALL N	N calls
 *	bit POLICY FILE:LINE:ALTERNATIVE CALL argA&BIT=VALUE N	of a bit that the rule leaves open behind its mask
 *	value POLICY FILE:LINE:ALTERNATIVE CALL argA VALUE...	the first few of an argument without a condition
 *	none ARCH POLICY CALL ARGUMENTS		a call without a rule
 *	kill ARCH POLICY			SIGSYS
 *
 * The exit code is that of the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/errors.h"
#include "tests/policy_model.h"
#include "tests/trace/tracefs.h"

#define POLICIES_MAX 16
#define PIDS (1u << 22) /* PID_MAX_LIMIT of the kernel */
#define BITS_MAX 8 /* a mask that leaves more of them open is about a number, not about flags */
#define VALUES_MAX 6
#define NONE_MAX 64 /* lines of them */

/* What is known of a process: the number of its policy from 1 on, and these. */
#define WHO_POLICY 0x3f
#define WHO_CONFINED 0x40
#define WHO_TRACED 0x80

/* The call that shows that recording works; no program makes it. */
#define PROBE_NAME "hvisor-probe"
#define PROBE_ARG 0x70726f6265ull

/* What a rule was used for. */
struct use {
	uint64_t calls;
	uint64_t one[POLICY_ARGS], zero[POLICY_ARGS]; /* bits that were seen with this value */
	uint64_t value[POLICY_ARGS][VALUES_MAX];
	unsigned int values[POLICY_ARGS];
};

struct policy_uses {
	char name[64]; /* "hvisor-blk": of the program, its process, and its policy */
	struct policy_rule *first;
	struct use *use; /* of each rule, in their order */
	size_t n;
};

struct recording {
	struct utsname machine;
	struct tracefs trace;
	struct policy_uses policy[POLICIES_MAX];
	size_t policies;
	uint8_t who[PIDS];
	FILE *file;
	uint64_t calls;
	unsigned int nones;
	bool probed;
};

static struct recording recording;

static int policies_read(struct recording *rec)
{
	struct policy_uses *policy;
	struct policy_rule *rule;
	struct errors errors;
	char name[80];
	glob_t found;
	size_t i;

	errors_init(&errors);
	if (glob("policy/hvisor-*.policy", 0, NULL, &found) != 0)
		errors_add(&errors, "policy/hvisor-*.policy: there is none");
	for (i = 0; !errors.count && i < found.gl_pathc && i < POLICIES_MAX; i++) {
		policy = &rec->policy[rec->policies++];
		snprintf(name, sizeof(name), "%.70s", strchr(found.gl_pathv[i], '/') + 1);
		snprintf(policy->name, sizeof(policy->name), "%.*s", (int)strcspn(name, "."), name);
		policy->first = policy_rules_read("policy", name, &errors);
		for (rule = policy->first; rule; rule = rule->next)
			policy->n++;
		policy->use = calloc(policy->n + 1, sizeof(*policy->use));
		if (!policy->use)
			errors_add(&errors, "no memory");
	}
	errors_print(&errors, stderr, "policy_use: ");
	errors_finish(&errors);
	return i == found.gl_pathc ? 0 : -1;
}

static bool has_condition(const struct policy_rule *rule, unsigned int arg)
{
	unsigned int i;

	for (i = 0; i < rule->ncmp; i++) {
		if (rule->cmp[i].arg == arg)
			return true;
	}
	return false;
}

static void use_count(struct use *use, const struct policy_rule *rule, const uint64_t arg[POLICY_ARGS])
{
	unsigned int i, v;

	use->calls++;
	for (i = 0; i < POLICY_ARGS; i++) {
		use->one[i] |= arg[i];
		use->zero[i] |= ~arg[i];
		for (v = 0; v < use->values[i] && use->value[i][v] != arg[i]; v++)
			;
		if (v == use->values[i] && v < VALUES_MAX && !has_condition(rule, i))
			use->value[i][use->values[i]++] = arg[i];
	}
}

/* A call of a confined backend. */
static void call_count(struct recording *rec, struct policy_uses *policy, const struct tracefs_event *event)
{
	const uint64_t *arg = event->arg;
	const struct policy_rule *rule;
	struct use *use = policy->use;
	char *name;

	rec->calls++;
	for (rule = policy->first; rule; rule = rule->next, use++) {
		if (policy_model_allows(rule, event->nr, arg)) {
			use_count(use, rule, arg);
			return;
		}
	}
	if (rec->nones++ == NONE_MAX)
		return;
	name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)event->nr);
	fprintf(rec->file, "none\t%s\t%s\t%s\t%ld(0x%lx, 0x%lx, 0x%lx, 0x%lx, 0x%lx, 0x%lx)\n", rec->machine.machine,
		policy->name, name ? name : "?", event->nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	free(name);
}

/* A process begins anew with each name, which is what it gets when it executes a program. */
static uint8_t who_is(const struct recording *rec, const char *name)
{
	size_t i;

	for (i = 0; i < rec->policies; i++) {
		if (strncmp(rec->policy[i].name, name, 15) == 0)
			return (uint8_t)(i + 1);
	}
	return 0;
}

static void event_take(struct recording *rec, const struct tracefs_event *event)
{
	uint8_t *who = &rec->who[(uint32_t)event->pid % PIDS];
	uint8_t policy = *who & WHO_POLICY;

	if (event->kind == TRACEFS_NAME) {
		*who = who_is(rec, event->name);
	} else if (event->kind == TRACEFS_KILL) {
		if (*who & WHO_CONFINED && !(*who & WHO_TRACED))
			fprintf(rec->file, "kill\t%s\t%s\n", rec->machine.machine, rec->policy[policy - 1].name);
	} else if (event->nr == SYS_getppid && event->arg[0] == PROBE_ARG) {
		rec->probed = true;
	} else if (*who & WHO_CONFINED) {
		if (!(*who & WHO_TRACED))
			call_count(rec, &rec->policy[policy - 1], event);
	} else if (event->nr == SYS_ptrace) {
		if (event->arg[0] == PTRACE_SEIZE || event->arg[0] == PTRACE_ATTACH)
			rec->who[event->arg[1] % PIDS] |= WHO_TRACED;
	} else if (event->nr == SYS_seccomp && policy && event->arg[0] == SECCOMP_SET_MODE_FILTER) {
		*who |= WHO_CONFINED;
	}
}

static void bits_write(FILE *file, const char *key, const struct scmp_arg_cmp *cmp, const struct use *use)
{
	uint64_t open = cmp->op == SCMP_CMP_MASKED_EQ ? ~cmp->datum_a : 0;
	uint64_t bit;

	if (__builtin_popcountll(open) > BITS_MAX)
		return;
	for (; open; open &= open - 1) {
		bit = open & -open;
		fprintf(file, "bit\t%s arg%u&0x%lx=1\t%d\n", key, cmp->arg, bit, (use->one[cmp->arg] & bit) != 0);
		fprintf(file, "bit\t%s arg%u&0x%lx=0\t%d\n", key, cmp->arg, bit, (use->zero[cmp->arg] & bit) != 0);
	}
}

static void uses_write(FILE *file, const struct policy_uses *policy)
{
	const struct policy_rule *rule;
	const struct use *use = policy->use;
	unsigned int i, v;
	char key[256];

	for (rule = policy->first; rule; rule = rule->next, use++) {
		snprintf(key, sizeof(key), "%s\t%s:%u:%u\t%s", policy->name, rule->file, rule->line, rule->alternative,
			 rule->name);
		fprintf(file, "rule\t%s\t%lu\n", key, use->calls);
		for (i = 0; i < rule->ncmp; i++)
			bits_write(file, key, &rule->cmp[i], use);
		for (i = 0; i < POLICY_ARGS; i++) {
			if (!use->values[i])
				continue;
			fprintf(file, "value\t%s arg%u\t", key, i);
			for (v = 0; v < use->values[i]; v++)
				fprintf(file, " 0x%lx", use->value[i][v]);
			fputs(use->values[i] == VALUES_MAX ? " ...\n" : "\n", file);
		}
	}
}

/* In the child, which is recorded from here on. */
static _Noreturn void command_run(int go, char **argv)
{
	char byte;

	if (read(go, &byte, 1) == 1 && byte == 'y') {
		prctl(PR_SET_NAME, PROBE_NAME);
		syscall(SYS_getppid, PROBE_ARG);
	}
	execvp(argv[0], argv);
	fprintf(stderr, "policy_use: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Takes the events until the command has ended, and what is left then; returns its wait status. */
static int command_record(struct recording *rec, pid_t pid)
{
	struct pollfd fd[2] = {{.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN},
			       {.fd = rec->trace.pipe, .events = POLLIN}};
	struct tracefs_event event;
	int status;

	while (!fd[0].revents) {
		poll(fd, 2, -1);
		while (tracefs_next(&rec->trace, &event))
			event_take(rec, &event);
	}
	tracefs_stop(&rec->trace);
	while (tracefs_next(&rec->trace, &event))
		event_take(rec, &event);
	close(fd[0].fd);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static int record(struct recording *rec, char **argv)
{
	const char *wrong;
	int status, go[2];
	size_t i;
	pid_t pid;

	uname(&rec->machine);
	if (pipe2(go, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return -1;
	if (pid == 0)
		command_run(go[0], argv);
	wrong = tracefs_init(&rec->trace, pid);
	if (write(go[1], wrong ? "n" : "y", 1) != 1)
		return -1;
	if (wrong) {
		fprintf(rec->file, "not\t%s\t%s\n", rec->machine.machine, wrong);
		return waitpid(pid, &status, 0) == pid ? status : -1;
	}
	status = command_record(rec, pid);
	tracefs_finish(&rec->trace);
	if (!rec->probed) {
		fprintf(rec->file, "not\t%s\tthe calls of the command are not seen; is this another pid namespace?\n",
			rec->machine.machine);
		return status;
	}
	fprintf(rec->file, "on\t%s\t%lu\t%lu\n", rec->machine.machine, rec->calls, rec->trace.lost);
	for (i = 0; i < rec->policies; i++)
		uses_write(rec->file, &rec->policy[i]);
	return status;
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 3) {
		fprintf(stderr, "usage: policy_use FILE COMMAND...\n");
		return 2;
	}
	recording.file = fopen(argv[1], "we");
	if (!recording.file) {
		fprintf(stderr, "policy_use: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	if (policies_read(&recording) < 0)
		return 2;
	status = record(&recording, argv + 2);
	if (fclose(recording.file) != 0) {
		fprintf(stderr, "policy_use: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	if (status == -1)
		return 2;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
