/* SPDX-License-Identifier: MIT */
/* One call, with its argument where it is to lie. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/vm/root/ioctls.h"

#define PAGE 4096ull
#define ARGUMENT_PAGES 4u /* as long as the longest argument, or image */

void room_make(struct room *room)
{
	size_t size = ARGUMENT_PAGES * PAGE;
	int fd = memfd_create("arguments", MFD_CLOEXEC);

	room->pages = mmap(NULL, size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || room->pages == MAP_FAILED ||
	    mmap(room->pages, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		fail("no room for arguments: %s", strerror(errno));
	room->read_only = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (room->read_only == MAP_FAILED)
		fail("no room for arguments: %s", strerror(errno));
	close(fd);
}

/* So many bytes at such a place, as far as there are any. */
static void *room_place(const struct room *room, enum place place, const void *bytes, size_t size)
{
	char *end = room->pages + ARGUMENT_PAGES * PAGE;
	size_t missing = size ? 1 + random_below((uint32_t)size) : 0;

	switch (place) {
	case PLACE_NULL:
		return NULL;
	case PLACE_UNMAPPED:
		return end + random_below(2) * 8;
	case PLACE_KERNEL:
		return (void *)(0xffff800000000000ull + (random_next() & 0x3fffffffffull));
	case PLACE_CROSSING:
		memcpy(end - (size - missing), bytes, size - missing);
		return end - (size - missing);
	case PLACE_PAGE_END:
		memcpy(end - size, bytes, size);
		return end - size;
	default:
		memcpy(room->pages, bytes, size);
		return place == PLACE_READ_ONLY ? room->read_only : room->pages;
	}
}

int call_make(const struct room *room, struct call *call, union ioctl_argument *answer)
{
	static const char image[LOAD_MAX];
	static __thread struct room data;
	size_t size = _IOC_SIZE(call->cmd) < sizeof(call->arg) ? _IOC_SIZE(call->cmd) : sizeof(call->arg);
	struct rlimit limit, none;
	int error;
	void *at;

	if (!data.pages)
		room_make(&data);
	/* What is longer than the image lies nowhere whole. */
	if (call->cmd == HVISOR_ZONE_LOAD)
		call->arg.load.data =
			(uintptr_t)room_place(&data, call->arg.load.size > LOAD_MAX ? PLACE_CROSSING : call->data,
					      image, call->arg.load.size > LOAD_MAX ? LOAD_MAX : call->arg.load.size);
	if (call->cmd == HVISOR_ZONE_START)
		call->arg.start.config = (uintptr_t)room_place(&data, call->data, call->config, sizeof(*call->config));
	at = room_place(room, call->place, &call->arg, size);
	if (call->no_fds) {
		getrlimit(RLIMIT_NOFILE, &limit);
		none = (struct rlimit){0, limit.rlim_max};
		setrlimit(RLIMIT_NOFILE, &none);
	}
	error = ioctl(hv, call->cmd, at) == 0 ? 0 : errno;
	if (call->no_fds)
		setrlimit(RLIMIT_NOFILE, &limit);
	*answer = call->arg;
	if (error == 0 && call->place < PLACE_BAD)
		memcpy(answer, at, size);
	return error;
}
