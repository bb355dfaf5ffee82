/* SPDX-License-Identifier: MIT */
#include "tests/policy_model.h"

#include <stddef.h>

bool policy_model_holds(const struct scmp_arg_cmp *cmp, uint64_t value)
{
	switch (cmp->op) {
	case SCMP_CMP_EQ:
		return value == cmp->datum_a;
	case SCMP_CMP_NE:
		return value != cmp->datum_a;
	case SCMP_CMP_LT:
		return value < cmp->datum_a;
	case SCMP_CMP_LE:
		return value <= cmp->datum_a;
	case SCMP_CMP_GT:
		return value > cmp->datum_a;
	case SCMP_CMP_GE:
		return value >= cmp->datum_a;
	case SCMP_CMP_MASKED_EQ:
		return (value & cmp->datum_a) == cmp->datum_b;
	default:
		return false;
	}
}

bool policy_model_allows(const struct policy_rule *rule, long nr, const uint64_t arg[POLICY_ARGS])
{
	unsigned int i;

	if (rule->syscall != nr)
		return false;
	for (i = 0; i < rule->ncmp; i++) {
		if (!policy_model_holds(&rule->cmp[i], arg[rule->cmp[i].arg]))
			return false;
	}
	return true;
}

const struct policy_rule *policy_model_find(const struct policy_rule *first, const struct policy_rule *except, long nr,
					    const uint64_t arg[POLICY_ARGS])
{
	const struct policy_rule *rule;

	for (rule = first; rule; rule = rule->next) {
		if (rule != except && policy_model_allows(rule, nr, arg))
			return rule;
	}
	return NULL;
}
