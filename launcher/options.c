/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "cgroup.h"
#include "control.h"

/* Ids below belong to accounts; the highest two of 32 bits have other meanings. */
#define UID_BASE_MIN 65536ull
#define UID_BASE_MAX (UINT32_MAX - 1ull - HVISOR_DEVICES_MAX)

enum option_code {
	OPTION_FOLLOW = 'f',
	OPTION_HELP = 'h',
	OPTION_VERBOSE = 'v',
	OPTION_VERSION = 'V',
	OPTION_CHECK = 256,
	OPTION_STATUS,
	OPTION_RESTART,
	OPTION_STOP,
	OPTION_START,
	OPTION_LOGS,
	OPTION_LOG_LEVEL,
	OPTION_RESIZE,
	OPTION_LINK,
	OPTION_CONSOLE,
	OPTION_ESCAPE,
	OPTION_JSON,
	OPTION_DAEMON,
	OPTION_HV,
	OPTION_RUN,
	OPTION_LOG_DIR,
	OPTION_PROGRAM_DIR,
	OPTION_POLICY_DIR,
	OPTION_SECCOMP,
	OPTION_CGROUP,
	OPTION_UID_BASE,
};

static const struct option long_options[] = {
	{"check", no_argument, NULL, OPTION_CHECK},
	{"status", no_argument, NULL, OPTION_STATUS},
	{"restart", required_argument, NULL, OPTION_RESTART},
	{"stop", no_argument, NULL, OPTION_STOP},
	{"start", required_argument, NULL, OPTION_START},
	{"logs", required_argument, NULL, OPTION_LOGS},
	{"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
	{"resize", required_argument, NULL, OPTION_RESIZE},
	{"link", required_argument, NULL, OPTION_LINK},
	{"console", required_argument, NULL, OPTION_CONSOLE},
	{"escape", required_argument, NULL, OPTION_ESCAPE},
	{"json", no_argument, NULL, OPTION_JSON},
	{"follow", no_argument, NULL, OPTION_FOLLOW},
	{"daemon", no_argument, NULL, OPTION_DAEMON},
	{"hv", required_argument, NULL, OPTION_HV},
	{"run", required_argument, NULL, OPTION_RUN},
	{"log-dir", required_argument, NULL, OPTION_LOG_DIR},
	{"program-dir", required_argument, NULL, OPTION_PROGRAM_DIR},
	{"policy-dir", required_argument, NULL, OPTION_POLICY_DIR},
	{"seccomp", required_argument, NULL, OPTION_SECCOMP},
	{"cgroup", required_argument, NULL, OPTION_CGROUP},
	{"uid-base", required_argument, NULL, OPTION_UID_BASE},
	{"verbose", no_argument, NULL, OPTION_VERBOSE},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};
#define LONG_OPTIONS (sizeof(long_options) / sizeof(long_options[0]) - 1)

/* What was given, before it is put together. */
struct given {
	const char *action; /* "--status"; NULL: run */
	const char *hv;
	const char *run_dir;
	const char *log_dir;
	const char *program_dir;
	const char *policy_dir;
	const char *cgroup;
	const char *name;
	bool daemon;
	bool escape;
};

void options_print_help(FILE *file)
{
	fprintf(file,
		"usage: hvisor-launch [options] virtio_cfg.json     serve the devices of the file\n"
		"       hvisor-launch --check [--json] virtio_cfg.json   say what would run, change nothing\n"
		"       hvisor-launch ACTION                        ask the hvisor-launch that runs\n"
		"\n"
		"Actions\n"
		"  --status [--json] [NAME]  what runs, and how it fares\n"
		"  --restart NAME|all        replace a backend by a new one, without its guest noticing\n"
		"  --stop [NAME]             stop a backend; without NAME: all of them, and hvisor-launch\n"
		"  --start NAME              start the backend of a device that is stopped or failed\n"
		"  --logs NAME [-f]          print the log of a device; -f: its end, and go on with what is added\n"
		"  --log-level NAME=LEVEL    error, warning, info or debug\n"
		"  --resize NAME             the image has another size: tell the guest\n"
		"  --link NAME=up|down       plug in or unplug the cable of a network device\n"
		"  --console NAME [--escape KEY]  be the guest's terminal; Ctrl-], or the KEY given, ends it\n"
		"  -h, --help; -V, --version\n"
		"\n"
		"Options\n"
		"  --daemon                  go to the background when all devices are served\n"
		"  --hv WHERE                /dev/hvisor (default), or sim:PATH for the simulator\n"
		"  --run DIR                 control socket and state (default " LAUNCH_RUN_DIR ")\n"
		"  --log-dir DIR             log files (default " LAUNCH_LOG_DIR ")\n"
		"  --program-dir DIR         where the backends are\n"
		"  --policy-dir DIR          where their seccomp policies are\n"
		"  --seccomp=enforce|log     log: report forbidden system calls, but let them through\n"
		"  --cgroup DIR|none         where the backends' cgroups are (default " LAUNCH_CGROUP ")\n"
		"  --uid-base N              the first of 256 user ids for the backends (default %u)\n"
		"  -v, --verbose             say more\n"
		"\n"
		"Exit codes: 0 done, 1 failed, 2 wrong options or configuration.\n",
		LAUNCH_UID_BASE);
}

/* The option that getopt_long() has just refused, with ':' or '?'. */
static void complain_option(struct errors *errors, char **argv, int code)
{
	const char *known[LONG_OPTIONS];
	char word[64];
	const char *near;
	size_t i;

	for (i = 0; i < LONG_OPTIONS; i++)
		known[i] = long_options[i].name;
	for (i = 0; i < LONG_OPTIONS && long_options[i].val != optopt; i++)
		;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(argv[optind - 1], "="), argv[optind - 1]);
	if (code == ':') {
		errors_add(errors, "--%s: needs an argument; see hvisor-launch --help", long_options[i].name);
	} else if (i < LONG_OPTIONS) {
		errors_add(errors, "--%s: takes no argument", long_options[i].name);
	} else if (optopt) {
		errors_add(errors, "-%c: no such option; see hvisor-launch --help", optopt);
	} else {
		near = config_nearest(word + 2, known, LONG_OPTIONS);
		errors_add(errors, "%s: no such option%s%s%s", word,
			   near ? "; did you mean --" : "; see hvisor-launch --help", near ? near : "",
			   near ? "?" : "");
	}
}

static void set_action(struct options *options, struct given *given, enum options_action action, const char *word,
		       struct errors *errors)
{
	if (given->action && strcmp(given->action, word) != 0)
		errors_add(errors, "%s and %s: only one of them can be done at once", given->action, word);
	given->action = word;
	options->action = action;
}

static void parse_seccomp(struct options *options, struct errors *errors)
{
	if (strcmp(optarg, "enforce") == 0)
		options->launch.seccomp = LAUNCH_SECCOMP_ENFORCE;
	else if (strcmp(optarg, "log") == 0)
		options->launch.seccomp = LAUNCH_SECCOMP_LOG;
	else
		errors_add(errors, "--seccomp: is \"%s\"; must be enforce or log", optarg);
}

static void parse_uid_base(struct options *options, struct errors *errors)
{
	unsigned long long number;
	char *end = NULL;

	errno = 0;
	number = strtoull(optarg, &end, 0);
	if (optarg[0] < '0' || optarg[0] > '9' || *end || errno || number < UID_BASE_MIN || number > UID_BASE_MAX)
		errors_add(errors, "--uid-base: is \"%s\"; must be a number from %llu to %llu", optarg, UID_BASE_MIN,
			   UID_BASE_MAX);
	else
		options->launch.uid_base = (uint32_t)number;
}

/* Splits NAME=VALUE and returns VALUE; NULL if it is none. */
static const char *parse_assignment(struct given *given)
{
	char *equals = strrchr(optarg, '=');

	if (!equals || equals == optarg || !equals[1])
		return NULL;
	*equals = 0;
	given->name = optarg;
	return equals + 1;
}

static void parse_log_level(struct options *options, struct given *given, struct errors *errors)
{
	static const char *const levels[] = {"error", "warning", "info", "debug"};
	const char *near;
	size_t i;

	options->level = parse_assignment(given);
	if (!options->level) {
		errors_add(errors, "--log-level: is \"%s\"; must be NAME=LEVEL, such as blk0=debug", optarg);
		return;
	}
	for (i = 0; i < 4 && strcmp(options->level, levels[i]) != 0; i++)
		;
	near = config_nearest(options->level, levels, 4);
	if (i == 4)
		errors_add(errors,
			   "--log-level: there is no level \"%s\"; the levels are error, warning, info and debug%s%s%s",
			   options->level, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static void parse_link(struct options *options, struct given *given, struct errors *errors)
{
	options->link = parse_assignment(given);
	if (!options->link)
		errors_add(errors, "--link: is \"%s\"; must be NAME=up or NAME=down, such as net0=down", optarg);
	else if (strcmp(options->link, CONTROL_LINK_UP) != 0 && strcmp(options->link, CONTROL_LINK_DOWN) != 0)
		errors_add(errors, "--link: a link is up or down, not \"%s\"", options->link);
}

/* "^]" and such, or a single character; "none". */
static void parse_escape(struct options *options, struct errors *errors)
{
	char c = optarg[0] == '^' && optarg[1] ? optarg[1] : optarg[0];

	if (strcmp(optarg, "none") == 0)
		options->escape = -1;
	else if (optarg[0] == '^' && c >= '?' && c <= '~' && !optarg[2])
		options->escape = c == '?' ? 0x7f : c & 0x1f;
	else if (c > ' ' && c <= '~' && !optarg[1])
		options->escape = c;
	else
		errors_add(errors, "--escape: is \"%s\"; must be a key such as ^] (for Ctrl-]), or none", optarg);
}

static void parse_option(struct options *options, struct given *given, int code, struct errors *errors)
{
	switch (code) {
	case OPTION_CHECK:
		set_action(options, given, OPTIONS_CHECK, "--check", errors);
		break;
	case OPTION_STATUS:
		set_action(options, given, OPTIONS_STATUS, "--status", errors);
		break;
	case OPTION_RESTART:
		set_action(options, given, OPTIONS_RESTART, "--restart", errors);
		given->name = optarg;
		break;
	case OPTION_STOP:
		set_action(options, given, OPTIONS_STOP, "--stop", errors);
		break;
	case OPTION_START:
		set_action(options, given, OPTIONS_START, "--start", errors);
		given->name = optarg;
		break;
	case OPTION_LOGS:
		set_action(options, given, OPTIONS_LOGS, "--logs", errors);
		given->name = optarg;
		break;
	case OPTION_LOG_LEVEL:
		set_action(options, given, OPTIONS_LOG_LEVEL, "--log-level", errors);
		parse_log_level(options, given, errors);
		break;
	case OPTION_RESIZE:
		set_action(options, given, OPTIONS_RESIZE, "--resize", errors);
		given->name = optarg;
		break;
	case OPTION_LINK:
		set_action(options, given, OPTIONS_LINK, "--link", errors);
		parse_link(options, given, errors);
		break;
	case OPTION_CONSOLE:
		set_action(options, given, OPTIONS_CONSOLE, "--console", errors);
		given->name = optarg;
		break;
	case OPTION_ESCAPE:
		parse_escape(options, errors);
		given->escape = true;
		break;
	case OPTION_HELP:
		set_action(options, given, OPTIONS_HELP, "--help", errors);
		break;
	case OPTION_VERSION:
		set_action(options, given, OPTIONS_VERSION, "--version", errors);
		break;
	case OPTION_JSON:
		options->json = true;
		break;
	case OPTION_FOLLOW:
		options->follow = true;
		break;
	case OPTION_DAEMON:
		given->daemon = true;
		break;
	case OPTION_HV:
		given->hv = optarg;
		break;
	case OPTION_RUN:
		given->run_dir = optarg;
		break;
	case OPTION_LOG_DIR:
		given->log_dir = optarg;
		break;
	case OPTION_PROGRAM_DIR:
		given->program_dir = optarg;
		break;
	case OPTION_POLICY_DIR:
		given->policy_dir = optarg;
		break;
	case OPTION_SECCOMP:
		parse_seccomp(options, errors);
		break;
	case OPTION_CGROUP:
		given->cgroup = optarg;
		break;
	case OPTION_UID_BASE:
		parse_uid_base(options, errors);
		break;
	case OPTION_VERBOSE:
		options->launch.verbose = true;
		break;
	}
}

/* What goes with which action, and the words that are no options. */
static void check_arguments(struct options *options, struct given *given, int argc, char **argv, struct errors *errors)
{
	const char *action = given->action ? given->action : "serving a configuration";
	bool takes_file = options->action == OPTIONS_RUN || options->action == OPTIONS_CHECK;
	bool takes_name = options->action == OPTIONS_STATUS || options->action == OPTIONS_STOP;

	if (given->daemon && options->action != OPTIONS_RUN)
		errors_add(errors, "--daemon does not go with %s", action);
	if (options->json && options->action != OPTIONS_STATUS && options->action != OPTIONS_CHECK)
		errors_add(errors, "--json does not go with %s, only with --status and --check", action);
	if (options->follow && options->action != OPTIONS_LOGS)
		errors_add(errors, "-f does not go with %s, only with --logs", action);
	if (given->escape && options->action != OPTIONS_CONSOLE)
		errors_add(errors, "--escape does not go with %s, only with --console", action);
	if (takes_file && optind < argc)
		options->config = argv[optind++];
	else if (takes_name && optind < argc)
		given->name = argv[optind++];
	if (takes_file && !options->config)
		errors_add(errors, "no configuration is given; try hvisor-launch virtio_cfg.json, or --help");
	if (given->name && !*given->name)
		errors_add(errors, "%s: the name of a device is empty", action);
	for (; optind < argc; optind++)
		errors_add(errors, "%s: one argument too many for %s", argv[optind], action);
}

/* path as an absolute one, kept in options; NULL without memory or working directory. */
static char *absolute(struct options *options, size_t slot, const char *prefix, const char *path)
{
	char folder[PATH_MAX] = "";
	char *out = NULL;

	if (path[0] != '/' && !getcwd(folder, sizeof(folder) - 1))
		return NULL;
	if (path[0] != '/')
		strcat(folder, "/");
	if (asprintf(&out, "%s%s%s", prefix, folder, path) < 0)
		return NULL;
	options->owned[slot] = out;
	return out;
}

/* Where the programs are and where the policies, for the executable that runs. */
struct home {
	const char *program_dir; /* from the executable's folder, or absolute */
	const char *policy_dir;
};

/*
 * A build tree has the backends beside the launcher and the policies in the folder next to that. An installed launcher
 * has them where it was installed, which need not be what it was built for.
 */
static char *find_home(bool policies)
{
	static const struct home home[] = {
		{"", "/../policy"},
		{"/../libexec/hvisor-launch", "/../share/hvisor-launch/policy"},
	};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t i;

	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	for (i = 0; slash && i < sizeof(home) / sizeof(home[0]); i++) {
		char *program = NULL;
		char *real;
		char *dir;
		bool here;

		if (asprintf(&program, "%s%s/hvisor-blk", self, home[i].program_dir) < 0)
			return NULL;
		here = access(program, X_OK) == 0;
		free(program);
		if (!here)
			continue;
		if (asprintf(&dir, "%s%s", self, policies ? home[i].policy_dir : home[i].program_dir) < 0)
			return NULL;
		real = realpath(dir, NULL);
		if (!real)
			return dir;
		free(dir);
		return real;
	}
	return strdup(policies ? HVISOR_PREFIX "/share/hvisor-launch/policy" : HVISOR_PREFIX "/libexec/hvisor-launch");
}

static int set_folders(struct options *options, const struct given *given, struct errors *errors)
{
	struct launch_options *launch = &options->launch;
	const char *hv = given->hv ? given->hv : LAUNCH_HV;
	bool simulated = strncmp(hv, "sim:", 4) == 0;

	if (!hv[simulated ? 4 : 0]) {
		errors_add(errors, "--hv: is \"%s\"; must be a device such as " LAUNCH_HV ", or sim:PATH", hv);
		return -1;
	}
	launch->hv = absolute(options, 0, simulated ? "sim:" : "", hv + (simulated ? 4 : 0));
	launch->run_dir = absolute(options, 1, "", given->run_dir ? given->run_dir : LAUNCH_RUN_DIR);
	launch->log_dir = absolute(options, 2, "", given->log_dir ? given->log_dir : LAUNCH_LOG_DIR);
	if (given->program_dir)
		launch->program_dir = absolute(options, 3, "", given->program_dir);
	else
		launch->program_dir = options->owned[3] = find_home(false);
	if (given->policy_dir)
		launch->policy_dir = absolute(options, 4, "", given->policy_dir);
	else
		launch->policy_dir = options->owned[4] = find_home(true);
	launch->cgroup = given->cgroup ? given->cgroup : LAUNCH_CGROUP;
	if (strcmp(launch->cgroup, CGROUP_NONE) != 0)
		launch->cgroup = absolute(options, 5, "", launch->cgroup);
	if (!launch->cgroup || !launch->hv || !launch->run_dir || !launch->log_dir || !launch->program_dir ||
	    !launch->policy_dir) {
		errors_add(errors, "the working directory: %s", strerror(errno));
		return -1;
	}
	if (strlen(launch->run_dir) + sizeof("/" CONTROL_SOCKET) > sizeof(((struct sockaddr_un *)0)->sun_path)) {
		errors_add(errors, "--run: %s is too long for the path of a socket in it; take one of up to %zu bytes",
			   launch->run_dir, sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/" CONTROL_SOCKET));
		return -1;
	}
	return 0;
}

int options_parse(struct options *options, int argc, char **argv, struct errors *errors)
{
	struct given given = {0};
	size_t before = errors->count;
	int code;

	*options = (struct options){.launch.uid_base = LAUNCH_UID_BASE, .escape = OPTIONS_ESCAPE};
	opterr = 0;
	optind = 0;
	while ((code = getopt_long(argc, argv, ":fhvV", long_options, NULL)) != -1) {
		if (code == '?' || code == ':')
			complain_option(errors, argv, code);
		else
			parse_option(options, &given, code, errors);
	}
	if (errors->count == before)
		check_arguments(options, &given, argc, argv, errors);
	if (errors->count == before && options->action != OPTIONS_HELP && options->action != OPTIONS_VERSION)
		set_folders(options, &given, errors);
	options->launch.daemonize = given.daemon;
	options->name = given.name;
	if (errors->count == before)
		return 0;
	options_finish(options);
	return -1;
}

void options_finish(struct options *options)
{
	size_t i;

	for (i = 0; i < sizeof(options->owned) / sizeof(options->owned[0]); i++)
		free(options->owned[i]);
	*options = (struct options){0};
}
