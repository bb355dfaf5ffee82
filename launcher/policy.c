/* SPDX-License-Identifier: MIT */
#include "launcher/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/policy_rules.h"

/* What is to be compiled. */
struct policy {
	const char *dir;
	struct errors *errors;
	struct policy_rule *first;
};

static int policy_add_rules(const struct policy *policy, scmp_filter_ctx ctx)
{
	const struct policy_rule *rule;
	uint8_t priority = UINT8_MAX;
	int error;

	for (rule = policy->first; rule; rule = rule->next) {
		error = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rule->syscall, rule->ncmp, rule->cmp);
		/* The same alternative twice is no harm. */
		if (error && error != -EEXIST) {
			errors_add(policy->errors, "%s/%s:%u: libseccomp: %s", policy->dir, rule->file, rule->line,
				   strerror(-error));
			return -1;
		}
		/* The calls are tried in the order of the text, so that its author puts frequent ones first. */
		seccomp_syscall_priority(ctx, rule->syscall, priority);
		if (priority)
			priority--;
	}
	return 0;
}

static int policy_export(scmp_filter_ctx ctx, const char *name)
{
	int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat st;
	int error;

	if (fd < 0)
		return -errno;
	error = seccomp_export_bpf(ctx, fd);
	if (error == 0 && fstat(fd, &st) < 0)
		error = -errno;
	if (error == 0 && st.st_size > (off_t)(BPF_MAXINSNS * sizeof(struct sock_filter)))
		error = -E2BIG;
	if (error == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
		error = -errno;
	if (error == 0)
		return fd;
	close(fd);
	return error;
}

static int policy_build(const struct policy *policy, const char *name, enum launch_seccomp mode)
{
	uint32_t action = mode == LAUNCH_SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS;
	scmp_filter_ctx ctx = seccomp_init(action);
	int fd = -ENOMEM;
	int error = 0;

	if (ctx) {
		error = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
		if (error == 0 && policy_add_rules(policy, ctx) < 0) {
			seccomp_release(ctx);
			return -1;
		}
		fd = error ? error : policy_export(ctx, name);
		seccomp_release(ctx);
	}
	if (fd >= 0)
		return fd;
	errors_add(policy->errors, "cannot compile the policy %s/%s: %s", policy->dir, name, strerror(-fd));
	return -1;
}

int policy_compile(const char *dir, const char *name, enum launch_seccomp mode, struct errors *errors)
{
	struct policy policy = {.dir = dir, .errors = errors, .first = policy_rules_read(dir, name, errors)};
	int fd;

	if (!policy.first)
		return -1;
	fd = policy_build(&policy, name, mode);
	policy_rules_free(policy.first);
	return fd;
}
