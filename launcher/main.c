/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "check.h"
#include "client.h"
#include "launch.h"
#include "options.h"

#define PREFIX "hvisor-launch: "

static int print_errors(const struct errors *errors, int code)
{
	errors_print(errors, stderr, PREFIX);
	return code;
}

/* Serves the configuration, or says what would be served. */
static int run(const struct options *options, struct errors *errors)
{
	struct config config;
	int code;

	if (config_read(&config, options->config, errors) != 0) {
		if (options->json)
			check_print_errors(errors, stdout);
		return print_errors(errors, LAUNCH_EXIT_USAGE);
	}
	if (options->action == OPTIONS_CHECK) {
		code = check_print(&options->launch, &config, options->json, stdout, errors);
		print_errors(errors, code);
	} else {
		errors_print(&config.skipped, stderr, PREFIX);
		code = launch_main(&options->launch, &config);
	}
	config_finish(&config);
	return code;
}

/* Its process is called what it was called by, whatever its file is called: "hvisor virtio start" has a reason. */
static void take_name(const char *name)
{
	const char *slash = name ? strrchr(name, '/') : NULL;

	if (name)
		prctl(PR_SET_NAME, slash ? slash + 1 : name);
}

int main(int argc, char **argv)
{
	struct errors errors;
	struct options options;
	int code = LAUNCH_EXIT_OK;

	take_name(argv[0]);
	errors_init(&errors);
	if (options_parse(&options, argc, argv, &errors) != 0) {
		code = print_errors(&errors, LAUNCH_EXIT_USAGE);
		errors_finish(&errors);
		return code;
	}
	switch (options.action) {
	case OPTIONS_RUN:
	case OPTIONS_CHECK:
		code = run(&options, &errors);
		break;
	case OPTIONS_HELP:
		options_print_help(stdout);
		break;
	case OPTIONS_VERSION:
		printf("hvisor-launch " HVISOR_VERSION "\n");
		break;
	default:
		code = client_main(&options, &errors);
		print_errors(&errors, code);
		break;
	}
	options_finish(&options);
	errors_finish(&errors);
	/* Output that did not reach its reader (a full disk, say) is a failure. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror(PREFIX "standard output");
		code = code ? code : LAUNCH_EXIT_FAILED;
	}
	return code;
}
