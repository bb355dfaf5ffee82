/* SPDX-License-Identifier: MIT */
#include "launcher/tap.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launcher/devtype.h"
#include "launcher/tap_fd.h"
#include "launcher/tap_record.h"

/* A tap that is being prepared. */
struct work {
	const struct config_device *device;
	const struct config_net *net;
	const struct rundir *run;
	struct errors *errors;
	struct nl_sock *sock;
	struct link link; /* index 0: not there */
	struct link bridge; /* index 0: none wanted */
	struct tap_record record;
	bool known; /* record is that of this very tap */
};

static int look_bridge(struct work *work)
{
	const char *name = work->net->bridge;
	const char *why;

	if (!name[0])
		return 0;
	why = link_look(work->sock, name, &work->bridge);
	if (why)
		return devtype_complain(work->device, work->errors, "looking at its bridge %s: %s", name, why);
	if (work->bridge.index == 0)
		return devtype_complain(
			work->device, work->errors,
			"there is no bridge %s for it to join; make it (ip link add %s type bridge; ip link "
			"set %s up), or leave \"bridge\" out",
			name, name, name);
	if (strcmp(work->bridge.kind, "bridge") != 0)
		return devtype_complain(work->device, work->errors, "%s, which it is to join, is %s%s and no bridge",
					name, work->bridge.kind[0] ? "of kind " : "a network card", work->bridge.kind);
	return 0;
}

/* Looks at the tap and at its bridge. */
static int look(struct work *work)
{
	const char *why = link_look(work->sock, work->net->tap, &work->link);

	if (why)
		return devtype_complain(work->device, work->errors, "looking for it: %s", why);
	return look_bridge(work);
}

/* Will the interface that is there do, or can there be another one? */
static int check_kind(struct work *work)
{
	const struct link *link = &work->link;
	const char *name = work->net->tap;

	if (link->index == 0 && !work->net->create)
		return devtype_complain(
			work->device, work->errors,
			"is not there, and \"create\" is false; make it (ip tuntap add dev %s mode tap%s), or "
			"leave \"create\" out",
			name, work->net->queues > 1 ? " multi_queue" : "");
	if (link->index == 0)
		return 0;
	if (strcmp(link->kind, "tun") != 0)
		return devtype_complain(work->device, work->errors,
					"is %s%s and no tap; name one that is, or one that is not there and so is made",
					link->kind[0] ? "an interface of kind " : "a network card", link->kind);
	if (!link->tap)
		return devtype_complain(
			work->device, work->errors,
			"is of mode tun, which has no Ethernet frames; make it anew (ip tuntap add dev %s mode "
			"tap), or name another one",
			name);
	if (work->net->queues > 1 && !link->multi_queue && !(work->known && work->record.made))
		return devtype_complain(
			work->device, work->errors,
			"has a single queue, and \"queues\" is %u; make it anew (ip tuntap add dev %s mode tap "
			"multi_queue), or leave \"queues\" out",
			work->net->queues, name);
	return 0;
}

static int complain_open(const struct config_device *device, int error, struct errors *errors)
{
	const char *hint = "";

	if (error == -ENOENT || error == -ENODEV || error == -ENXIO)
		hint = "; load the driver: modprobe tun";
	return devtype_complain(device, errors, TAP_PATH ": %s%s", strerror(-error), hint);
}

static int complain_attach(const struct config_device *device, int error, struct errors *errors)
{
	char user[TAP_USER_MAX];

	if (error == -EBUSY)
		return devtype_complain(device, errors, "is in use by %s", tap_fd_user(device->net.tap, user));
	if (error == -EPERM)
		return devtype_complain(device, errors, "%s; hvisor-launch needs the capability CAP_NET_ADMIN for it",
					strerror(-error));
	return devtype_complain(device, errors, "attaching to it: %s", strerror(-error));
}

/*
 * The address of root's end of the tap. A bridge takes the lowest address of its ports for its own, which must not
 * change with each tap that comes and goes: so it begins with a high byte, as is the custom, and goes on as the
 * guest's.
 */
static void root_address(uint8_t address[6], const uint8_t mac[6])
{
	memcpy(address, mac, 6);
	address[0] = mac[0] == 0xfe ? 0xfa : 0xfe;
}

static int make_remembered(struct work *work, int fd)
{
	uint8_t address[6];
	const char *why;
	int error;

	why = link_look(work->sock, work->net->tap, &work->link);
	if (why || work->link.index == 0)
		return devtype_complain(work->device, work->errors, "looking at what was made: %s",
					why ? why : "it is gone");
	root_address(address, work->net->mac);
	why = link_set_address(work->sock, work->link.index, address);
	if (why)
		return devtype_complain(work->device, work->errors, "its address in root: %s", why);
	/* Killed before it is persistent, it goes with the descriptor; killed after that, the record is there. */
	error = tap_record_init(&work->record, &work->link, true);
	if (error == 0)
		error = tap_record_save(work->run, work->net->tap, &work->record);
	if (error)
		return devtype_complain(work->device, work->errors, "cannot remember in %s that it was made: %s",
					work->run->path, strerror(-error));
	if (ioctl(fd, TUNSETPERSIST, 1) < 0)
		return devtype_complain(work->device, work->errors, "cannot make it last: %s", strerror(errno));
	work->known = true;
	return 0;
}

static int make(struct work *work)
{
	int fd = tap_fd_open();
	int result;
	int error;

	if (fd < 0)
		return complain_open(work->device, fd, work->errors);
	error = tap_fd_attach(fd, work->net->tap,
			      TAP_FLAGS | IFF_TUN_EXCL | (work->net->queues > 1 ? IFF_MULTI_QUEUE : 0));
	result = error ? complain_attach(work->device, error, work->errors) : make_remembered(work, fd);
	close(fd);
	return result;
}

/* One of our own that has another number of queues than is wanted now goes. */
static int unmake_unfit(struct work *work)
{
	const char *why;

	if (work->link.index == 0 || work->link.multi_queue || work->net->queues == 1)
		return 0;
	why = link_delete(work->sock, work->link.index);
	if (why)
		return devtype_complain(work->device, work->errors, "cannot make it anew for %u queues: %s",
					work->net->queues, why);
	work->link.index = 0;
	return 0;
}

/* Up, of the wanted MTU, in the wanted bridge; what is not wanted any more goes back to what it was. */
static int set_up(struct work *work)
{
	struct tap_record *record = &work->record;
	const struct link *link = &work->link;
	uint32_t mtu = work->net->mtu ? work->net->mtu : record->set_mtu ? record->was_mtu : link->mtu;
	int master = work->bridge.index ? work->bridge.index : record->set_master ? record->was_master : link->master;
	const char *why;
	int error;

	record->set_mtu = work->net->mtu;
	record->set_master = work->bridge.index;
	error = tap_record_save(work->run, work->net->tap, record);
	if (error)
		return devtype_complain(work->device, work->errors, "cannot remember in %s what it was: %s",
					work->run->path, strerror(-error));
	why = mtu != link->mtu ? link_set_mtu(work->sock, link->index, mtu) : NULL;
	if (why)
		return devtype_complain(work->device, work->errors, "cannot set its MTU to %u: %s", mtu, why);
	why = master != link->master ? link_set_master(work->sock, link->index, master) : NULL;
	if (why)
		return devtype_complain(work->device, work->errors, "cannot %s: %s",
					work->bridge.index ? "join its bridge"
							   : "go back to where it was before \"bridge\" was given",
					why);
	why = link->up ? NULL : link_set_up(work->sock, link->index, true);
	if (why)
		return devtype_complain(work->device, work->errors, "cannot bring it up: %s", why);
	return 0;
}

static int prepare(struct work *work)
{
	int error;

	if (look(work) < 0)
		return -1;
	work->known = tap_record_load(work->run, work->net->tap, &work->link, &work->record);
	if (check_kind(work) < 0 || unmake_unfit(work) < 0)
		return -1;
	if (work->link.index == 0) {
		if (make(work) < 0)
			return -1;
	} else if (!work->known) {
		error = tap_record_init(&work->record, &work->link, false);
		if (error)
			return devtype_complain(work->device, work->errors, "cannot identify it: %s", strerror(-error));
	}
	return set_up(work);
}

static int work_open(struct work *work, const struct config_device *device, const struct rundir *run,
		     struct errors *errors)
{
	const char *why;

	*work = (struct work){.device = device, .net = &device->net, .run = run, .errors = errors};
	why = link_open(&work->sock);
	return why ? devtype_complain(device, errors, "rtnetlink: %s", why) : 0;
}

int tap_prepare(const struct config_device *device, const struct rundir *run, struct errors *errors)
{
	struct work work;
	int result;

	if (work_open(&work, device, run, errors) < 0)
		return -1;
	result = prepare(&work);
	nl_socket_free(work.sock);
	return result;
}

int tap_check(const struct config_device *device, const struct rundir *run, struct errors *errors)
{
	struct work work;
	int result;
	int fd;

	if (work_open(&work, device, run, errors) < 0)
		return -1;
	result = look(&work);
	nl_socket_free(work.sock);
	if (result < 0)
		return -1;
	work.known = tap_record_load(run, device->net.tap, &work.link, &work.record);
	if (check_kind(&work) < 0)
		return -1;
	fd = tap_fd_open();
	if (fd < 0)
		return complain_open(device, fd, errors);
	close(fd);
	return 0;
}

static int attach_one(const struct config_device *device, int flags, struct errors *errors)
{
	int fd = tap_fd_open();
	int error;

	if (fd < 0)
		return complain_open(device, fd, errors);
	error = tap_fd_attach(fd, device->net.tap, flags);
	if (error == 0)
		return fd;
	close(fd);
	return complain_attach(device, error, errors);
}

int tap_attach(const struct config_device *device, int *fd, struct errors *errors)
{
	int flags = TAP_FLAGS;
	struct work work;
	uint32_t i;
	int result;

	if (work_open(&work, device, NULL, errors) < 0)
		return -1;
	result = look(&work);
	nl_socket_free(work.sock);
	if (result < 0)
		return -1;
	if (work.link.index == 0)
		return devtype_complain(device, errors, "is gone");
	/* Each would have a share of the frames. */
	if (work.link.queues)
		return complain_attach(device, -EBUSY, errors);
	if (work.link.multi_queue)
		flags |= IFF_MULTI_QUEUE;
	for (i = 0; i < device->net.queues; i++) {
		fd[i] = attach_one(device, flags, errors);
		if (fd[i] < 0)
			break;
	}
	if (i == device->net.queues)
		return 0;
	while (i > 0)
		close(fd[--i]);
	return -1;
}
