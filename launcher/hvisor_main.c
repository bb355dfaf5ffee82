/* SPDX-License-Identifier: MIT */
/* hvisor: the command line for zones, with the arguments of upstream's. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "config_reader.h"
#include "launch.h"
#include "zone.h"

#define PREFIX "hvisor: "
#define LAUNCHER "hvisor-launch"
#define DAEMON "hvisor-virtio" /* upstream's, which scripts end by its name: pkill hvisor-virtio */

enum option_code {
	OPTION_ID = 256,
	OPTION_JSON,
	OPTION_HV,
	OPTION_VIRTIO,
	OPTION_ARCH,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{"id", required_argument, NULL, OPTION_ID},     {"json", no_argument, NULL, OPTION_JSON},
	{"hv", required_argument, NULL, OPTION_HV},     {"virtio", required_argument, NULL, OPTION_VIRTIO},
	{"arch", required_argument, NULL, OPTION_ARCH}, {"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION}, {NULL, 0, NULL, 0},
};
#define LONG_OPTIONS (sizeof(long_options) / sizeof(long_options[0]) - 1)

enum action {
	ACTION_START,
	ACTION_CHECK,
	ACTION_SHUTDOWN,
	ACTION_LIST,
	ACTION_VIRTIO_START,
	ACTIONS,
};

static const struct {
	const char *noun;
	const char *verb;
} actions[] = {
	[ACTION_START] = {"zone", "start"},          [ACTION_CHECK] = {"zone", "check"},
	[ACTION_SHUTDOWN] = {"zone", "shutdown"},    [ACTION_LIST] = {"zone", "list"},
	[ACTION_VIRTIO_START] = {"virtio", "start"},
};

struct arguments {
	const char *hv;
	const char *virtio;
	const char *id;
	enum zone_arch arch;
	const char *arch_name;
	bool json;
	bool help;
	bool version;
};

static void print_help(FILE *file)
{
	fprintf(file,
		"usage: hvisor zone start [--virtio VIRTIO.json] ZONE.json   load a zone and start it\n"
		"       hvisor zone check [--virtio VIRTIO.json] ZONE.json   only check all files\n"
		"       hvisor zone shutdown -id N                           stop zone N\n"
		"       hvisor zone list [--json]                            which zones run\n"
		"       hvisor virtio start VIRTIO.json [OPTION...]          serve the zones' virtio devices:\n"
		"                                   runs hvisor-launch, which has the options\n"
		"\n"
		"Options\n"
		"  --virtio VIRTIO.json  check windows, interrupts and memory against that file too\n"
		"  --hv WHERE            " LAUNCH_HV " (default), or sim:PATH for the simulator\n"
		"  --arch ARCH           hvisor's: arm64, riscv64, loongarch64 or x86_64 (default: this machine's)\n"
		"  --help, --version\n"
		"\n"
		"Exit codes: 0 done, 1 failed, 2 wrong options or wrong files.\n");
}

static void complain_option(struct errors *errors, char **argv, int code)
{
	const char *known[LONG_OPTIONS];
	const char *given = argv[optind - 1];
	const char *near;
	char word[64];
	size_t i;

	for (i = 0; i < LONG_OPTIONS; i++)
		known[i] = long_options[i].name;
	for (i = 0; i < LONG_OPTIONS && long_options[i].val != optopt; i++)
		;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(given, "="), given);
	near = config_nearest(word + strspn(word, "-"), known, LONG_OPTIONS);
	if (code == ':')
		errors_add(errors, "%s: needs an argument; see hvisor --help", word);
	else if (i < LONG_OPTIONS)
		errors_add(errors, "--%s: takes no argument", long_options[i].name);
	else
		errors_add(errors, "%s: no such option%s%s%s", word, near ? "; did you mean --" : "; see hvisor --help",
			   near ? near : "", near ? "?" : "");
}

/* Options up to the first word (whole false), or of all words. */
static void parse_options(struct arguments *arguments, int argc, char **argv, bool whole, struct errors *errors)
{
	int code;

	opterr = 0;
	while ((code = getopt_long_only(argc, argv, whole ? ":" : "+:", long_options, NULL)) != -1) {
		switch (code) {
		case OPTION_ID:
			arguments->id = optarg;
			break;
		case OPTION_JSON:
			arguments->json = true;
			break;
		case OPTION_HV:
			arguments->hv = optarg;
			break;
		case OPTION_VIRTIO:
			arguments->virtio = optarg;
			break;
		case OPTION_ARCH:
			arguments->arch_name = optarg;
			arguments->arch = zone_arch_find(optarg);
			if (arguments->arch == ZONE_ARCHS)
				errors_add(errors, "--arch: is \"%s\"; must be arm64, riscv64, loongarch64 or x86_64",
					   optarg);
			break;
		case OPTION_HELP:
			arguments->help = true;
			break;
		case OPTION_VERSION:
			arguments->version = true;
			break;
		default:
			complain_option(errors, argv, code);
			break;
		}
	}
}

/* The two words of a command; ACTIONS after a complaint. */
static enum action find_action(const char *noun, const char *verb, struct errors *errors)
{
	static const char *const nouns[] = {"zone", "virtio"};
	const char *verbs[ACTIONS];
	const char *near;
	size_t nverbs = 0;
	size_t i;

	if (!noun) {
		errors_add(errors, "no command is given; see hvisor --help");
		return ACTIONS;
	}
	for (i = 0; i < ACTIONS; i++) {
		if (strcmp(noun, actions[i].noun) != 0)
			continue;
		if (verb && strcmp(verb, actions[i].verb) == 0)
			return (enum action)i;
		verbs[nverbs++] = actions[i].verb;
	}
	if (nverbs == 0) {
		near = config_nearest(noun, nouns, 2);
		errors_add(errors, "%s: no such command%s%s%s", noun, near ? "; did you mean " : "; see hvisor --help",
			   near ? near : "", near ? "?" : "");
	} else if (!verb) {
		errors_add(errors, "%s: what about it? See hvisor --help", noun);
	} else {
		near = config_nearest(verb, verbs, nverbs);
		if (strcmp(noun, "virtio") == 0 && strcmp(verb, "add") == 0)
			errors_add(errors,
				   "virtio add: devices are not added one file after another: put them into that "
				   "of virtio start, end it with hvisor-launch --stop, and start it anew; the "
				   "devices that are in use go on then");
		else
			errors_add(errors, "%s %s: no such command%s%s%s", noun, verb,
				   near ? "; did you mean " : "; see hvisor --help", near ? near : "", near ? "?" : "");
	}
	return ACTIONS;
}

/* What goes with which command. Complains; *word is the one word that a command takes. */
static void check_arguments(enum action action, const struct arguments *arguments, char **words, int nwords,
			    const char **word, struct errors *errors)
{
	const char *noun = actions[action].noun;
	const char *verb = actions[action].verb;
	bool takes_file = action == ACTION_START || action == ACTION_CHECK;
	int taken = takes_file && nwords > 0;
	int i;

	*word = taken ? words[0] : NULL;
	if (takes_file && !taken)
		errors_add(errors, "%s %s: the zone file is missing; try: hvisor %s %s zone1.json", noun, verb, noun,
			   verb);
	for (i = taken; i < nwords; i++)
		errors_add(errors, "%s %s: \"%s\" is one argument too many", noun, verb, words[i]);
	if (arguments->id && action != ACTION_SHUTDOWN)
		errors_add(errors, "-id goes only with zone shutdown, not with %s %s", noun, verb);
	if (arguments->json && action != ACTION_LIST)
		errors_add(errors, "--json goes only with zone list, not with %s %s", noun, verb);
	if (arguments->virtio && !takes_file)
		errors_add(errors, "--virtio goes only with zone start and zone check, not with %s %s", noun, verb);
	if (arguments->arch_name && !takes_file)
		errors_add(errors, "--arch goes only with zone start and zone check, not with %s %s", noun, verb);
}

static uint32_t parse_id(const char *text, struct errors *errors)
{
	cJSON value = {.type = cJSON_String, .valuestring = (char *)text};
	uint64_t id = 0;

	if (!text)
		errors_add(errors, "zone shutdown: which zone? Try: hvisor zone shutdown -id 1");
	else if (!config_number(&value, 1, HVISOR_ZONES_MAX - 1, &id))
		errors_add(errors, "-id: is \"%s\"; must be the number of a zone, from 1 to %u%s", text,
			   HVISOR_ZONES_MAX - 1, strcmp(text, "0") == 0 ? " (0 is root Linux itself)" : "");
	return (uint32_t)id;
}

/* Only comes back if it cannot be run. Words: those behind "virtio start". */
static int run_launcher(const struct arguments *arguments, char **words, int nwords, struct errors *errors)
{
	const char **argv = calloc((size_t)nwords + 4, sizeof(*argv));
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(LAUNCHER));
	int at = 0;
	int i;

	if (!argv || n <= 0) {
		errors_add(errors, "%s cannot be found: %s", LAUNCHER, strerror(argv ? errno : ENOMEM));
		free(argv);
		return LAUNCH_EXIT_FAILED;
	}
	path[n] = 0;
	strcpy(strrchr(path, '/') + 1, LAUNCHER);
	argv[at++] = DAEMON;
	if (arguments->hv) {
		argv[at++] = "--hv";
		argv[at++] = arguments->hv;
	}
	for (i = 0; i < nwords; i++)
		argv[at++] = words[i];
	/* The one that was built or installed beside this, or else any. */
	execv(path, (char *const *)argv);
	if (errno == ENOENT)
		execvp(LAUNCHER, (char *const *)argv);
	errors_add(errors, "%s cannot be run: %s", path, strerror(errno));
	free(argv);
	return LAUNCH_EXIT_FAILED;
}

/* What hvisor and its module would say. Where there is no module, as on another machine, the files have to do. */
static int check_with_hvisor(const struct arguments *arguments, const struct zone_file *zone, struct errors *errors)
{
	const char *where = arguments->hv ? arguments->hv : LAUNCH_HV;
	struct hv hv;
	int error;

	if (!arguments->hv && arguments->arch != zone_arch_native())
		return LAUNCH_EXIT_OK;
	error = hv_open(&hv, where);
	if (error == 0) {
		error = zone_check(&hv, zone, errors);
		hv_close(&hv);
		return error ? LAUNCH_EXIT_FAILED : LAUNCH_EXIT_OK;
	}
	if (arguments->hv) {
		errors_add(errors, "cannot open %s: %s", where, hv_open_why(error));
		return LAUNCH_EXIT_FAILED;
	}
	if (error != -ENOENT)
		fprintf(stderr, PREFIX "note: hvisor is not asked about the zone's memory: cannot open %s: %s\n", where,
			hv_open_why(error));
	return LAUNCH_EXIT_OK;
}

static int start(const struct arguments *arguments, const char *file, bool only_check, struct errors *errors)
{
	struct zone_start_options options = {.path = file, .virtio = arguments->virtio, .arch = arguments->arch};
	struct zone_file zone;
	struct errors notes;
	struct hv hv;
	int code = LAUNCH_EXIT_OK;
	int error;

	errors_init(&notes);
	if (zone_prepare(&zone, &options, errors, &notes) != 0) {
		errors_finish(&notes);
		return LAUNCH_EXIT_USAGE;
	}
	errors_print(&notes, stderr, PREFIX "note: ");
	errors_finish(&notes);
	error = only_check ? 0 : hv_open(&hv, arguments->hv ? arguments->hv : LAUNCH_HV);
	if (only_check) {
		code = check_with_hvisor(arguments, &zone, errors);
		if (code == LAUNCH_EXIT_OK)
			printf("%s: zone %u (%s) can be started\n", file, zone.id, zone.name);
	} else if (error) {
		errors_add(errors, "cannot open %s: %s", arguments->hv ? arguments->hv : LAUNCH_HV, hv_open_why(error));
		code = LAUNCH_EXIT_FAILED;
	} else {
		if (zone_start(&hv, &zone, errors) != 0)
			code = LAUNCH_EXIT_FAILED;
		hv_close(&hv);
	}
	zone_file_finish(&zone);
	return code;
}

static int ask(const struct arguments *arguments, enum action action, uint32_t id, struct errors *errors)
{
	const char *where = arguments->hv ? arguments->hv : LAUNCH_HV;
	struct hv hv;
	int result;

	result = hv_open(&hv, where);
	if (result) {
		errors_add(errors, "cannot open %s: %s", where, hv_open_why(result));
		return LAUNCH_EXIT_FAILED;
	}
	if (action == ACTION_LIST)
		result = zone_list(&hv, arguments->json, stdout, errors);
	else
		result = zone_shutdown(&hv, id, errors);
	hv_close(&hv);
	return result ? LAUNCH_EXIT_FAILED : LAUNCH_EXIT_OK;
}

static int run(int argc, char **argv, struct errors *errors)
{
	struct arguments arguments = {.arch = zone_arch_native()};
	const char *word = NULL;
	enum action action;
	uint32_t id = 0;

	parse_options(&arguments, argc, argv, false, errors);
	if (arguments.help || arguments.version || errors->count) {
		action = ACTIONS;
	} else {
		action = find_action(argv[optind], argv[optind] ? argv[optind + 1] : NULL, errors);
	}
	if (action == ACTION_VIRTIO_START)
		return run_launcher(&arguments, argv + optind + 2, argc - optind - 2, errors);
	if (action != ACTIONS) {
		/* The two words go; the rest is sorted by getopt. */
		argv += optind + 1;
		argc -= optind + 1;
		optind = 0;
		parse_options(&arguments, argc, argv, true, errors);
	}
	if (errors->count)
		return LAUNCH_EXIT_USAGE;
	if (arguments.help) {
		print_help(stdout);
		return LAUNCH_EXIT_OK;
	}
	if (arguments.version) {
		printf("hvisor " HVISOR_VERSION "\n");
		return LAUNCH_EXIT_OK;
	}
	check_arguments(action, &arguments, argv + optind, argc - optind, &word, errors);
	if (action == ACTION_SHUTDOWN)
		id = parse_id(arguments.id, errors);
	if (errors->count)
		return LAUNCH_EXIT_USAGE;
	if (action == ACTION_START || action == ACTION_CHECK)
		return start(&arguments, word, action == ACTION_CHECK, errors);
	return ask(&arguments, action, id, errors);
}

int main(int argc, char **argv)
{
	struct errors errors;
	int code;

	errors_init(&errors);
	code = run(argc, argv, &errors);
	errors_print(&errors, stderr, PREFIX);
	errors_finish(&errors);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror(PREFIX "standard output");
		code = code ? code : LAUNCH_EXIT_FAILED;
	}
	return code;
}
