/* SPDX-License-Identifier: MIT */
/* The files that a zone is started from: read, measured, and looked into before anything is loaded. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_reader.h"
#include "human.h"
#include "zone_file.h"

#define IMAGE_MAX UINT32_MAX /* what one call loads */
#define TWO_MIB (2ull << 20)

/* The header of a Linux Image: Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst. */
#define HEADER_SIZE 64u
#define HEADER_TEXT_OFFSET 8u
#define HEADER_IMAGE_SIZE 16u
#define HEADER_MAGIC 56u

static void complain(struct errors *errors, const struct zone_file *zone, uint32_t i, const char *what)
{
	char word[CONFIG_WORD_MAX];
	char key[ZONE_KEY_MAX];

	errors_add(errors, "%s: %s: \"%s\" %s", zone->path, zone_image_key(key, i),
		   config_word(word, zone->image[i].path), what);
}

/* Is there RAM for an image that takes needs bytes from its load address on? Complains if not. */
static bool check_room(const struct zone_file *zone, uint32_t i, uint64_t needs, struct errors *errors)
{
	const struct zone_image *image = &zone->image[i];
	char range[CONFIG_RANGE_MAX];
	char size[HUMAN_MAX];
	char key[ZONE_KEY_MAX];
	char text[256];

	if (zone_ram_physical(zone, image->load, needs, NULL))
		return true;
	if (image->load + (needs - 1) < image->load)
		snprintf(range, sizeof(range), "all addresses");
	else
		config_range(range, image->load, needs);
	snprintf(text, sizeof(text), "needs %s (%llu bytes), but %s 0x%llx leaves less: %s is not all RAM of the zone",
		 human_size(size, needs), (unsigned long long)needs, zone_image_load_key(key, i),
		 (unsigned long long)image->load, range);
	complain(errors, zone, i, text);
	return false;
}

static int read_all(int fd, unsigned char *data, uint64_t size)
{
	uint64_t at = 0;
	ssize_t n;

	while (at < size) {
		n = read(fd, data + at, size - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EAGAIN; /* it has become shorter */
		at += (uint64_t)n;
	}
	return 0;
}

/* Into memory, unless the zone has no room for it, which is complained about. Returns NULL, or what is wrong. */
static const char *read_file(struct zone_file *zone, uint32_t i, int fd, struct errors *errors)
{
	struct zone_image *image = &zone->image[i];
	struct stat st;
	int error;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "is not a file";
	if (st.st_size == 0)
		return "is empty";
	if (st.st_size > IMAGE_MAX)
		return "has more than 4 GiB; this is no image";
	if (!check_room(zone, i, (uint64_t)st.st_size, errors))
		return NULL;
	image->data = malloc((size_t)st.st_size);
	if (!image->data)
		return "cannot be read: no memory";
	error = read_all(fd, image->data, (uint64_t)st.st_size);
	if (error == -EAGAIN)
		return "changed while it was read; try again";
	if (error)
		return strerror(-error);
	image->size = (uint64_t)st.st_size;
	return NULL;
}

static void read_image(struct zone_file *zone, uint32_t i, struct errors *errors)
{
	struct zone_image *image = &zone->image[i];
	const char *why;
	char text[128];
	int fd;

	if (i == ZONE_CMDLINE) {
		image->data = (unsigned char *)strdup(image->path);
		image->size = strlen(image->path) + 1;
		if (!image->data)
			complain(errors, zone, i, "cannot be loaded: no memory");
		return;
	}
	fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		snprintf(text, sizeof(text), "cannot be opened: %s (a relative path counts from the working directory)",
			 strerror(errno));
		complain(errors, zone, i, text);
		return;
	}
	why = read_file(zone, i, fd, errors);
	if (why)
		complain(errors, zone, i, why);
	close(fd);
}

static uint64_t header_u64(const struct zone_image *image, size_t offset)
{
	uint64_t value;

	memcpy(&value, image->data + offset, sizeof(value));
	return le64toh(value);
}

/* What a file is that cannot be run as it is, as hvisor loads it; NULL: it may be a kernel. */
static const char *wrapping(const struct zone_image *image)
{
	static const struct {
		const char *magic;
		size_t len;
		const char *name;
	} known[] = {
		{"\x1f\x8b", 2, "compressed with gzip"},
		{"\xfd"
		 "7zXZ",
		 5, "compressed with xz"},
		{"BZh", 3, "compressed with bzip2"},
		{"\x28\xb5\x2f\xfd", 4, "compressed with zstd"},
		{"\x04\x22\x4d\x18", 4, "compressed with lz4"},
		{"\x7f"
		 "ELF",
		 4, "an ELF file"},
		{"\x27\x05\x19\x56", 4, "an image for U-Boot"},
		{"\xd0\x0d\xfe\xed", 4, "a device tree"},
		{"PK\x03\x04", 4, "a zip archive"},
	};
	size_t i;

	if (image->size >= 8 && memcmp(image->data, "MZ", 2) == 0 && memcmp(image->data + 4, "zimg", 4) == 0)
		return "a compressed EFI application";
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (image->size >= known[i].len && memcmp(image->data, known[i].magic, known[i].len) == 0)
			return known[i].name;
	}
	return NULL;
}

static const char *magic_of(enum zone_arch arch)
{
	return arch == ZONE_ARM64 ? "ARM\x64" : arch == ZONE_RISCV64 ? "RSC\x05" : NULL;
}

/* A Linux Image: placed as its header says, begun at its first byte, with room for what it needs behind the file. */
static void check_linux(const struct zone_file *zone, uint64_t *needs, struct errors *errors)
{
	const struct zone_image *image = &zone->image[ZONE_KERNEL];
	uint64_t text_offset = header_u64(image, HEADER_TEXT_OFFSET);
	uint64_t image_size = header_u64(image, HEADER_IMAGE_SIZE);
	char text[256];
	uint64_t virtual;

	/* 0 before Linux 3.17, when text_offset meant something else too. */
	if (image_size == 0)
		return;
	if (image_size > *needs)
		*needs = image_size;
	if (!zone_ram_physical(zone, image->load, 1, &virtual))
		return;
	if ((virtual - text_offset) % TWO_MIB != 0) {
		snprintf(text, sizeof(text),
			 "must lie 0x%llx bytes above a multiple of 2 MiB, its header says, but the zone sees "
			 "kernel_load_paddr at 0x%llx",
			 (unsigned long long)text_offset, (unsigned long long)virtual);
		complain(errors, zone, ZONE_KERNEL, text);
	}
	if (zone->entry_point != virtual) {
		snprintf(text, sizeof(text),
			 "begins at 0x%llx as the zone sees it, but entry_point is 0x%llx; a Linux Image is entered at "
			 "its "
			 "first byte",
			 (unsigned long long)virtual, (unsigned long long)zone->entry_point);
		complain(errors, zone, ZONE_KERNEL, text);
	}
}

/* needs: how much memory the kernel takes from its load address on. */
static void check_kernel(const struct zone_file *zone, uint64_t *needs, struct errors *errors, struct errors *notes)
{
	const struct zone_image *image = &zone->image[ZONE_KERNEL];
	const char *magic = magic_of(zone->arch);
	const char *wrapped = wrapping(image);
	char text[160];

	*needs = image->size;
	if (wrapped) {
		snprintf(text, sizeof(text), "is %s; hvisor loads a kernel as it is: give the plain Image", wrapped);
		complain(errors, zone, ZONE_KERNEL, text);
		return;
	}
	if (!magic || zone->arm64.aarch32)
		return;
	if (image->size < HEADER_SIZE || memcmp(image->data + HEADER_MAGIC, magic, 4) != 0) {
		snprintf(text, sizeof(text), "has not the header of a Linux Image for %s; it is loaded unchecked",
			 zone_arch_name(zone->arch));
		complain(notes, zone, ZONE_KERNEL, text);
	} else {
		check_linux(zone, needs, errors);
	}
}

static void check_overlaps(const struct zone_file *zone, const uint64_t *needs, struct errors *errors)
{
	char mine[CONFIG_RANGE_MAX];
	char its[CONFIG_RANGE_MAX];
	char key[ZONE_KEY_MAX];
	char text[256];
	uint32_t i;
	uint32_t k;

	for (i = 0; i < ZONE_IMAGES; i++) {
		const struct zone_image *a = &zone->image[i];

		for (k = 0; k < i; k++) {
			const struct zone_image *b = &zone->image[k];

			if (!needs[i] || !needs[k] || a->load + (needs[i] - 1) < a->load ||
			    b->load + (needs[k] - 1) < b->load || !config_overlap(a->load, needs[i], b->load, needs[k]))
				continue;
			snprintf(text, sizeof(text), "takes %s as root sees it, which overlaps %s of %s",
				 config_range(mine, a->load, needs[i]), config_range(its, b->load, needs[k]),
				 zone_image_key(key, k));
			complain(errors, zone, i, text);
		}
	}
}

int zone_images_read(struct zone_file *zone, struct errors *errors, struct errors *notes)
{
	uint64_t needs[ZONE_IMAGES] = {0};
	size_t before = errors->count;
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++) {
		struct zone_image *image = &zone->image[i];

		if (!image->path)
			continue;
		read_image(zone, i, errors);
		if (!image->data || !image->size)
			continue;
		needs[i] = image->size;
		if (i == ZONE_KERNEL)
			check_kernel(zone, &needs[i], errors, notes);
		/* Files have been held to it; a kernel can need more than its file, and the command line is none. */
		if (needs[i] != image->size || i == ZONE_CMDLINE)
			check_room(zone, i, needs[i], errors);
	}
	check_overlaps(zone, needs, errors);
	return errors->count == before ? 0 : -1;
}
