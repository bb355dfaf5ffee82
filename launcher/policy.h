/* SPDX-License-Identifier: MIT */
/*
 * Seccomp policies: text (policy/README.md has the grammar) compiled with libseccomp into the BPF program that a
 * backend loads for itself. A program is an allowlist: any other call, and any call of another architecture or of
 * x32, kills the process.
 */
#ifndef HVISOR_POLICY_H
#define HVISOR_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "launch.h"

/*
 * Compiles dir/name for this machine. Returns a sealed memfd with the program, an array of struct sock_filter, which
 * the caller owns (close-on-exec); or -1 after errors_add() for each error with file and line. With
 * LAUNCH_SECCOMP_LOG a call that is not allowed is logged and done.
 */
int policy_compile(const char *dir, const char *name, enum launch_seccomp mode, struct errors *errors);

/* A constant that policies may name. */
struct policy_name {
	const char *name;
	uint64_t value;
};

/* The value of the constant with the len bytes at name; NULL if there is none. */
const struct policy_name *policy_name_find(const char *name, size_t len);

/* The constant nearest to name, for "did you mean", or NULL. */
const char *policy_name_nearest(const char *name);

#endif
