/* SPDX-License-Identifier: MIT */
/*
 * Calls of /dev/hvisor at random, by root itself with no zone beside it: those of the corpus of
 * tests/fuzz/fuzz_ioctl.c, then calls made up, each compared with what it has to end with; then some threads' at once.
 * Attachments and views are mapped, touched and given back in any order. In the end everything is taken away. usage:
 * ioctls SECONDS FOLDER [SEED]      FOLDER has the corpus ioctls view                       opens a view of a device,
 * closes all else, and keeps it until its input ends
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/ioctl_script.h"
#include "tests/vm/root/ioctls.h"
#include "tests/vm/root/ioctls_hold.h"

#define THREADS 3u
#define PAGE 4096ull
#define WALK_EVERY 32u

int fds[FDS];
pid_t child;

int hv;
static uint64_t seed;
static struct model model;
static uint32_t succeeded[CALLS], refused[CALLS]; /* of those that were compared */

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (seed %llu)\n", (unsigned long long)seed);
	fflush(stdout);
	_exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail_call(const struct call *call, int error, const char *what)
{
	const uint32_t *word = (const uint32_t *)(const void *)&call->arg;

	fail("call %#lx(%x %x %x %x %x %x %x %x), argument at %d, data at %d: %s: %s", call->cmd, word[0], word[1],
	     word[2], word[3], word[4], word[5], word[6], word[7], call->place, call->data,
	     error ? strerror(error) : "success", what);
}

static void device_look(uint32_t id)
{
	struct hvisor_device_get get = {.id = id};
	const char *wrong;

	if (ioctl(hv, HVISOR_DEVICE_GET, &get) != 0)
		fail("there is no device %u", id);
	wrong = get.id == id ? model_compare(&model, &get) : "it is not there";
	if (wrong)
		fail("device %u: %s", id, wrong);
}

/* All devices, and no others. */
static void devices_walk(void)
{
	struct hvisor_device_get get = {0};
	const char *wrong = model_conflict(&model);
	uint32_t n = 0;

	if (wrong)
		fail("%s", wrong);
	for (; ioctl(hv, HVISOR_DEVICE_GET, &get) == 0; get.id++, n++) {
		wrong = model_compare(&model, &get);
		if (wrong)
			fail("device %u: %s", get.id, wrong);
	}
	if (n != model.ndevices)
		fail("%u devices in place of %u", n, model.ndevices);
}

static int fd_lowest(void)
{
	int fd = dup(hv);

	close(fd);
	return fd;
}

/* The call was made although its answer cannot be written. */
static void unanswered(const struct call *call, int lowest)
{
	union ioctl_argument answer = call->arg;
	uint32_t id;

	if (call->cmd == HVISOR_DEVICE_ATTACH || call->cmd == HVISOR_DEVICE_VIEW) {
		/* Its descriptor is there, if it was not taken back. */
		close(lowest);
		if (call->cmd == HVISOR_DEVICE_ATTACH)
			model.device[call->arg.attach.id].owner = 0;
		return;
	}
	if (call->cmd == HVISOR_DEVICE_ADD) {
		for (id = 0; id < HVISOR_DEVICES_MAX; id++) {
			if (model.device[id].exists && model.device[id].add.zone == call->arg.add.zone &&
			    model.device[id].add.base == call->arg.add.base)
				return;
		}
		for (id = 0; model.device[id].exists; id++)
			;
		answer.add.id = id;
		answer.add.existed = 0;
	}
	if (call->cmd != HVISOR_DEVICE_GET && call->cmd != HVISOR_INFO && call->cmd != HVISOR_ZONE_LIST)
		model_take(&model, call, &answer);
}

static void call_count(const struct call *call, int error)
{
	uint32_t i;

	for (i = 0; i < CALLS; i++) {
		if (call_numbers[i] == call->cmd)
			(error ? refused : succeeded)[i]++;
	}
}

/* What is shown of calls that were never accepted, or never refused? */
static void counts_check(void)
{
	uint32_t i;

	for (i = 0; i < CALLS; i++) {
		/* Without a zone there is no event, and none to be stopped or to be started. */
		bool can = call_numbers[i] != HVISOR_EVENT_NEXT && call_numbers[i] != HVISOR_ZONE_START &&
			   call_numbers[i] != HVISOR_ZONE_SHUTDOWN;

		if (refused[i] == 0 || (succeeded[i] > 0) != can)
			fail("call %#lx: %u were accepted, %u refused", call_numbers[i], succeeded[i], refused[i]);
	}
}

static void exact_call(const struct room *room, struct call *call)
{
	errnos errors = model_errors(&model, call);
	union ioctl_argument answer;
	int lowest = fd_lowest();
	const char *wrong = NULL;
	bool was_made;
	int error;

	error = call_make(room, call, &answer);
	if (error ? !(errors & ERRNO(error)) : errors != 0)
		fail_call(call, error, "not what it has to end with");
	call_count(call, error);
	was_made = call->place == PLACE_READ_ONLY && error == EFAULT;
	if (error == 0 && (call->cmd == HVISOR_DEVICE_ATTACH || call->cmd == HVISOR_DEVICE_VIEW)) {
		wrong = hold(&model, call->cmd, &answer);
		lowest = fd_lowest();
	}
	if (error == 0 && !wrong)
		wrong = model_take(&model, call, &answer);
	if (was_made) {
		/* Without the page's fault, is there an error? */
		call->place = PLACE_GOOD;
		if (model_errors(&model, call) == 0)
			unanswered(call, lowest);
	}
	if (wrong)
		fail_call(call, error, wrong);
	if (fd_lowest() != lowest)
		fail_call(call, error, "a descriptor is left");
	if (error == 0 && call->cmd == HVISOR_DEVICE_ADD)
		device_look(answer.add.id);
}

/* Everything is given back and taken away; the zones stay declared. */
static void clear(void)
{
	struct hvisor_device_del del = {0};
	uint32_t id;

	holds_end(&model);
	for (id = 0; id < HVISOR_DEVICES_MAX; id++) {
		del.id = id;
		if (!model.device[id].exists)
			continue;
		if (ioctl(hv, HVISOR_DEVICE_DEL, &del) != 0)
			fail("device %u cannot be taken away: %s", id, strerror(errno));
		model.device[id].exists = false;
		model.ndevices--;
	}
	devices_walk();
}

/* One input of the fuzzer's, which is about the same calls. */
static void script_run(const struct room *room, const uint8_t *bytes, size_t size)
{
	static const struct zone_config none;
	struct input input = {.at = bytes, .left = size};
	union ioctl_argument argument;
	struct call call;
	uint8_t op, which, how;

	while (input.left > 0) {
		op = input_u8(&input);
		if (op % 8 >= 6) {
			hold_do(&model);
			continue;
		}
		which = input_u8(&input);
		how = input_u8(&input);
		call = (struct call){.cmd = ioctl_script_number(which), .config = &none};
		ioctl_script_argument(call.cmd, &argument, &input);
		memcpy(&call.arg, &argument, sizeof(call.arg));
		/* Its descriptors travel beside the structure there. */
		if (call.cmd == HVISOR_DEVICE_ATTACH) {
			call.arg.attach.kick_fd = how & 32 ? -1 : fds[0];
			call.arg.attach.call_fd = how & 16 ? fds[FDS - 1] : fds[1];
		} else if (call.cmd == HVISOR_INFO) {
			call.arg.info.event_fd = how & 32 ? -1 : fds[2];
		} else if (call.cmd == HVISOR_ZONE_START) {
			call.arg.start.size = 0;
		}
		exact_call(room, &call);
	}
}

static uint32_t corpus_run(const struct room *room, const char *folder)
{
	static uint8_t bytes[65536];
	const struct dirent *entry;
	DIR *dir = opendir(folder);
	char path[512];
	uint32_t n = 0;
	size_t size;
	FILE *file;

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!file)
			continue;
		size = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		script_run(room, bytes, size);
		clear();
		n++;
	}
	if (dir)
		closedir(dir);
	if (n == 0)
		fail("%s: there is nothing", folder);
	return n;
}

static uint32_t exact_run(const struct room *room, double seconds)
{
	double end = now() + seconds;
	struct call call;
	uint32_t n = 0;

	while (now() < end) {
		if (random_one_in(3)) {
			hold_do(&model);
		} else if (make_call(&call, &model)) {
			exact_call(room, &call);
			n++;
		}
		if (n % WALK_EVERY == 0)
			devices_walk();
	}
	return n;
}

/* As many devices as there can be. */
static void fill(const struct room *room)
{
	struct call call = {.cmd = HVISOR_ZONE_SET};
	uint32_t i;

	clear();
	call.arg.zone_set =
		(struct hvisor_zone_set){.zone = 31, .nmemory = 1, .memory = {{0x7f000000, 0x7f000000, PAGE}}};
	for (i = 1; i < HVISOR_ZONES_MAX; i++) {
		call.arg.zone_set.zone = i;
		call.arg.zone_set.memory[0].zone0_ipa = 0x7f000000 + i * PAGE;
		/* Others may be in its way, which have just been made at random. */
		exact_call(room, &call);
	}
	call = (struct call){.cmd = HVISOR_DEVICE_ADD};
	for (i = 0; i <= HVISOR_DEVICES_MAX; i++) {
		call.arg.add = (struct hvisor_device_add){.zone = 31,
							  .irq = 1 + i,
							  .base = 0xa000000 + i * 0x200ull,
							  .size = 0x200,
							  .device_id = 4,
							  .nqueues = 1,
							  .queue_size_max = 8,
							  .name = "full"};
		exact_call(room, &call);
	}
	if (model.ndevices != HVISOR_DEVICES_MAX)
		fail("%u devices", model.ndevices);
	devices_walk();
	clear();
}

struct racer {
	pthread_t thread;
	uint64_t seed;
	double end;
	uint32_t calls;
};

/* It knows of its own attachments only, and of devices that may be gone. */
static void *race(void *arg)
{
	static __thread struct model guess;
	struct racer *racer = arg;
	union ioctl_argument answer;
	struct room room;
	struct call call;
	int error;

	random_state = racer->seed;
	room_make(&room);
	while (now() < racer->end) {
		if (random_one_in(3)) {
			hold_do(NULL);
			continue;
		}
		if (!make_call(&call, &guess))
			continue;
		call.no_fds = false;
		if (call.cmd == HVISOR_DEVICE_ATTACH || call.cmd == HVISOR_DEVICE_VIEW)
			call.place = call.place == PLACE_READ_ONLY ? PLACE_GOOD : call.place;
		error = call_make(&room, &call, &answer);
		racer->calls++;
		if (error ? !(model_errors_ever(&call) & ERRNO(error)) : model_errors_always(&call) != 0)
			fail_call(&call, error, "nothing that it may end with");
		if (error == 0 && (call.cmd == HVISOR_DEVICE_ATTACH || call.cmd == HVISOR_DEVICE_VIEW))
			hold(NULL, call.cmd, &answer);
		/* What the next calls may be about. */
		if (error == 0 && call.cmd == HVISOR_DEVICE_GET && answer.get.id < HVISOR_DEVICES_MAX) {
			guess.device[answer.get.id].exists = true;
			guess.device[answer.get.id].add = answer.get.device;
		}
	}
	holds_end(NULL);
	return NULL;
}

/* What the threads have left, taken for what has to be there, as far as it can be. */
static void learn(void)
{
	struct hvisor_device_get get = {0};
	struct model_device *device;
	int64_t last = -1;

	for (; ioctl(hv, HVISOR_DEVICE_GET, &get) == 0; last = get.id++) {
		if (get.id <= last || get.id >= HVISOR_DEVICES_MAX || get.flags & HVISOR_DEVICE_ATTACHED)
			fail("device %u after %lld: flags %#x", get.id, (long long)last, get.flags);
		device = &model.device[get.id];
		*device = (struct model_device){.exists = true,
						.failed = get.flags & HVISOR_DEVICE_FAILED,
						.owner = get.owner_pid,
						.add = get.device};
		model.ndevices++;
	}
	devices_walk();
}

static uint32_t race_run(double seconds)
{
	struct racer racer[THREADS];
	uint32_t i, n = 0;

	for (i = 0; i < THREADS; i++) {
		racer[i] = (struct racer){.seed = random_next(), .end = now() + seconds};
		if (pthread_create(&racer[i].thread, NULL, race, &racer[i]) != 0)
			fail("no thread");
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(racer[i].thread, NULL);
		n += racer[i].calls;
	}
	learn();
	return n;
}

static void descriptors_make(void)
{
	uint32_t i;

	for (i = 0; i < EVENTFDS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (i == 1 ? EFD_SEMAPHORE : 0));
	fds[i++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[i++] = memfd_create("none", MFD_CLOEXEC);
	fds[i++] = hv;
	fds[i++] = STDIN_FILENO;
	for (i = 0; i < FDS; i++) {
		if (fds[i] < 0)
			fail("descriptors: %s", strerror(errno));
	}
	child = fork();
	if (child == 0) {
		close(hv);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
}

static int view(void)
{
	struct hvisor_zone_set set = {.zone = 1, .nmemory = 1, .memory = {{0x50000000, 0x50000000, PAGE}}};
	struct hvisor_device_add add = {.zone = 1,
					.irq = 40,
					.base = 0xa000000,
					.size = 0x200,
					.device_id = 4,
					.nqueues = 1,
					.queue_size_max = 8};
	struct hvisor_device_view view = {0};
	struct hvisor_device_del del = {0};
	char byte;

	strcpy(add.name, "viewed");
	if (ioctl(hv, HVISOR_ZONE_SET, &set) != 0 || ioctl(hv, HVISOR_DEVICE_ADD, &add) != 0)
		fail("no device: %s", strerror(errno));
	view.id = del.id = add.id;
	if (ioctl(hv, HVISOR_DEVICE_VIEW, &view) != 0 || ioctl(hv, HVISOR_DEVICE_DEL, &del) != 0)
		fail("no view: %s", strerror(errno));
	close(hv);
	printf("open\n");
	fflush(stdout);
	return read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint32_t inputs, exact, raced;
	struct room room;
	double seconds;

	hv = open("/dev/hvisor", O_RDWR | O_CLOEXEC);
	if (hv < 0)
		fail("/dev/hvisor: %s", strerror(errno));
	if (argc == 2 && strcmp(argv[1], "view") == 0)
		return view();
	if (argc < 3) {
		fprintf(stderr, "usage: ioctls SECONDS FOLDER [SEED] | view\n");
		return 2;
	}
	seconds = atof(argv[1]);
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)(now() * 1e9) ^ (uint64_t)getpid() << 48;
	random_state = seed;
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	model_init();
	room_make(&room);
	descriptors_make();
	holds_init();
	inputs = corpus_run(&room, argv[2]);
	exact = exact_run(&room, seconds / 2);
	counts_check();
	fill(&room);
	raced = race_run(seconds / 2);
	clear();
	if (waitpid(child, NULL, WNOHANG) != 0)
		fail("somebody has been killed");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	printf("%u inputs, %u calls, %u calls of %u threads, %llu mappings, %llu touches\n", inputs, exact, raced,
	       THREADS, (unsigned long long)holds_mapped, (unsigned long long)holds_touched);
	return 0;
}
