/* SPDX-License-Identifier: MIT */
/* The keys of blk devices and their images. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "config_reader.h"

static const char *const caches[] = {
	[CONFIG_CACHE_WRITEBACK] = "writeback",
	[CONFIG_CACHE_WRITETHROUGH] = "writethrough",
	[CONFIG_CACHE_NONE] = "none",
	NULL,
};

static const char *const engines[] = {
	[CONFIG_ENGINE_AUTO] = "auto",
	[CONFIG_ENGINE_IO_URING] = "io_uring",
	[CONFIG_ENGINE_PREADV] = "preadv",
	NULL,
};

/* The path as the launcher will use it: a relative one counts from the folder that it was started in. */
static void read_img(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		     void *out)
{
	char **img = out;
	char *path = NULL;

	config_read_string(reader, place, key, value, &path);
	if (!path)
		return;
	free(*img);
	*img = NULL;
	if (path[0] == '/') {
		*img = path;
		return;
	}
	if (asprintf(img, "%s/%s", reader->folder, path) < 0) {
		*img = NULL;
		config_complain(reader, place, key->name, "no memory");
	}
	free(path);
}

static void read_serial(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	const char *text = cJSON_IsString(value) ? value->valuestring : NULL;
	size_t n = 0;

	while (text && text[n] >= 0x20 && text[n] <= 0x7e)
		n++;
	if (!text || text[n] || n > key->max)
		config_complain_value(reader, place, key, value);
	else
		memcpy(out, text, n + 1);
}

#define AT(field) offsetof(struct config_entry, device.blk.field)

static const struct config_key keys[] = {
	{.name = "img",
	 .must = "the path of an image file or a block device, such as \"rootfs.ext4\"",
	 .read = read_img,
	 .offset = AT(img),
	 .min = 1,
	 .max = PATH_MAX - 1,
	 .required = true},
	{.name = "readonly", .must = "true or false", .read = config_read_bool, .offset = AT(readonly)},
	{.name = "serial",
	 .must = "up to 20 printable ASCII characters",
	 .read = read_serial,
	 .offset = AT(serial),
	 .max = sizeof(((struct config_blk *)0)->serial) - 1},
	{.name = "cache",
	 .must = "\"writeback\", \"writethrough\" or \"none\"",
	 .read = config_read_choice,
	 .offset = AT(cache),
	 .choice = caches},
	{.name = "discard", .must = "true or false", .read = config_read_bool, .offset = AT(discard)},
	{.name = "queues",
	 .must = "a number from 1 to 16",
	 .read = config_read_u32,
	 .offset = AT(queues),
	 .min = 1,
	 .max = 16},
	{.name = "queue_size",
	 .must = "a power of two from 4 to 1024",
	 .read = config_read_power_of_two,
	 .offset = AT(queue_size),
	 .min = 4,
	 .max = 1024},
	{.name = "logical_block_size",
	 .must = "512, 1024, 2048 or 4096",
	 .read = config_read_power_of_two,
	 .offset = AT(logical_block_size),
	 .min = 512,
	 .max = 4096},
	{.name = "engine",
	 .must = "\"auto\", \"io_uring\" or \"preadv\"",
	 .read = config_read_choice,
	 .offset = AT(engine),
	 .choice = engines},
};

const struct config_keys config_blk_keys = CONFIG_KEYS(keys);

void config_blk_init(struct config_blk *blk)
{
	*blk = (struct config_blk){.discard = true, .queues = 1, .queue_size = 256, .logical_block_size = 512};
}

void config_blk_finish(struct config_blk *blk)
{
	free(blk->img);
	blk->img = NULL;
}

/* What tells two images apart however they are called. */
struct image {
	bool good;
	bool block; /* a block device: number is its own, not the file's */
	dev_t dev;
	ino_t number;
};

static void check_image(struct config_reader *reader, const struct config_entry *entry, struct image *image)
{
	const struct config_blk *blk = &entry->device.blk;
	const char *place = entry->device.place;
	char path[CONFIG_WORD_MAX];
	struct stat st;

	config_word(path, blk->img);
	if (stat(blk->img, &st) != 0) {
		config_complain(reader, place, "img", "%s: %s%s", path, strerror(errno),
				errno == ENOENT ? "; make the image, or start hvisor-launch in the folder that it is in"
						: "");
		return;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		config_complain(reader, place, "img", "%s: is %s; must be an image file or a block device", path,
				S_ISDIR(st.st_mode)   ? "a directory"
				: S_ISCHR(st.st_mode) ? "a character device"
						      : "a pipe or a socket");
		return;
	}
	if (S_ISREG(st.st_mode) && st.st_size < blk->logical_block_size) {
		config_complain(reader, place, "img", "%s: has %lld bytes; an image has at least one block of %u bytes",
				path, (long long)st.st_size, blk->logical_block_size);
		return;
	}
	if (faccessat(AT_FDCWD, blk->img, blk->readonly ? R_OK : R_OK | W_OK, AT_EACCESS) != 0) {
		config_complain(reader, place, "img", "%s: %s%s", path, strerror(errno),
				blk->readonly ? "; it must be readable"
					      : "; it must be readable and writable, or the device \"readonly\": true");
		return;
	}
	image->good = true;
	image->block = S_ISBLK(st.st_mode);
	image->dev = image->block ? st.st_rdev : st.st_dev;
	image->number = image->block ? 0 : st.st_ino;
}

static bool same_image(const struct image *a, const struct image *b)
{
	return a->good && b->good && a->block == b->block && a->dev == b->dev && a->number == b->number;
}

void config_blk_check(struct config_reader *reader)
{
	struct image image[HVISOR_DEVICES_MAX] = {0};
	uint32_t i;
	uint32_t k;

	for (i = 0; i < reader->nentries; i++) {
		const struct config_entry *entry = &reader->entry[i];

		if (!entry->enabled || !entry->type_known || entry->device.type != CONFIG_BLK || !entry->device.blk.img)
			continue;
		check_image(reader, entry, &image[i]);
		for (k = 0; k < i; k++) {
			const struct config_device *other = &reader->entry[k].device;

			if (!same_image(&image[i], &image[k]) || (entry->device.blk.readonly && other->blk.readonly))
				continue;
			config_complain(reader, entry->device.place, "img",
					"is the image of %s (%s) too; an image that is written to has one device, give "
					"each its "
					"own or make both \"readonly\": true",
					other->name, other->place);
			break;
		}
	}
}
