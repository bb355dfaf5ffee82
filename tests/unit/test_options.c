/* SPDX-License-Identifier: MIT */
/* The command line of hvisor-launch: what is wrong is said, with exit code 2, and --check shows what would run. */
#include <cjson/cJSON.h>

#include "launcher/options.h"
#include "tests/unit/launcher_run.h"

static struct run run;

/* Refused with this one complaint. */
#define REFUSED(complaint, ...)                                                                                        \
	do {                                                                                                           \
		LAUNCHER_RUN(&run, __VA_ARGS__);                                                                       \
		CHECK_STR(run.err, "hvisor-launch: " complaint "\n");                                                  \
		CHECK_STR(run.out, "");                                                                                \
		CHECK_INT(run.code, 2);                                                                                \
	} while (0)

static void test_wrong_options(void)
{
	launcher_run(&run, (const char *const[]){NULL});
	CHECK_STR(run.err, "hvisor-launch: no configuration is given; try hvisor-launch virtio_cfg.json, or --help\n");
	CHECK_INT(run.code, 2);
	REFUSED("--chekc: no such option; did you mean --check?", "--chekc", "x.json");
	REFUSED("--statsu: no such option; did you mean --status?", "--statsu=3");
	REFUSED("--qqqqq: no such option; see hvisor-launch --help", "--qqqqq");
	REFUSED("-x: no such option; see hvisor-launch --help", "-x");
	REFUSED("--restart: needs an argument; see hvisor-launch --help", "--restart");
	REFUSED("--status: takes no argument", "--status=blk0");
	REFUSED("--follow: takes no argument", "--logs", "x", "--follow=yes");
	REFUSED("--status and --stop: only one of them can be done at once", "--status", "--stop");
	REFUSED("--daemon does not go with --status", "--daemon", "--status");
	REFUSED("--json does not go with --stop, only with --status and --check", "--json", "--stop");
	REFUSED("-f does not go with serving a configuration, only with --logs", "-f", "x.json");
	REFUSED("b: one argument too many for --status", "--status", "a", "b");
	REFUSED("a: one argument too many for --restart", "--restart", "blk0", "a");
	REFUSED("y.json: one argument too many for serving a configuration", "x.json", "y.json");
	REFUSED("--restart: the name of a device is empty", "--restart", "");
}

static void test_wrong_arguments(void)
{
	char deep[128];

	REFUSED("--seccomp: is \"off\"; must be enforce or log", "--seccomp=off", "x.json");
	REFUSED("--uid-base: is \"0\"; must be a number from 65536 to 4294967038", "--uid-base", "0", "x.json");
	REFUSED("--uid-base: is \"-1\"; must be a number from 65536 to 4294967038", "--uid-base", "-1", "x.json");
	REFUSED("--uid-base: is \"70000x\"; must be a number from 65536 to 4294967038", "--uid-base", "70000x",
		"x.json");
	REFUSED("--uid-base: is \"4294967295\"; must be a number from 65536 to 4294967038", "--uid-base", "4294967295",
		"x.json");
	REFUSED("--hv: is \"sim:\"; must be a device such as /dev/hvisor, or sim:PATH", "--hv", "sim:", "x.json");
	REFUSED("--hv: is \"\"; must be a device such as /dev/hvisor, or sim:PATH", "--hv=", "x.json");
	REFUSED("--log-level: is \"blk0\"; must be NAME=LEVEL, such as blk0=debug", "--log-level", "blk0");
	REFUSED("--log-level: is \"=info\"; must be NAME=LEVEL, such as blk0=debug", "--log-level", "=info");
	REFUSED("--log-level: there is no level \"debgu\"; the levels are error, warning, info and debug; did you mean "
		"debug?",
		"--log-level", "blk0=debgu");
	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	deep[0] = '/';
	LAUNCHER_RUN(&run, "--run", deep, "x.json");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "is too long for the path of a socket in it; take one of up to 94 bytes\n");
}

static void test_all_complaints(void)
{
	LAUNCHER_RUN(&run, "--link", "net0");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "--link: is \"net0\"; must be NAME=up or NAME=down, such as net0=down\n");
	LAUNCHER_RUN(&run, "--console", "console0", "--escape", "ab");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "--escape: is \"ab\"; must be a key such as ^] (for Ctrl-]), or none\n");
	LAUNCHER_RUN(&run, "--status", "--escape", "^a");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "--escape does not go with --status, only with --console\n");
	LAUNCHER_RUN(&run, "--link", "net0=off");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "--link: a link is up or down, not \"off\"\n");
	LAUNCHER_RUN(&run, "--seccomp=off", "--uid-base", "1", "--nope");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "--seccomp:");
	CHECK_HAS(run.err, "--uid-base:");
	CHECK_HAS(run.err, "--nope:");
}

/* The manual page, as the tests find it in the folder that they are run in. */
static void read_manual(char *text, size_t size)
{
	int fd = open("docs/hvisor-launch.8", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	launcher_slurp(fd, text, size);
}

/* Both the help and the manual know every option. */
static void test_help_and_version(void)
{
	static char manual[65536];
	char macro[64];
	size_t i;
	static const char *const words[] = {"--check",      "--status",  "--restart", "--stop",      "--start",
					    "--logs",       "--resize",  "--link",    "--log-level", "--json",
					    "--daemon",     "--hv",      "--run",     "--log-dir",   "--program-dir",
					    "--policy-dir", "--seccomp", "--cgroup",  "--uid-base",  "--verbose",
					    "--help",       "--version"};

	LAUNCHER_RUN(&run, "--help");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.err, "");
	read_manual(manual, sizeof(manual));
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		CHECK_HAS(run.out, words[i]);
		snprintf(macro, sizeof(macro), "Fl %s", words[i] + 1);
		CHECK_HAS(manual, macro);
	}
	LAUNCHER_RUN(&run, "--version");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.out, "hvisor-launch " HVISOR_VERSION "\n");
}

static void test_parse(void)
{
	char base[] = "--uid-base=0x10000";
	char level[] = "a=b=debug";
	char *run_line[] = {
		"hvisor-launch", "--daemon", "--seccomp=log", base, "--hv",         "sim:s", "--run", "r", "x.json",
		"--log-dir",     "/l",       "--program-dir", "p",  "--policy-dir", "/q",    "-v",    NULL};
	char *level_line[] = {"hvisor-launch", "--log-level", level, NULL};
	char *stop_line[] = {"hvisor-launch", "--stop", NULL};
	struct options options;
	struct errors errors;
	char here[512];

	launcher_enter_folder();
	errors_init(&errors);
	CHECK_INT(options_parse(&options, 16, run_line, &errors), 0);
	CHECK_INT(options.action, OPTIONS_RUN);
	CHECK_STR(options.config, "x.json");
	CHECK(options.launch.daemonize);
	CHECK(options.launch.verbose);
	CHECK_INT(options.launch.seccomp, LAUNCH_SECCOMP_LOG);
	CHECK_INT(options.launch.uid_base, 65536);
	snprintf(here, sizeof(here), "sim:%s/s", launcher_folder);
	CHECK_STR(options.launch.hv, here);
	snprintf(here, sizeof(here), "%s/r", launcher_folder);
	CHECK_STR(options.launch.run_dir, here);
	snprintf(here, sizeof(here), "%s/p", launcher_folder);
	CHECK_STR(options.launch.program_dir, here);
	CHECK_STR(options.launch.log_dir, "/l");
	CHECK_STR(options.launch.policy_dir, "/q");
	options_finish(&options);

	CHECK_INT(options_parse(&options, 3, level_line, &errors), 0);
	CHECK_INT(options.action, OPTIONS_LOG_LEVEL);
	CHECK_STR(options.name, "a=b");
	CHECK_STR(options.level, "debug");
	CHECK_STR(options.launch.hv, LAUNCH_HV);
	CHECK_STR(options.launch.run_dir, LAUNCH_RUN_DIR);
	CHECK_STR(options.launch.log_dir, LAUNCH_LOG_DIR);
	CHECK_INT(options.launch.uid_base, LAUNCH_UID_BASE);
	CHECK_INT(options.launch.seccomp, LAUNCH_SECCOMP_ENFORCE);
	CHECK(!options.launch.daemonize);
	options_finish(&options);

	CHECK_INT(options_parse(&options, 2, stop_line, &errors), 0);
	CHECK_INT(options.action, OPTIONS_STOP);
	CHECK(!options.name);
	options_finish(&options);
	CHECK_INT(errors.count, 0);
}

static const char config_text[] =
	"{\"zones\":[{\"id\":3,\"memory_region\":[{\"zone0_ipa\":\"0x50000000\",\"zonex_ipa\":\"0x40000000\",\"size\":"
	"\"0x30000000\"}],\"devices\":[{\"type\":\"blk\",\"addr\":\"0xa003c00\",\"len\":\"0x200\",\"irq\":78,\"img\":"
	"\"disk.img\",\"serial\":\"S1\",\"cache\":\"none\"},{\"type\":\"gpu\",\"addr\":\"0xa003a00\",\"len\":512,"
	"\"irq\":7"
	"}]}]}";

/* A configuration with its image, and a program and a policy where --check looks for them. */
static void make_config(void)
{
	launcher_enter_folder();
	launcher_write("c.json", config_text);
	launcher_write("hvisor-blk", "");
	launcher_write("hvisor-blk.policy", "");
	launcher_write("disk.img", "");
	CHECK_INT(truncate("disk.img", 3 << 19), 0);
}

static void test_check(void)
{
	make_config();
	LAUNCHER_RUN(&run, "--check", "--program-dir", ".", "--policy-dir", ".", "c.json");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	CHECK_HAS(run.out, "zone 3\n  memory     768 MiB at 0x40000000, which root sees at 0x50000000\n");
	CHECK_HAS(run.out, "blk0 (zones[0].devices[0])\n  type       blk\n  zone       3\n");
	CHECK_HAS(run.out, "  window     0xa003c00-0xa003dff\n  interrupt  78\n");
	CHECK_HAS(run.out, "/disk.img, 1.5 MiB\n  serial     S1\n  cache      none\n  engine     auto\n  block      "
			   "512 bytes\n  queues     1 of 256\n  polling    adaptive\n");
	CHECK_HAS(run.out, " FLUSH ");
	CHECK_HAS(run.out, " VERSION_1");
	CHECK_HAS(run.out, "/hvisor-blk\n  policy     ");
	CHECK_HAS(run.out, "/hvisor-blk.policy\n");
	CHECK_HAS(run.out, "left out: gpu0 (zones[0].devices[1]): devices of type gpu are not served yet\n");
	CHECK_HAS(run.out, "1 device would be served.\n");
	/* It changed nothing. */
	CHECK_INT(access("run", F_OK), -1);
	/* Programs and policies that are missing are named. */
	CHECK_INT(unlink("hvisor-blk"), 0);
	CHECK_INT(unlink("hvisor-blk.policy"), 0);
	LAUNCHER_RUN(&run, "--check", "--program-dir", ".", "--policy-dir", ".", "c.json");
	CHECK_INT(run.code, 1);
	CHECK_HAS(run.err, "/hvisor-blk: No such file or directory; --program-dir says where the backends are\n");
	CHECK_HAS(run.err, "/hvisor-blk.policy: No such file or directory; --policy-dir says where the policies are\n");
}

static void test_check_json(void)
{
	const cJSON *device;
	cJSON *json;

	make_config();
	LAUNCHER_RUN(&run, "--check", "--json", "--program-dir", ".", "--policy-dir", ".", "c.json");
	CHECK_INT(run.code, 0);
	json = cJSON_Parse(run.out);
	CHECK(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ok")));
	device = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "devices"), 0);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(device, "name")), "blk0");
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(device, "addr")), "0xa003c00");
	CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(device, "img_bytes")), 3 << 19);
	CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(device, "zone")), 3);
	CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "skipped")), 1);
	cJSON_Delete(json);

	/* A wrong configuration, in both languages. */
	launcher_write("c.json", "{\"zones\":[{}], \"x\":1}");
	LAUNCHER_RUN(&run, "--check", "--json", "c.json");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "hvisor-launch: c.json: zones[0].id: is missing; must be a zone number from 1 to 31\n");
	CHECK_HAS(run.err, "hvisor-launch: c.json: x: is not a key of the file;");
	json = cJSON_Parse(run.out);
	CHECK(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, "ok")));
	CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "errors")), 4);
	cJSON_Delete(json);
	/* And without --check nothing is started for it. */
	LAUNCHER_RUN(&run, "--hv", "sim:none", "--run", "run", "--log-dir", "log", "c.json");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "hvisor-launch: c.json: zones[0].id: is missing");
	CHECK_INT(access("run", F_OK), -1);
}

/* Output that nobody can read is a failure. */
static void test_full_disk(void)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int status;
	pid_t pid;

	CHECK(full >= 0);
	pid = fork();
	if (pid == 0) {
		if (dup2(full, 1) == 1 && dup2(full, 2) == 2)
			execl(launcher_path(), "hvisor-launch", "--help", NULL);
		_exit(127);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 1);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"options_wrong_options", test_wrong_options, 0},
		{"options_wrong_arguments", test_wrong_arguments, 0},
		{"options_all_complaints", test_all_complaints, 0},
		{"options_help_and_version", test_help_and_version, 0},
		{"options_parse", test_parse, 0},
		{"options_check", test_check, 0},
		{"options_check_json", test_check_json, 0},
		{"options_full_disk", test_full_disk, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
