/* SPDX-License-Identifier: MIT */
#include "common/backend.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/backend_loop.h"
#include "common/confine.h"

/* What the command line says about the surroundings. */
struct backend_args {
	uint64_t region_offset;
	uint64_t region_size;
	uint32_t nmemory;
	struct gmem_region memory[GMEM_REGIONS_MAX];
	bool confine;
};

int backend_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	unsigned long long value;
	char *end;

	/* strtoull() would take spaces, signs and a second 0x. */
	if (hex ? !isxdigit((unsigned char)digits[0]) || digits[1] == 'x' || digits[1] == 'X'
		: !isdigit((unsigned char)digits[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(digits, &end, hex ? 16 : 10);
	if (errno || *end || value < min || value > max)
		return -EINVAL;
	*out = value;
	return 0;
}

/* Exactly n numbers with commas between them. */
static int parse_numbers(const char *text, uint64_t *out, uint32_t n)
{
	char number[32];
	size_t len;
	uint32_t i;

	for (i = 0; i < n; i++) {
		len = strcspn(text, ",");
		if (len >= sizeof(number) || (text[len] == ',') != (i + 1 < n))
			return -EINVAL;
		memcpy(number, text, len);
		number[len] = 0;
		if (backend_number(number, 0, UINT64_MAX, &out[i]) < 0)
			return -EINVAL;
		text += len + 1;
	}
	return 0;
}

static int parse_memory(struct backend_args *args, const char *text)
{
	uint64_t v[3];
	char part[128];
	size_t len;

	args->nmemory = 0;
	for (;; text += len + 1) {
		len = strcspn(text, ";");
		if (len >= sizeof(part) || args->nmemory == GMEM_REGIONS_MAX)
			return -EINVAL;
		memcpy(part, text, len);
		part[len] = 0;
		if (parse_numbers(part, v, 3) < 0)
			return -EINVAL;
		args->memory[args->nmemory++] = (struct gmem_region){.gpa = v[0], .size = v[1], .offset = v[2]};
		if (!text[len])
			return 0;
	}
}

static int parse_region(struct backend_args *args, const char *text)
{
	uint64_t v[2];

	if (parse_numbers(text, v, 2) < 0 || v[1] < sizeof(struct queue_region) || v[1] > UINT32_MAX ||
	    v[0] > INT64_MAX)
		return -EINVAL;
	args->region_offset = v[0];
	args->region_size = v[1];
	return 0;
}

static int parse_log_level(const char *text)
{
	uint64_t level;

	if (backend_number(text, LOG_ERROR, LOG_DEBUG, &level) < 0)
		return -EINVAL;
	log_set_level((enum log_level)level);
	return 0;
}

static int parse_name(struct backend *b, const char *text)
{
	if (!*text || strlen(text) >= sizeof(b->name))
		return -EINVAL;
	strcpy(b->name, text);
	return 0;
}

static int parse_option(struct backend *b, struct backend_args *args, const char *key, const char *value)
{
	if (strcmp(key, "name") == 0)
		return parse_name(b, value);
	if (strcmp(key, "region") == 0)
		return parse_region(args, value);
	if (strcmp(key, "memory") == 0)
		return parse_memory(args, value);
	if (strcmp(key, "log_level") == 0)
		return parse_log_level(value);
	if (strcmp(key, "policy") == 0) {
		args->confine = false;
		return strcmp(value, "none") == 0 ? 0 : -EINVAL;
	}
	return b->ops->option ? b->ops->option(b, key, value) : -EINVAL;
}

static int parse_args(struct backend *b, struct backend_args *args, int argc, char **argv)
{
	char key[32];
	size_t len;
	int i;

	*args = (struct backend_args){.confine = true};
	for (i = 1; i < argc; i++) {
		len = strcspn(argv[i], "=");
		if (!argv[i][len] || len >= sizeof(key)) {
			log_error("argument \"%s\": not of the form key=value", argv[i]);
			return -EINVAL;
		}
		memcpy(key, argv[i], len);
		key[len] = 0;
		if (parse_option(b, args, key, argv[i] + len + 1) < 0) {
			log_error("argument \"%s\": unknown key or bad value", argv[i]);
			return -EINVAL;
		}
	}
	if (!b->name[0] || args->region_size == 0 || args->nmemory == 0) {
		log_error("the arguments name=, region= and memory= are needed: a backend is started by hvisor-launch");
		return -EINVAL;
	}
	return 0;
}

static int map_region(struct backend *b, const struct backend_args *args)
{
	void *region = mmap(NULL, args->region_size, PROT_READ | PROT_WRITE, MAP_SHARED, BACKEND_FD_REGION,
			    (off_t)args->region_offset);

	if (region == MAP_FAILED) {
		log_error("mapping the queue region: %s", strerror(errno));
		return BACKEND_EXIT_FAILED;
	}
	b->region = region;
	if (!region_open(b->region, (core_u32)args->region_size, &b->shape)) {
		log_error("the queue region is not of version %u, or not whole", REGION_VERSION);
		return BACKEND_EXIT_CONFIG;
	}
	if (b->shape.device_id != b->ops->device_id) {
		log_error("the queue region is of a device with id %u, and this program serves id %u",
			  b->shape.device_id, b->ops->device_id);
		return BACKEND_EXIT_CONFIG;
	}
	region_config_recover(b->region);
	return 0;
}

static int map_all(struct backend *b, const struct backend_args *args)
{
	int code = map_region(b, args);
	int err;

	if (code)
		return code;
	err = gmem_map(&b->mem, BACKEND_FD_MEMORY, args->memory, args->nmemory);
	if (err) {
		log_error("mapping the zone's memory: %s", strerror(-err));
		return err == -EINVAL ? BACKEND_EXIT_CONFIG : BACKEND_EXIT_FAILED;
	}
	close(BACKEND_FD_REGION);
	close(BACKEND_FD_MEMORY);
	return 0;
}

static void tell_ready(struct backend *b)
{
	ssize_t n;

	core_store(&b->region->device.starts, core_load(&b->region->device.starts) + 1);
	do
		n = write(BACKEND_FD_READY, "1", 1);
	while (n < 0 && errno == EINTR);
	close(BACKEND_FD_READY);
}

/* A process executed by descriptor has that for its name, before Linux 6.14. */
static void take_name(const char *program)
{
	const char *slash = strrchr(program, '/');

	prctl(PR_SET_NAME, slash ? slash + 1 : program);
}

int backend_main(struct backend *b, int argc, char **argv)
{
	struct backend_args args;
	int code, err;

	if (argc > 0)
		take_name(argv[0]);
	err = backend_loop_signals();
	if (err) {
		log_error("setting up signals: %s", strerror(-err));
		return BACKEND_EXIT_FAILED;
	}
	if (parse_args(b, &args, argc, argv) < 0)
		return BACKEND_EXIT_CONFIG;
	code = map_all(b, &args);
	if (code)
		return code;
	b->now_ns = backend_loop_now_ns();
	err = b->ops->start(b);
	if (err)
		return BACKEND_EXIT_FAILED;
	if (!args.confine)
		log_warning("not confined: policy=none");
	else if (confine_self(BACKEND_FD_POLICY) < 0)
		return BACKEND_EXIT_FAILED;
	tell_ready(b);
	return backend_loop(b);
}
