/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note OR MIT */
/*
 * What the launcher asks of /dev/hvisor, or of the simulator that stands in for it.
 *
 * Every call is an ioctl with one of the structures below, which the kernel module reads and writes back. The
 * simulator takes the same calls over a SOCK_SEQPACKET Unix socket: one message { __u32 cmd; structure }, answered by
 * { __s32 error; structure } with error 0 or a negative errno. Fields named *_fd travel as SCM_RIGHTS there, in their
 * order in the structure; a field of -1 stays -1 and takes no place. Only "in" fields travel with a call, only "out"
 * ones with its answer.
 *
 * A device lives in the module, not in the launcher: it goes on when the launcher ends, and is found again with
 * HVISOR_DEVICE_GET.
 */
#ifndef HVISOR_UAPI_H
#define HVISOR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HVISOR_ABI_VERSION 1
#define HVISOR_NAME_MAX 32
#define HVISOR_MEMORY_MAX 16
#define HVISOR_CONFIG_MAX 256
#define HVISOR_DEVICES_MAX 256
#define HVISOR_ZONES_MAX 32

struct hvisor_info {
	__u32 abi_version; /* out */
	__u32 devices_max; /* out */
	__s32 event_fd; /* in: signalled when HVISOR_EVENT_NEXT has something; replaces an earlier one */
	__u32 pad;
	char name[HVISOR_NAME_MAX]; /* out: who answers, for people */
};

struct hvisor_memory {
	__u64 zone0_ipa; /* where root sees it */
	__u64 zonex_ipa; /* where the zone sees it */
	__u64 size; /* all three multiples of the page size */
};

/*
 * Declares a zone's memory. The same again is no error; anything else while the zone has devices is EBUSY, memory
 * that is root's own EPERM, memory that no zone can have ERANGE, another zone's EADDRINUSE, and EINVAL if two of them
 * overlap.
 */
struct hvisor_zone_set {
	__u32 zone; /* 1 to HVISOR_ZONES_MAX - 1 */
	__u32 nmemory;
	struct hvisor_memory memory[HVISOR_MEMORY_MAX];
};

/*
 * Makes a device. A device with the same zone and window that is the same in everything but name and config is found
 * again (existed 1, nothing is changed); one that differs is EEXIST, and is taken away with HVISOR_DEVICE_DEL first.
 * EINVAL for impossible values and a window in the zone's memory, EADDRINUSE for a window or interrupt that overlaps
 * another device's of the zone.
 */
struct hvisor_device_add {
	__u32 zone;
	__u32 irq;
	__u64 base; /* of the virtio-mmio window, as the zone sees it */
	__u64 size;
	__u32 device_id;
	__u32 nqueues;
	__u32 queue_size_max;
	__u32 config_len;
	__u64 features;
	__u8 config[HVISOR_CONFIG_MAX];
	__u8 config_writable[HVISOR_CONFIG_MAX / 8]; /* bit n: the driver may write byte n */
	char name[HVISOR_NAME_MAX];
	__u32 id; /* out */
	__u32 existed; /* out */
};

#define HVISOR_DEVICE_ATTACHED 1u /* somebody holds an attachment */
#define HVISOR_DEVICE_FAILED 2u
#define HVISOR_DEVICE_CUT_OFF 4u /* the backend missed the deadline for quiescence */

/* The state of the device with the lowest id that is at least id; ENOENT when there is none. */
struct hvisor_device_get {
	__u32 id; /* in and out */
	__u32 flags; /* out: HVISOR_DEVICE_* */
	__s32 owner_pid; /* out: process of the last HVISOR_DEVICE_OWNER, in the caller's pid namespace, 0 none */
	__u32 status; /* out: virtio status as the driver reads it */
	struct hvisor_device_add device; /* out: as it was made */
	__u64 accesses; /* out: counters since it was made */
	__u64 notifications;
	__u64 interrupts; /* injected */
	__u64 interrupts_again; /* of them: injected again because nobody acknowledged */
	__u64 spurious; /* writes of the call eventfd with no interrupt to deliver */
	__u64 bad_accesses;
	__u64 wait_max_ns; /* the longest time a register access waited for its answer, held resets apart */
	__u64 hold_max_ns; /* the longest time a reset or a disabled queue was held back */
};

/*
 * A new attachment: the right to serve the device. EBUSY while the last one is held by anybody: a descriptor or a
 * mapping that is left. Its memory is mapped with mmap() of region_fd at region_offset, and of memory_fd at
 * memory_offset[n] for the n-th memory of the zone; a descriptor of -1 means attachment_fd. Whoever is to serve the
 * device keeps attachment_fd open as long as it does; the caller owns all descriptors that it gets.
 */
struct hvisor_device_attach {
	__u32 id;
	__s32 kick_fd; /* in: eventfd that wakes the backend */
	__s32 call_fd; /* in: eventfd by which the backend raises the interrupt and acknowledges quiescence */
	__s32 attachment_fd; /* out */
	__s32 region_fd; /* out */
	__s32 memory_fd; /* out */
	__u32 region_size; /* out */
	__u32 nmemory; /* out */
	__u64 region_offset; /* out */
	__u64 memory_offset[HVISOR_MEMORY_MAX]; /* out */
	struct hvisor_memory memory[HVISOR_MEMORY_MAX]; /* out */
};

/* Names the process that serves: it is killed when the device is cut off. */
struct hvisor_device_owner {
	__u32 id;
	__s32 pid; /* in the caller's pid namespace; its process cannot have been waited for */
};

/* The launcher's own view of a region: out region_fd, to be mapped at 0. It does not count as an attachment. */
struct hvisor_device_view {
	__u32 id;
	__s32 region_fd; /* out */
	__u32 region_size; /* out */
	__u32 pad;
};

/* Rings the device's doorbell with REGION_EV_* events and wakes its backend. */
struct hvisor_device_kick {
	__u32 id;
	__u32 events;
};

/* fail 1: no backend will come, the driver is told so (DEVICE_NEEDS_RESET); 0: takes that back. */
struct hvisor_device_fail {
	__u32 id;
	__u32 fail;
};

/* EBUSY while it is attached. */
struct hvisor_device_del {
	__u32 id;
	__u32 pad;
};

#define HVISOR_EVENT_CUT_OFF 1u /* id: its backend did not become quiet in time and has been killed */
#define HVISOR_EVENT_ZONE_DOWN 2u /* id: zone; its devices have been reset */
#define HVISOR_EVENT_ZONE_UP 3u /* id: zone */

/* The next event, oldest first; EAGAIN when there is none. lost: events that had no room before this one. */
struct hvisor_event_next {
	__u32 type; /* out: HVISOR_EVENT_* */
	__u32 id; /* out */
	__u32 lost; /* out */
	__u32 pad;
};

/* The version of the zone configuration that hvisor takes (its config check). The module only. */
struct hvisor_config_version {
	__u64 version; /* out */
};

/*
 * Copies an image into a zone's memory before it starts, and cleans the data cache behind it. The range
 * [zone0_ipa, zone0_ipa + size) must not be root's own memory (EPERM), and its zone must not run (EBUSY).
 */
struct hvisor_zone_load {
	__u32 zone;
	__u32 pad;
	__u64 zone0_ipa;
	__u64 size; /* bytes */
	__u64 data; /* address of the image in the caller's memory */
};

/*
 * May a zone be given this range of root's physical addresses (zone0_ipa and size; rounded to pages)? 0, EPERM if any of
 * it is root's own memory, EINVAL for an empty range or one that wraps.
 */
struct hvisor_memory_check {
	__u64 zone0_ipa; /* in */
	__u64 size; /* in, bytes */
};

/*
 * Starts a zone from a configuration of the version above, whose first field is the zone's number. EPERM if one of its
 * memory regions, RAM or I/O, is root's own memory; EOPNOTSUPP if hvisor takes a version that the module does not know.
 */
struct hvisor_zone_start {
	__u32 zone;
	__u32 size; /* bytes of the configuration, up to HVISOR_ZONE_CONFIG_MAX */
	__u64 config; /* its address in the caller's memory */
};

#define HVISOR_ZONE_CONFIG_MAX 65536

/* Resets the zone's devices, takes its memory away from their backends, and stops it. */
struct hvisor_zone_shutdown {
	__u32 zone;
	__u32 pad;
};

struct hvisor_zone_info {
	__u32 zone;
	__u32 pad;
	__u64 cpus; /* bit n: CPU n */
	char name[HVISOR_NAME_MAX];
	__u8 failed; /* the zone has stopped on an error */
	__u8 pad2[7];
};

struct hvisor_zone_list {
	__u32 count; /* in: room, at most HVISOR_ZONES_MAX; out: zones, root Linux (0) included */
	__u32 pad;
	struct hvisor_zone_info zones[HVISOR_ZONES_MAX]; /* out */
};

#define HVISOR_IOC_MAGIC 'h'
#define HVISOR_INFO _IOWR(HVISOR_IOC_MAGIC, 0x40, struct hvisor_info)
#define HVISOR_ZONE_SET _IOWR(HVISOR_IOC_MAGIC, 0x41, struct hvisor_zone_set)
#define HVISOR_DEVICE_ADD _IOWR(HVISOR_IOC_MAGIC, 0x42, struct hvisor_device_add)
#define HVISOR_DEVICE_GET _IOWR(HVISOR_IOC_MAGIC, 0x43, struct hvisor_device_get)
#define HVISOR_DEVICE_ATTACH _IOWR(HVISOR_IOC_MAGIC, 0x44, struct hvisor_device_attach)
#define HVISOR_DEVICE_OWNER _IOWR(HVISOR_IOC_MAGIC, 0x45, struct hvisor_device_owner)
#define HVISOR_DEVICE_VIEW _IOWR(HVISOR_IOC_MAGIC, 0x46, struct hvisor_device_view)
#define HVISOR_DEVICE_KICK _IOWR(HVISOR_IOC_MAGIC, 0x47, struct hvisor_device_kick)
#define HVISOR_DEVICE_FAIL _IOWR(HVISOR_IOC_MAGIC, 0x48, struct hvisor_device_fail)
#define HVISOR_DEVICE_DEL _IOWR(HVISOR_IOC_MAGIC, 0x49, struct hvisor_device_del)
#define HVISOR_EVENT_NEXT _IOWR(HVISOR_IOC_MAGIC, 0x4a, struct hvisor_event_next)
#define HVISOR_CONFIG_VERSION _IOWR(HVISOR_IOC_MAGIC, 0x50, struct hvisor_config_version)
#define HVISOR_ZONE_LOAD _IOWR(HVISOR_IOC_MAGIC, 0x51, struct hvisor_zone_load)
#define HVISOR_ZONE_START _IOWR(HVISOR_IOC_MAGIC, 0x52, struct hvisor_zone_start)
#define HVISOR_ZONE_SHUTDOWN _IOWR(HVISOR_IOC_MAGIC, 0x53, struct hvisor_zone_shutdown)
#define HVISOR_ZONE_LIST _IOWR(HVISOR_IOC_MAGIC, 0x54, struct hvisor_zone_list)
#define HVISOR_MEMORY_CHECK _IOWR(HVISOR_IOC_MAGIC, 0x55, struct hvisor_memory_check)

#endif
