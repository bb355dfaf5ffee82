/* SPDX-License-Identifier: MIT */
/* What the rules of a seccomp policy mean, beside what libseccomp makes of them. */
#ifndef HVISOR_POLICY_MODEL_H
#define HVISOR_POLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "launcher/policy_rules.h"

/* Does the condition hold for this value of its argument? */
bool policy_model_holds(const struct scmp_arg_cmp *cmp, uint64_t value);

/* Does the rule allow the call nr with these arguments? */
bool policy_model_allows(const struct policy_rule *rule, long nr, const uint64_t arg[POLICY_ARGS]);

/* The rule from the first one on, but for except (or NULL), that allows the call; NULL if none does. */
const struct policy_rule *policy_model_find(const struct policy_rule *first, const struct policy_rule *except, long nr,
					    const uint64_t arg[POLICY_ARGS]);

#endif
