/* SPDX-License-Identifier: MIT */
#include "tests/sim/simguest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/guest_fs.h"
#include "tests/sim/guest_load.h"

#define VERIFY_FILE "/verify.dat"
#define VERIFY_BYTES (16u << 20)
#define VERIFY_DEPTH 32u
#define VERIFY_TURN_MS 500u

int simguest_complain(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	fprintf(stderr, "simguest: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	return -1;
}

int simguest_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	if (errno || end == text || *end || *out > max || text[0] == '-')
		return simguest_complain("\"%s\" is not a number up to %" PRIu64, text, max);
	return 0;
}

void simguest_close_disk(struct simguest *g)
{
	if (g->open)
		guest_blk_close(&g->blk);
	g->open = false;
}

/* The disk and its file system, taken up when a command needs them. */

static int open_disk(struct simguest *g)
{
	struct guest_blk_options options = {.depth = VERIFY_DEPTH, .data_max = 65536};
	int error;

	if (g->open && guest_dev_read(&g->blk.dev, 0, VMMIO_STATUS) & (VMMIO_S_NEEDS_RESET | VMMIO_S_FAILED)) {
		printf("the device needs a reset; starting it anew\n");
		simguest_close_disk(g);
	}
	if (g->open)
		return 0;
	error = guest_blk_open(&g->blk, &g->guest, g->device.base, g->device.irq, &options);
	if (error)
		return simguest_complain("the disk at 0x%llx cannot be started: %s", g->device.base, strerror(-error));
	g->open = true;
	return 0;
}

static int mount_disk(struct simguest *g, struct guest_fs *fs, bool writable)
{
	errcode_t error;

	if (open_disk(g) != 0)
		return -1;
	if (writable && g->blk.readonly)
		return simguest_complain("the disk is read-only");
	error = guest_fs_mount(fs, &g->blk, 0, writable);
	return error ? simguest_complain("no ext4 file system can be mounted: %s", guest_fs_error(error)) : 0;
}

static int unmount_disk(struct guest_fs *fs, int code)
{
	errcode_t error = guest_fs_unmount(fs);

	return error ? simguest_complain("unmounting: %s", guest_fs_error(error)) : code;
}

/* Commands: 0, or -1 after a complaint. */

static const char *const feature_names[64] = {
	[VIRTIO_BLK_F_SIZE_MAX] = "SIZE_MAX",
	[VIRTIO_BLK_F_SEG_MAX] = "SEG_MAX",
	[VIRTIO_BLK_F_GEOMETRY] = "GEOMETRY",
	[VIRTIO_BLK_F_RO] = "RO",
	[VIRTIO_BLK_F_BLK_SIZE] = "BLK_SIZE",
	[VIRTIO_BLK_F_FLUSH] = "FLUSH",
	[VIRTIO_BLK_F_TOPOLOGY] = "TOPOLOGY",
	[VIRTIO_BLK_F_CONFIG_WCE] = "CONFIG_WCE",
	[VIRTIO_BLK_F_MQ] = "MQ",
	[VIRTIO_BLK_F_DISCARD] = "DISCARD",
	[VIRTIO_BLK_F_WRITE_ZEROES] = "WRITE_ZEROES",
	[28] = "INDIRECT_DESC",
	[29] = "EVENT_IDX",
	[32] = "VERSION_1",
	[40] = "RING_RESET",
};

static void print_features(const char *what, uint64_t features)
{
	uint32_t bit;

	printf("%-12s", what);
	for (bit = 0; bit < 64; bit++) {
		if (!(features >> bit & 1))
			continue;
		if (feature_names[bit])
			printf(" %s", feature_names[bit]);
		else
			printf(" %u", bit);
	}
	printf("\n");
}

static int do_probe(struct simguest *g, char **arg)
{
	char id[VIRTIO_BLK_ID_BYTES + 1];
	int error;

	(void)arg;
	if (open_disk(g) != 0)
		return -1;
	guest_blk_update(&g->blk);
	printf("disk         0x%llx, interrupt %u\n", g->device.base, g->device.irq);
	printf("capacity     %" PRIu64 " sectors of 512 bytes (%.1f MiB)\n", g->blk.capacity,
	       (double)g->blk.capacity / 2048);
	printf("block size   %u%s\n", g->blk.block_size, g->blk.readonly ? ", read-only" : "");
	error = guest_blk_get_id(&g->blk, 0, id);
	printf("serial       %s\n", error ? strerror(-error) : id);
	printf("queues       %u of %u descriptors\n", g->device.nqueues, g->blk.queue[0].vq.num);
	print_features("offered", g->blk.dev.offered);
	print_features("accepted", g->blk.dev.features);
	return 0;
}

static const char *const status_names[8] = {"ACKNOWLEDGE", "DRIVER", "DRIVER_OK",   "FEATURES_OK",
					    NULL,          NULL,     "NEEDS_RESET", "FAILED"};

static int do_status(struct simguest *g, char **arg)
{
	struct hvisor_device_get get = {.id = g->device.id};
	uint32_t bit;
	int error;

	(void)arg;
	error = sim_call(&g->sim, HVISOR_DEVICE_GET, &get);
	if (error || get.id != g->device.id)
		return simguest_complain("the disk has been taken away");
	printf("name         %s\n", get.device.name);
	printf("backend      ");
	if (get.flags & HVISOR_DEVICE_ATTACHED)
		printf("process %d\n", get.owner_pid);
	else
		printf("none%s\n", get.flags & HVISOR_DEVICE_FAILED ? ", and none will come" : " now");
	printf("status       0x%02x", get.status);
	for (bit = 0; bit < 8; bit++) {
		if (get.status >> bit & 1)
			printf(" %s", status_names[bit] ? status_names[bit] : "?");
	}
	printf("\naccesses     %llu, %llu notifications, %llu bad\n", get.accesses, get.notifications,
	       get.bad_accesses);
	printf("interrupts   %llu, and %llu calls for nothing\n", get.interrupts, get.spurious);
	printf("longest      %.3f ms for a register, %.3f ms for a reset\n", (double)get.wait_max_ns / 1e6,
	       (double)get.hold_max_ns / 1e6);
	return 0;
}

static void print_entry(const struct guest_fs_entry *entry, void *argument)
{
	(void)argument;
	printf("%c%03o %10" PRIu64 " %s\n",
	       S_ISDIR(entry->mode)   ? 'd'
	       : S_ISLNK(entry->mode) ? 'l'
	       : S_ISREG(entry->mode) ? '-'
				      : '?',
	       entry->mode & 0777u, entry->size, entry->name);
}

static int do_ls(struct simguest *g, char **arg)
{
	const char *path = arg[0] ? arg[0] : "/";
	struct guest_fs fs;
	errcode_t error;

	if (mount_disk(g, &fs, false) != 0)
		return -1;
	error = guest_fs_list(&fs, path, print_entry, NULL);
	return unmount_disk(&fs, error ? simguest_complain("%s: %s", path, guest_fs_error(error)) : 0);
}

/* Reads a file of the guest; what is done with it comes after the file system is let go. */
static int read_guest_file(struct simguest *g, const char *path, void **data, size_t *len)
{
	struct guest_fs fs;
	errcode_t error;

	if (mount_disk(g, &fs, false) != 0)
		return -1;
	error = guest_fs_read(&fs, path, data, len);
	return unmount_disk(&fs, error ? simguest_complain("%s: %s", path, guest_fs_error(error)) : 0);
}

static int write_host_file(const char *path, FILE *file, const void *data, size_t len)
{
	if (!file)
		return simguest_complain("%s: %s", path, strerror(errno));
	if (fwrite(data, 1, len, file) != len || fflush(file) != 0)
		return simguest_complain("%s: %s", path, strerror(errno));
	return 0;
}

static int do_cat(struct simguest *g, char **arg)
{
	void *data;
	size_t len;
	int code;

	if (read_guest_file(g, arg[0], &data, &len) != 0)
		return -1;
	code = write_host_file("standard output", stdout, data, len);
	free(data);
	return code;
}

static int do_get(struct simguest *g, char **arg)
{
	FILE *file;
	void *data;
	size_t len;
	int code;

	if (read_guest_file(g, arg[0], &data, &len) != 0)
		return -1;
	file = fopen(arg[1], "we");
	code = write_host_file(arg[1], file, data, len);
	if (file && fclose(file) != 0 && code == 0)
		code = simguest_complain("%s: %s", arg[1], strerror(errno));
	if (code == 0)
		printf("%s: %zu bytes\n", arg[1], len);
	free(data);
	return code;
}

static int read_host_file(const char *path, void **data, size_t *len)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	int code = 0;

	if (!file || fstat(fileno(file), &st) != 0) {
		code = simguest_complain("%s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		code = simguest_complain("%s: not a regular file", path);
	} else {
		*len = (size_t)st.st_size;
		*data = malloc(*len + 1);
		if (!*data || fread(*data, 1, *len, file) != *len) {
			free(*data);
			code = simguest_complain("%s: cannot be read whole", path);
		}
	}
	if (file)
		fclose(file);
	return code;
}

static int do_put(struct simguest *g, char **arg)
{
	struct guest_fs fs;
	errcode_t error;
	void *data = NULL;
	size_t len = 0;
	int code = -1;

	if (read_host_file(arg[0], &data, &len) != 0)
		return -1;
	if (mount_disk(g, &fs, true) == 0) {
		error = guest_fs_write(&fs, arg[1], data, len);
		code = unmount_disk(&fs, error ? simguest_complain("%s: %s", arg[1], guest_fs_error(error)) : 0);
	}
	if (code == 0)
		printf("%s: %zu bytes\n", arg[1], len);
	free(data);
	return code;
}

static void print_hex(const uint8_t *bytes, uint64_t at)
{
	uint32_t i;

	printf("%08" PRIx64 " ", at);
	for (i = 0; i < 16; i++)
		printf(" %02x", bytes[i]);
	printf("  ");
	for (i = 0; i < 16; i++)
		putchar(bytes[i] >= 32 && bytes[i] < 127 ? bytes[i] : '.');
	printf("\n");
}

static int do_read(struct simguest *g, char **arg)
{
	uint8_t bytes[GUEST_LOAD_BLOCK];
	uint64_t sector;
	uint64_t count;
	uint64_t step;
	uint32_t at;
	int error;

	if (simguest_number(arg[0], UINT64_MAX / 512, &sector) != 0 || simguest_number(arg[1], 65536, &count) != 0 ||
	    open_disk(g) != 0)
		return -1;
	step = g->blk.block_size / GUEST_BLK_SECTOR;
	if (sector % step || count % step)
		return simguest_complain("the disk has blocks of %" PRIu64 " sectors: only whole ones can be read",
					 step);
	for (; count; count -= step, sector += step) {
		error = guest_blk_read(&g->blk, 0, sector, bytes, g->blk.block_size);
		if (error)
			return simguest_complain("sector %" PRIu64 ": %s", sector, strerror(-error));
		for (at = 0; at < g->blk.block_size; at += 16)
			print_hex(bytes + at, sector * GUEST_BLK_SECTOR + at);
	}
	return 0;
}

/* Where the blocks of the file lie on the disk, so that the load leaves the file system whole. */
static int map_file(struct guest_fs *fs, const char *path, struct guest_load *load)
{
	uint64_t per_block = fs->fs->blocksize / GUEST_BLK_SECTOR;
	uint64_t sector;
	ext2_ino_t ino;
	blk64_t block;
	errcode_t error;
	uint32_t i;

	error = ext2fs_namei(fs->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino);
	for (i = 0; i < load->nblocks && !error; i++) {
		sector = (uint64_t)i * (GUEST_LOAD_BLOCK / GUEST_BLK_SECTOR);
		error = ext2fs_bmap2(fs->fs, ino, NULL, NULL, 0, sector / per_block, NULL, &block);
		load->block[i].sector = block * per_block + sector % per_block;
		if (!error && block == 0)
			return simguest_complain("%s: a hole in it", path);
	}
	return error ? simguest_complain("%s: %s", path, guest_fs_error(error)) : 0;
}

static int make_verify_file(struct simguest *g, struct guest_load *load)
{
	struct guest_fs fs;
	errcode_t error;
	void *zeroes;
	int code;

	if (mount_disk(g, &fs, true) != 0)
		return -1;
	/* Blocks of at least 4 KiB are in one piece on the disk. */
	if (fs.fs->blocksize < GUEST_LOAD_BLOCK)
		return unmount_disk(&fs, simguest_complain("verify needs a file system with blocks of 4 KiB or more "
							   "(mkfs.ext4 -b 4096)"));
	zeroes = calloc(1, VERIFY_BYTES);
	error = zeroes ? guest_fs_write(&fs, VERIFY_FILE, zeroes, VERIFY_BYTES) : ENOMEM;
	free(zeroes);
	if (!error)
		error = guest_fs_sync(&fs);
	code = error ? simguest_complain("%s: %s", VERIFY_FILE, guest_fs_error(error))
		     : map_file(&fs, VERIFY_FILE, load);
	return unmount_disk(&fs, code);
}

static void print_progress(const struct guest_load *load, uint64_t begin_ns, uint64_t before, uint64_t longest_ns)
{
	printf("%6.1f s  %9" PRIu64 " requests  %7" PRIu64 "/s  longest %7.1f ms%s\n",
	       (double)(load->last_done_ns - begin_ns) / 1e9, load->done, (load->done - before) * 1000 / VERIFY_TURN_MS,
	       (double)longest_ns / 1e6, load->errors || load->wrong ? "  WRONG" : "");
}

/* Says so when another backend has taken over. */
static void print_backend(struct simguest *g, int32_t *pid, const struct guest_load *load)
{
	struct hvisor_device_get get = {.id = g->device.id};

	if (sim_call(&g->sim, HVISOR_DEVICE_GET, &get) != 0 || get.owner_pid == *pid || get.owner_pid == 0)
		return;
	if (*pid)
		printf("          backend %d is gone, %d serves now: longest request %.1f ms\n", *pid, get.owner_pid,
		       (double)load->longest_ns / 1e6);
	*pid = get.owner_pid;
}

static int run_verify(struct simguest *g, struct guest_load *load, uint64_t seconds)
{
	struct timespec ts;
	uint64_t longest = 0;
	uint64_t begin;
	uint64_t before;
	uint64_t turn;
	int32_t pid = 0;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	begin = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	print_backend(g, &pid, load);
	for (turn = 0; turn < seconds * 1000 / VERIFY_TURN_MS && !error; turn++) {
		before = load->done;
		load->longest_ns = 0;
		error = guest_load_run(load, VERIFY_TURN_MS);
		print_backend(g, &pid, load);
		print_progress(load, begin, before, load->longest_ns);
		fflush(stdout);
		if (load->longest_ns > longest)
			longest = load->longest_ns;
	}
	if (!error)
		error = guest_load_check(load);
	if (error)
		return simguest_complain("no request completed for %d s: is hvisor-launch running?",
					 load->timeout_ms / 1000);
	if (load->errors || load->wrong)
		return simguest_complain("%" PRIu64 " requests failed, %" PRIu64 " blocks were wrong; the first: %s",
					 load->errors, load->wrong, load->what);
	printf("verified: %" PRIu64 " writes and %" PRIu64
	       " reads, none lost, none torn, none failed; longest %.1f ms\n",
	       load->writes, load->reads, (double)longest / 1e6);
	return 0;
}

static int do_verify(struct simguest *g, char **arg)
{
	struct guest_load load;
	uint64_t seconds = 5;
	int code;

	if (arg[0] && simguest_number(arg[0], 86400, &seconds) != 0)
		return -1;
	if (open_disk(g) != 0)
		return -1;
	if (guest_load_init(&load, &g->blk, 0, VERIFY_BYTES / GUEST_LOAD_BLOCK, 0, (uint64_t)getpid()) != 0)
		return simguest_complain("no memory");
	code = make_verify_file(g, &load);
	if (code == 0) {
		printf("random writes and reads of 4 KiB in " VERIFY_FILE ", %u in flight, for %" PRIu64 " s\n",
		       load.depth, seconds);
		code = run_verify(g, &load, seconds);
	}
	guest_load_finish(&load);
	return code;
}

static int do_reset(struct simguest *g, char **arg)
{
	(void)arg;
	simguest_close_disk(g);
	printf("reset\n");
	return 0;
}

static int do_help(struct simguest *g, char **arg);

static const struct command {
	const char *name;
	int min; /* arguments */
	int max;
	int (*run)(struct simguest *g, char **arg);
	const char *usage;
	const char *what;
} commands[] = {
	{"probe", 0, 0, do_probe, "probe", "start the disk and say what it is"},
	{"ls", 0, 1, do_ls, "ls [PATH]", "list a folder of the disk's ext4 file system"},
	{"cat", 1, 1, do_cat, "cat PATH", "print a file of it"},
	{"get", 2, 2, do_get, "get PATH HOSTFILE", "copy a file out of it"},
	{"put", 2, 2, do_put, "put HOSTFILE PATH", "copy a file into it"},
	{"read", 2, 2, do_read, "read SECTOR COUNT", "print sectors of 512 bytes"},
	{"verify", 0, 1, do_verify, "verify [SECONDS]", "random writes and reads in the file " VERIFY_FILE ", checked"},
	{"status", 0, 0, do_status, "status", "what the simulator knows of the device"},
	{"reset", 0, 0, do_reset, "reset", "reset the device; the next command starts it anew"},
	{"help", 0, 0, do_help, "help", "this list"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int do_help(struct simguest *g, char **arg)
{
	size_t i;

	(void)g;
	(void)arg;
	for (i = 0; i < COMMANDS; i++)
		printf("  %-20s %s\n", commands[i].usage, commands[i].what);
	printf("  %-20s %s\n", "quit", "end");
	return 0;
}

int simguest_run_line(struct simguest *g, char *line)
{
	char *word[8] = {NULL};
	char *rest = NULL;
	int n = 0;
	size_t i;

	for (word[0] = strtok_r(line, " \t\r\n", &rest); word[n] && n < 6; word[n] = strtok_r(NULL, " \t\r\n", &rest))
		n++;
	if (n == 0 || word[0][0] == '#')
		return 0;
	if (strcmp(word[0], "quit") == 0 || strcmp(word[0], "exit") == 0)
		return 1;
	for (i = 0; i < COMMANDS; i++) {
		if (strcmp(word[0], commands[i].name) != 0)
			continue;
		if (n - 1 < commands[i].min || n - 1 > commands[i].max)
			return simguest_complain("usage: %s", commands[i].usage);
		return commands[i].run(g, &word[1]);
	}
	return simguest_complain("%s: no such command; \"help\" lists them", word[0]);
}
