/* SPDX-License-Identifier: MIT */
#include "launcher/tap_record.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX "tap"
#define TEXT_MAX 512
#define FORMAT                                                                                                         \
	"index=%d\nnetns=%llu\nboot=%36s\nmade=%d\nwas_up=%d\nwas_mtu=%u\nwas_master=%d\nwas_vnet_hdr=%d\nwas_pi=%d\n" \
	"set_mtu=%u\nset_master=%d\n"
#define FIELDS 11

/* Fills in what tells an interface from one of the same index elsewhere or earlier. */
static int identify(struct tap_record *record)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return -errno;
	record->netns = st.st_ino;
	return rundir_boot(record->boot);
}

int tap_record_init(struct tap_record *record, const struct link *link, bool made)
{
	*record = (struct tap_record){
		.index = link->index,
		.made = made,
		.was_up = link->up,
		.was_mtu = link->mtu,
		.was_master = link->master,
		.was_vnet_hdr = link->vnet_hdr,
		.was_packet_info = link->packet_info,
	};
	return identify(record);
}

int tap_record_save(const struct rundir *run, const char *name, const struct tap_record *record)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), FORMAT, record->index, (unsigned long long)record->netns, record->boot,
		 record->made, record->was_up, record->was_mtu, record->was_master, record->was_vnet_hdr,
		 record->was_packet_info, record->set_mtu, record->set_master);
	return rundir_save_text(run, name, SUFFIX, text);
}

bool tap_record_load(const struct rundir *run, const char *name, const struct link *link, struct tap_record *record)
{
	struct tap_record now = {.index = link->index};
	unsigned long long netns;
	char text[TEXT_MAX];
	int flag[4];

	memset(record, 0, sizeof(*record));
	if (!rundir_load_text(run, name, SUFFIX, text, sizeof(text)) || identify(&now) != 0)
		return false;
	if (sscanf(text, FORMAT, &record->index, &netns, record->boot, &flag[0], &flag[1], &record->was_mtu,
		   &record->was_master, &flag[2], &flag[3], &record->set_mtu, &record->set_master) != FIELDS)
		return false;
	record->netns = netns;
	record->made = flag[0];
	record->was_up = flag[1];
	record->was_vnet_hdr = flag[2];
	record->was_packet_info = flag[3];
	return now.index && record->index == now.index && record->netns == now.netns &&
	       strcmp(record->boot, now.boot) == 0;
}

void tap_record_forget(const struct rundir *run, const char *name)
{
	rundir_forget_text(run, name, SUFFIX);
}

void tap_record_each(const struct rundir *run, void (*each)(const char *name, void *arg), void *arg)
{
	DIR *dir = opendir(run->path);
	struct dirent *entry;
	char name[CONFIG_INTERFACE_MAX];

	while (dir && (entry = readdir(dir))) {
		char *end = strrchr(entry->d_name, '.');
		size_t len = end ? (size_t)(end - entry->d_name) : 0;

		if (len == 0 || len >= sizeof(name) || strcmp(end + 1, SUFFIX) != 0)
			continue;
		memcpy(name, entry->d_name, len);
		name[len] = '\0';
		each(name, arg);
	}
	if (dir)
		closedir(dir);
}
