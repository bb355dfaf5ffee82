/* SPDX-License-Identifier: MIT */
/*
 * A board and a guest for people: starts the simulator, waits for hvisor-launch to make a disk, and then does with
 * that disk what it is told.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/simguest.h"

#define DEFAULT_MEMORY (64ull << 20)
#define DEFAULT_RAM 0x50000000ull
#define DEFAULT_ZONE 1u

/* Unlinked by a signal that ends the program. */
static const char *socket_path;

/* Until the end or "quit"; the exit code. Piped in, the first failure ends it. */
static int run_stdin(struct simguest *g)
{
	bool person = isatty(STDIN_FILENO);
	char *line = NULL;
	size_t size = 0;
	int code = 0;

	for (;;) {
		if (person)
			printf("guest> ");
		fflush(stdout);
		if (getline(&line, &size, stdin) < 0)
			break;
		code = simguest_run_line(g, line);
		if (code == 1 || (code < 0 && !person))
			break;
	}
	free(line);
	return code < 0 && !person ? 1 : 0;
}

static int run_arguments(struct simguest *g, char **argv, int n)
{
	int code = 0;
	int i;

	for (i = 0; i < n && code == 0; i++) {
		printf("guest> %s\n", argv[i]);
		code = simguest_run_line(g, argv[i]);
		fflush(stdout);
	}
	return code < 0 ? 1 : 0;
}

/* The board */

static bool is_disk(const struct simguest *g, const struct hvisor_device_add *add)
{
	return add->zone == g->zone && add->device_id == 2 && (g->base == 0 || add->base == g->base);
}

static bool find_disk(struct sim *sim, void *argument)
{
	struct simguest *g = argument;
	const struct sim_device *device;
	bool found = false;

	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted && is_disk(g, &device->add) && (!found || device->add.base < g->device.base)) {
			g->device = device->add;
			found = true;
		}
	}
	return found;
}

static int await_disk(struct simguest *g)
{
	printf("simulator    %s\n", g->socket);
	printf("zone %u       %llu MiB of memory at 0x%llx\n", g->zone, g->memory.size >> 20, g->memory.zonex_ipa);
	printf("Waiting for a disk: hvisor-launch --hv sim:%s ... virtio_cfg.json\n", g->socket);
	fflush(stdout);
	if (!sim_await(&g->sim, find_disk, g, g->wait_s ? (int)g->wait_s * 1000 : -1)) {
		if (g->base)
			return simguest_complain("no block device at 0x%" PRIx64 " in zone %u after %u s", g->base,
						 g->zone, g->wait_s);
		return simguest_complain("no block device in zone %u after %u s", g->zone, g->wait_s);
	}
	printf("disk         %s at 0x%llx, interrupt %u\n", g->device.name, g->device.base, g->device.irq);
	fflush(stdout);
	return 0;
}

/* A socket that nobody listens on any more, of a simulator that was killed, is in the way. */
static int remove_dead_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int error;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return simguest_complain("%s: longer than the %zu bytes that a socket's path may have", path,
					 sizeof(address.sun_path) - 1);
	if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return 0;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	error = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
	close(fd);
	if (error == 0)
		return simguest_complain("%s: a simulator is there already", path);
	if (error == ECONNREFUSED)
		unlink(path);
	return 0;
}

static void on_signal(int signal)
{
	unlink(socket_path);
	_exit(128 + signal);
}

static int start_board(struct simguest *g)
{
	int error;

	if (remove_dead_socket(g->socket) != 0)
		return -1;
	error = sim_start(&g->sim, g->socket);
	if (error)
		return simguest_complain("%s: %s", g->socket, strerror(-error));
	socket_path = g->socket;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	error = sim_zone_add(&g->sim, g->zone, &g->memory, 1);
	if (!error)
		error = guest_init(&g->guest, &g->sim, g->zone);
	return error ? simguest_complain("zone %u: %s", g->zone, strerror(-error)) : 0;
}

/* Options */

/* SIZE[@ADDRESS], with K, M or G behind the size. */
static int parse_memory(const char *text, struct hvisor_memory *memory)
{
	const char *units = "KMG";
	unsigned long long size;
	unsigned long long ram = DEFAULT_RAM;
	const char *unit;
	char *end;

	errno = 0;
	size = strtoull(text, &end, 0);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		size <<= 10 * (unit - units + 1);
		end++;
	}
	if (*end == '@')
		ram = strtoull(end + 1, &end, 0);
	if (errno || *end || size == 0 || size % REGION_PAGE || ram % REGION_PAGE)
		return simguest_complain("--memory %s: not SIZE or SIZE@ADDRESS in whole pages, such as 64M@0x50000000",
					 text);
	*memory = (struct hvisor_memory){ram, ram, size};
	return 0;
}

static void print_usage(FILE *file)
{
	fprintf(file, "usage: simguest --socket PATH [options] [COMMAND...]\n"
		      "Starts the simulator, waits for hvisor-launch to make a block device, and runs commands on it:\n"
		      "those given, each in quotes, or lines of standard input.\n"
		      "\n"
		      "  --socket PATH     where hvisor-launch finds it: --hv sim:PATH\n"
		      "  --memory SIZE[@ADDRESS]  of the zone, as in virtio_cfg.json (64M@0x50000000)\n"
		      "  --zone N          the guest's zone (1)\n"
		      "  --base ADDRESS    the window of the disk (the first disk of the zone)\n"
		      "  --wait SECONDS    for the disk (for ever)\n"
		      "  --help            this; the command \"help\" lists the commands\n");
}

static int parse_option(struct simguest *g, int option)
{
	uint64_t number;

	switch (option) {
	case 's':
		g->socket = optarg;
		return 0;
	case 'm':
		return parse_memory(optarg, &g->memory);
	case 'z':
		if (simguest_number(optarg, HVISOR_ZONES_MAX - 1, &number) != 0)
			return -1;
		g->zone = (uint32_t)number;
		return 0;
	case 'b':
		return simguest_number(optarg, UINT64_MAX, &g->base);
	case 'w':
		if (simguest_number(optarg, 86400, &number) != 0)
			return -1;
		g->wait_s = (uint32_t)number;
		return 0;
	default:
		print_usage(stderr);
		return -1;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"memory", required_argument, NULL, 'm'},
		{"zone", required_argument, NULL, 'z'},
		{"base", required_argument, NULL, 'b'},
		{"wait", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static struct simguest g = {.zone = DEFAULT_ZONE, .memory = {DEFAULT_RAM, DEFAULT_RAM, DEFAULT_MEMORY}};
	int option;
	int code;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'h') {
			print_usage(stdout);
			return 0;
		}
		if (parse_option(&g, option) != 0)
			return 2;
	}
	if (!g.socket) {
		print_usage(stderr);
		return 2;
	}
	if (start_board(&g) != 0 || await_disk(&g) != 0)
		code = 1;
	else
		code = optind < argc ? run_arguments(&g, argv + optind, argc - optind) : run_stdin(&g);
	simguest_close_disk(&g);
	if (socket_path) {
		guest_finish(&g.guest);
		sim_stop(&g.sim);
	}
	return code;
}
