/* SPDX-License-Identifier: MIT */
#include "launcher/policy_rules.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/config.h"
#include "launcher/policy.h"

#define POLICY_DEPTH_MAX 4 /* files that include each other */
#define POLICY_FILE_MAX (1u << 20)
#define POLICY_SYSCALL_END 1024 /* above the numbers of every architecture, for the list of known names */

struct policy {
	const char *dir;
	struct errors *errors;
	struct policy_rule *first; /* in the order of the text */
	struct policy_rule **last;
};

/* A place in a line. */
struct policy_text {
	struct policy *policy;
	const char *file;
	unsigned int line;
	const char *at;
	bool failed; /* one complaint a line */
};

static void text_fail(struct policy_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void text_fail(struct policy_text *text, const char *format, ...)
{
	char *message = NULL;
	va_list args;

	if (text->failed)
		return;
	text->failed = true;
	va_start(args, format);
	if (vasprintf(&message, format, args) < 0)
		message = NULL;
	va_end(args);
	errors_add(text->policy->errors, "%s/%s:%u: %s", text->policy->dir, text->file, text->line,
		   message ? message : "no memory");
	free(message);
}

static void text_skip_blanks(struct policy_text *text)
{
	while (*text->at == ' ' || *text->at == '\t')
		text->at++;
}

/* Takes symbol if it is next; a shorter symbol is not found in a longer one, such as | in ||. */
static bool text_take(struct policy_text *text, const char *symbol)
{
	size_t n = strlen(symbol);

	text_skip_blanks(text);
	if (strncmp(text->at, symbol, n) != 0)
		return false;
	if (n == 1 && (*symbol == '|' || *symbol == '&') && text->at[1] == *symbol)
		return false;
	text->at += n;
	return true;
}

/* Takes a word of letters, digits and underscores; "" if none is next. */
static void text_take_word(struct policy_text *text, char word[POLICY_WORD_MAX])
{
	size_t n = 0;

	text_skip_blanks(text);
	while (isalnum((unsigned char)text->at[n]) || text->at[n] == '_')
		n++;
	if (n >= POLICY_WORD_MAX) {
		text_fail(text, "a word of %zu letters; no name is as long", n);
		n = 0;
	}
	memcpy(word, text->at, n);
	word[n] = '\0';
	text->at += n;
}

static uint64_t text_value(struct policy_text *text);

static uint64_t text_term(struct policy_text *text)
{
	const struct policy_name *name;
	char word[POLICY_WORD_MAX];
	const char *nearest;
	uint64_t value;
	char *end;

	if (text_take(text, "~"))
		return ~text_term(text);
	if (text_take(text, "(")) {
		value = text_value(text);
		if (!text_take(text, ")"))
			text_fail(text, "\")\" is missing before \"%s\"", text->at);
		return value;
	}
	text_take_word(text, word);
	if (isdigit((unsigned char)word[0])) {
		errno = 0;
		value = strtoull(word, &end, 0);
		if (*end || errno)
			text_fail(text, "\"%s\" is no number of 64 bits", word);
		return value;
	}
	if (!word[0]) {
		text_fail(text, "a number or a constant should be at \"%s\"", text->at);
		return 0;
	}
	name = policy_name_find(word, strlen(word));
	if (name)
		return name->value;
	nearest = policy_name_nearest(word);
	text_fail(text, "unknown constant %s%s%s%s", word, nearest ? "; did you mean " : "", nearest ? nearest : "",
		  nearest ? "?" : "; write its number");
	return 0;
}

static uint64_t text_value(struct policy_text *text)
{
	uint64_t value = text_term(text);

	while (!text->failed && text_take(text, "|"))
		value |= text_term(text);
	return value;
}

static bool text_operator(struct policy_text *text, enum scmp_compare *op)
{
	static const struct {
		const char *symbol;
		enum scmp_compare op;
	} operators[] = {
		{"==", SCMP_CMP_EQ}, {"!=", SCMP_CMP_NE}, {"<=", SCMP_CMP_LE},
		{">=", SCMP_CMP_GE}, {"<", SCMP_CMP_LT},  {">", SCMP_CMP_GT},
	};
	size_t i;

	for (i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		if (text_take(text, operators[i].symbol)) {
			*op = operators[i].op;
			return true;
		}
	}
	text_fail(text, "one of == != <= >= < > should be at \"%s\"", text->at);
	return false;
}

/* argN [& MASK] OPERATOR VALUE */
static void text_condition(struct policy_text *text, struct policy_rule *rule)
{
	struct scmp_arg_cmp *cmp;
	char word[POLICY_WORD_MAX];
	uint64_t mask = 0;
	bool masked;
	unsigned int arg;
	unsigned int i;

	text_take_word(text, word);
	if (strncmp(word, "arg", 3) != 0 || word[3] < '0' || word[3] >= '0' + POLICY_ARGS || word[4]) {
		text_fail(text, "a condition begins with arg0 to arg5, not with \"%s\"", word[0] ? word : text->at);
		return;
	}
	arg = (unsigned int)(word[3] - '0');
	for (i = 0; i < rule->ncmp; i++) {
		if (rule->cmp[i].arg == arg) {
			text_fail(text,
				  "%s is twice in one alternative; compare it once, or use && only between "
				  "different arguments",
				  word);
			return;
		}
	}
	cmp = &rule->cmp[rule->ncmp++];
	cmp->arg = arg;
	masked = text_take(text, "&");
	if (masked)
		mask = text_value(text);
	if (text->failed || !text_operator(text, &cmp->op))
		return;
	cmp->datum_a = text_value(text);
	if (!masked || text->failed)
		return;
	if (cmp->op != SCMP_CMP_EQ) {
		text_fail(text, "behind a mask only == can follow");
	} else if (cmp->datum_a & ~mask) {
		text_fail(text, "never true: 0x%llx has bits outside the mask 0x%llx", (unsigned long long)cmp->datum_a,
			  (unsigned long long)mask);
	} else {
		cmp->op = SCMP_CMP_MASKED_EQ;
		cmp->datum_b = cmp->datum_a;
		cmp->datum_a = mask;
	}
}

/* A line that allows everything makes the others of that call pointless: one of them is not what was meant. */
static void text_check_others(struct policy_text *text, const struct policy_rule *rule, const char *name)
{
	const struct policy_rule *other;

	for (other = text->policy->first; other; other = other->next) {
		if (other->syscall == rule->syscall && (!other->ncmp || !rule->ncmp)) {
			text_fail(text,
				  "%s is in %s:%u too, and one of the two allows it whatever its arguments are; "
				  "keep one",
				  name, other->file, other->line);
			return;
		}
	}
}

static void text_alternative(struct policy_text *text, int syscall, const char *name, bool conditional,
			     unsigned int alternative)
{
	struct policy_rule *rule = calloc(1, sizeof(*rule));

	if (!rule) {
		text_fail(text, "no memory");
		return;
	}
	rule->syscall = syscall;
	rule->line = text->line;
	rule->alternative = alternative;
	snprintf(rule->name, sizeof(rule->name), "%s", name);
	snprintf(rule->file, sizeof(rule->file), "%s", text->file);
	if (conditional) {
		do
			text_condition(text, rule);
		while (!text->failed && text_take(text, "&&"));
	}
	if (!text->failed && syscall >= 0)
		text_check_others(text, rule, name);
	if (text->failed || syscall < 0) {
		free(rule);
		return;
	}
	*text->policy->last = rule;
	text->policy->last = &rule->next;
}

static void text_unknown_syscall(struct policy_text *text, const char *name)
{
	char *list[POLICY_SYSCALL_END];
	const char *nearest;
	size_t n = 0;
	int i;

	for (i = 0; i < POLICY_SYSCALL_END; i++) {
		list[n] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
		if (list[n])
			n++;
	}
	nearest = config_nearest(name, (const char *const *)list, n);
	text_fail(text, "no system call is named %s%s%s%s", name, nearest ? "; did you mean " : "",
		  nearest ? nearest : "", nearest ? "?" : "");
	while (n)
		free(list[--n]);
}

/* NAME[?][: CONDITION && CONDITION || ...] */
static void text_rule(struct policy_text *text)
{
	char name[POLICY_WORD_MAX];
	unsigned int alternative = 1;
	bool conditional;
	bool optional;
	int syscall;

	text_take_word(text, name);
	if (!name[0]) {
		text_fail(text, "a line begins with the name of a system call or @include, not with \"%s\"", text->at);
		return;
	}
	optional = text_take(text, "?");
	syscall = seccomp_syscall_resolve_name(name);
	if (syscall == __NR_SCMP_ERROR) {
		text_unknown_syscall(text, name);
	} else if (syscall < 0 && !optional) {
		text_fail(text, "this architecture has no system call %s; if others do, write %s?", name, name);
	}
	conditional = text_take(text, ":");
	do
		text_alternative(text, syscall, name, conditional, alternative++);
	while (!text->failed && conditional && text_take(text, "||"));
	text_skip_blanks(text);
	if (*text->at)
		text_fail(text, conditional ? "&& or || should be at \"%s\"" : "\":\" should be at \"%s\"", text->at);
}

static void policy_read(struct policy *policy, const char *name, struct policy_text *from, unsigned int depth);

static void text_include(struct policy_text *text, unsigned int depth)
{
	char name[POLICY_WORD_MAX];
	size_t n = strcspn(text->at, " \t");

	if (n == 0 || n >= sizeof(name) || memchr(text->at, '/', n) || text->at[n + strspn(text->at + n, " \t")]) {
		text_fail(text, "@include takes the name of one file in the same folder, not \"%s\"", text->at);
		return;
	}
	memcpy(name, text->at, n);
	name[n] = '\0';
	if (depth + 1 == POLICY_DEPTH_MAX)
		text_fail(text, "%u files include each other; is one of them %s again?", depth + 1, name);
	else
		policy_read(text->policy, name, text, depth + 1);
}

static void policy_line(struct policy *policy, const char *file, unsigned int number, char *line, unsigned int depth)
{
	struct policy_text text = {.policy = policy, .file = file, .line = number, .at = line};
	size_t n;

	line[strcspn(line, "#")] = '\0';
	n = strlen(line);
	while (n && isspace((unsigned char)line[n - 1]))
		line[--n] = '\0';
	text_skip_blanks(&text);
	if (!*text.at)
		return;
	if (text_take(&text, "@include")) {
		text_skip_blanks(&text);
		text_include(&text, depth);
	} else {
		text_rule(&text);
	}
}

/* from: the line that includes the file, or NULL. */
static void policy_read(struct policy *policy, const char *name, struct policy_text *from, unsigned int depth)
{
	unsigned int number = 0;
	char path[PATH_MAX];
	char *line = NULL;
	size_t room = 0;
	FILE *file;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", policy->dir, name);
	file = fopen(path, "re");
	if (!file && from) {
		text_fail(from, "cannot read %s: %s", path, strerror(errno));
		return;
	} else if (!file) {
		errors_add(policy->errors, "cannot read the policy %s: %s", path, strerror(errno));
		return;
	}
	while ((n = getline(&line, &room, file)) >= 0) {
		number++;
		if (memchr(line, '\0', (size_t)n) || n > (ssize_t)POLICY_FILE_MAX) {
			errors_add(policy->errors, "%s:%u: not a line of text", path, number);
			break;
		}
		policy_line(policy, name, number, line, depth);
	}
	if (ferror(file))
		errors_add(policy->errors, "cannot read %s: %s", path, strerror(errno));
	free(line);
	fclose(file);
}

struct policy_rule *policy_rules_read(const char *dir, const char *name, struct errors *errors)
{
	struct policy policy = {.dir = dir, .errors = errors, .last = &policy.first};
	size_t before = errors->count;

	policy_read(&policy, name, NULL, 0);
	if (errors->count == before && !policy.first)
		errors_add(errors, "the policy %s/%s allows nothing; it has no rule", dir, name);
	if (errors->count == before)
		return policy.first;
	policy_rules_free(policy.first);
	return NULL;
}

void policy_rules_free(struct policy_rule *first)
{
	struct policy_rule *next;

	for (; first; first = next) {
		next = first->next;
		free(first);
	}
}
