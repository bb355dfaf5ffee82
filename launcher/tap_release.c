/* SPDX-License-Identifier: MIT */
/* Taps taken back: tap_release(). */
#include <errno.h>
#include <netlink/socket.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launcher/tap.h"
#include "launcher/tap_fd.h"
#include "launcher/tap_record.h"

#define VNET_HDR_SIZE 10 /* of a tap that nobody has set another one of: struct virtio_net_hdr */

struct sweep {
	const struct rundir *run;
	const struct config_device *const *keep;
	uint32_t n;
	struct errors *errors;
	struct nl_sock *sock;
};

/* A flaw that it is left with is said once, and nothing more can be done about it. */
static void give_back(struct sweep *sweep, const char *name, const struct link *link, const struct tap_record *record)
{
	const char *why = NULL;

	if (record->set_master && link->master == record->set_master && record->was_master != record->set_master)
		why = link_set_master(sweep->sock, link->index, record->was_master);
	if (why)
		errors_add(sweep->errors, "tap %s cannot go back to the bridge that it was in: %s", name, why);
	why = NULL;
	if (record->set_mtu && link->mtu == record->set_mtu && record->was_mtu != record->set_mtu)
		why = link_set_mtu(sweep->sock, link->index, record->was_mtu);
	if (why)
		errors_add(sweep->errors, "tap %s cannot get its MTU of %u back: %s", name, record->was_mtu, why);
	why = link->up && !record->was_up ? link_set_up(sweep->sock, link->index, false) : NULL;
	if (why)
		errors_add(sweep->errors, "tap %s cannot be taken down again: %s", name, why);
}

/*
 * Attaches to a tap that nobody serves and leaves it with the properties that it had: what hvisor-net switched on would
 * send the next one frames that it does not expect. 0 or -errno; -EBUSY if somebody serves it.
 */
static int reset(const char *name, const struct link *link, const struct tap_record *record)
{
	int size = VNET_HDR_SIZE;
	int fd = tap_fd_open();
	int off = 0;
	int error;

	if (fd < 0)
		return fd;
	error = link->queues ? -EBUSY
			     : tap_fd_attach(fd, name,
					     IFF_TAP | (record->was_packet_info ? 0 : IFF_NO_PI) |
						     (record->was_vnet_hdr ? IFF_VNET_HDR : 0) |
						     (link->multi_queue ? IFF_MULTI_QUEUE : 0));
	if (error == 0 && (ioctl(fd, TUNSETOFFLOAD, 0) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 ||
			   ioctl(fd, TUNSETVNETLE, &off) < 0))
		error = -errno;
	close(fd);
	return error;
}

/* True: it is done with, and need not be remembered any more. */
static bool take_back(struct sweep *sweep, const char *name)
{
	char user[TAP_USER_MAX];
	struct tap_record record;
	struct link link;
	const char *why = link_look(sweep->sock, name, &link);
	int error;

	if (why) {
		errors_add(sweep->errors, "tap %s cannot be looked at: %s", name, why);
		return false;
	}
	if (!tap_record_load(sweep->run, name, &link, &record))
		return true;
	error = reset(name, &link, &record);
	if (error == -EBUSY)
		errors_add(sweep->errors, "tap %s is left as it is: it is in use by %s", name, tap_fd_user(name, user));
	if (error == -EBUSY)
		return false;
	if (error)
		errors_add(sweep->errors, "tap %s cannot be reset: %s", name, strerror(-error));
	if (!record.made) {
		give_back(sweep, name, &link, &record);
		return true;
	}
	why = link_delete(sweep->sock, link.index);
	if (why)
		errors_add(sweep->errors, "tap %s, which hvisor-launch made, cannot be removed: %s", name, why);
	return !why;
}

static void sweep_one(const char *name, void *arg)
{
	struct sweep *sweep = arg;
	uint32_t i;

	for (i = 0; i < sweep->n; i++) {
		if (strcmp(sweep->keep[i]->net.tap, name) == 0)
			return;
	}
	if (take_back(sweep, name))
		tap_record_forget(sweep->run, name);
}

void tap_release(const struct rundir *run, const struct config_device *const *keep, uint32_t n, struct errors *errors)
{
	struct sweep sweep = {.run = run, .keep = keep, .n = n, .errors = errors};
	const char *why = link_open(&sweep.sock);

	if (why) {
		errors_add(errors, "rtnetlink: %s; network interfaces are left as they are", why);
		return;
	}
	tap_record_each(run, sweep_one, &sweep);
	nl_socket_free(sweep.sock);
}
