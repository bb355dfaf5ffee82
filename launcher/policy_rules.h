/* SPDX-License-Identifier: MIT */
/* The text of a seccomp policy as rules, for who compiles them and for who checks what they are good for. */
#ifndef HVISOR_POLICY_RULES_H
#define HVISOR_POLICY_RULES_H

#include <seccomp.h>

#include "launcher/errors.h"

#define POLICY_ARGS 6
#define POLICY_WORD_MAX 64 /* no name of a call or constant is as long */

/* One alternative of one line: the call is allowed if all of its conditions hold. */
struct policy_rule {
	struct policy_rule *next;
	int syscall; /* its number on this architecture */
	char name[POLICY_WORD_MAX];
	unsigned int ncmp;
	struct scmp_arg_cmp cmp[POLICY_ARGS]; /* of SCMP_CMP_MASKED_EQ datum_a is the mask, datum_b the value */
	char file[64]; /* where it is written: in the folder of the policies, */
	unsigned int line; /* counted from 1, */
	unsigned int alternative; /* counted from 1 */
};

/*
 * Reads dir/name with what it includes. Returns the first of its rules in the order of the text, which the caller frees
 * with policy_rules_free(); or NULL after errors_add() for each error with file and line. A file without a rule is one.
 */
struct policy_rule *policy_rules_read(const char *dir, const char *name, struct errors *errors);

/* Frees this rule and all that follow; first may be NULL. */
void policy_rules_free(struct policy_rule *first);

#endif
