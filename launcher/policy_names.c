/* SPDX-License-Identifier: MIT */
/* The constants that policies may name: the descriptors of a backend, and flags and requests of the kernel. */
#include "launcher/policy.h"

#include <asm/termbits.h>
#include <asm/termios.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "common/backend_fds.h"
#include "launcher/config.h"

#define NAME(constant)                                                                                                 \
	{                                                                                                              \
#constant, (uint64_t)(constant)                                                                        \
	}

static const struct policy_name policy_names[] = {
	{"LOG", BACKEND_FD_LOG},
	{"KICK", BACKEND_FD_KICK},
	{"CALL", BACKEND_FD_CALL},
	{"ATTACHMENT", BACKEND_FD_ATTACHMENT},
	{"REGION", BACKEND_FD_REGION},
	{"MEMORY", BACKEND_FD_MEMORY},
	{"READY", BACKEND_FD_READY},
	{"POLICY", BACKEND_FD_POLICY},
	{"DEVICE", BACKEND_FD_DEVICE},
	{"DEVICE1", BACKEND_FD_DEVICE + 1},
	{"DEVICE2", BACKEND_FD_DEVICE + 2},
	{"DEVICE3", BACKEND_FD_DEVICE + 3},
	{"DEVICE4", BACKEND_FD_DEVICE + 4},
	{"DEVICE5", BACKEND_FD_DEVICE + 5},
	{"DEVICE6", BACKEND_FD_DEVICE + 6},
	{"DEVICE7", BACKEND_FD_DEVICE + 7},
	{"DEVICE8", BACKEND_FD_DEVICE + 8},
	{"DEVICE9", BACKEND_FD_DEVICE + 9},
	{"DEVICE10", BACKEND_FD_DEVICE + 10},
	{"DEVICE11", BACKEND_FD_DEVICE + 11},
	{"DEVICE12", BACKEND_FD_DEVICE + 12},
	{"DEVICE13", BACKEND_FD_DEVICE + 13},
	{"DEVICE14", BACKEND_FD_DEVICE + 14},
	{"DEVICE15", BACKEND_FD_DEVICE + 15},
	{"DEVICE16", BACKEND_FD_DEVICE + 16},
	{"DEVICE17", BACKEND_FD_DEVICE + 17},
	{"DEVICE18", BACKEND_FD_DEVICE + 18},
	{"DEVICE19", BACKEND_FD_DEVICE + 19},
	{"RING", BACKEND_FD_RING},
	/* mmap, mprotect, mremap, madvise */
	NAME(PROT_NONE),
	NAME(PROT_READ),
	NAME(PROT_WRITE),
	NAME(PROT_EXEC),
	NAME(MAP_SHARED),
	NAME(MAP_PRIVATE),
	NAME(MAP_ANONYMOUS),
	NAME(MAP_FIXED),
	NAME(MAP_FIXED_NOREPLACE),
	NAME(MAP_GROWSDOWN),
	NAME(MAP_HUGETLB),
	NAME(MAP_LOCKED),
	NAME(MAP_NORESERVE),
	NAME(MAP_POPULATE),
	NAME(MAP_STACK),
	NAME(MREMAP_MAYMOVE),
	NAME(MREMAP_FIXED),
	NAME(MREMAP_DONTUNMAP),
	NAME(MADV_NORMAL),
	NAME(MADV_DONTNEED),
	NAME(MADV_FREE),
	NAME(MADV_COLD),
	NAME(MADV_DONTDUMP),
	NAME(MADV_WILLNEED),
	/* files */
	NAME(AT_EMPTY_PATH),
	NAME(F_DUPFD),
	NAME(F_DUPFD_CLOEXEC),
	NAME(F_GETFD),
	NAME(F_SETFD),
	NAME(F_GETFL),
	NAME(F_SETFL),
	NAME(F_OFD_SETLK),
	NAME(FD_CLOEXEC),
	NAME(O_NONBLOCK),
	NAME(O_CLOEXEC),
	NAME(SEEK_SET),
	NAME(SEEK_CUR),
	NAME(SEEK_END),
	NAME(SEEK_DATA),
	NAME(SEEK_HOLE),
	NAME(RUSAGE_THREAD),
	NAME(RWF_HIPRI),
	NAME(RWF_DSYNC),
	NAME(RWF_SYNC),
	NAME(RWF_NOWAIT),
	NAME(RWF_APPEND),
	NAME(FALLOC_FL_KEEP_SIZE),
	NAME(FALLOC_FL_PUNCH_HOLE),
	NAME(FALLOC_FL_ZERO_RANGE),
	NAME(SYNC_FILE_RANGE_WRITE),
	NAME(SPLICE_F_NONBLOCK),
	/* block devices */
	NAME(BLKGETSIZE64),
	NAME(BLKSSZGET),
	NAME(BLKPBSZGET),
	NAME(BLKIOMIN),
	NAME(BLKIOOPT),
	NAME(BLKDISCARD),
	NAME(BLKSECDISCARD),
	NAME(BLKDISCARDZEROES),
	NAME(BLKZEROOUT),
	NAME(BLKFLSBUF),
	/* io_uring */
	NAME(IORING_ENTER_GETEVENTS),
	NAME(IORING_ENTER_SQ_WAKEUP),
	NAME(IORING_ENTER_SQ_WAIT),
	NAME(IORING_ENTER_EXT_ARG),
	NAME(IORING_ENTER_REGISTERED_RING),
	/* taps and terminals */
	NAME(TUNGETIFF),
	NAME(TUNSETCARRIER),
	NAME(TUNSETOFFLOAD),
	NAME(TUNSETQUEUE),
	NAME(TUNSETVNETHDRSZ),
	NAME(TCGETS),
	NAME(TCSETS),
	NAME(TIOCGWINSZ),
	NAME(TIOCSWINSZ),
	NAME(FIONREAD),
	/* sockets */
	NAME(MSG_DONTWAIT),
	NAME(MSG_NOSIGNAL),
	NAME(MSG_TRUNC),
	/* time, waiting, signals */
	NAME(CLOCK_REALTIME),
	NAME(CLOCK_MONOTONIC),
	NAME(CLOCK_MONOTONIC_RAW),
	NAME(CLOCK_MONOTONIC_COARSE),
	NAME(CLOCK_BOOTTIME),
	NAME(POLLIN),
	NAME(POLLOUT),
	NAME(FUTEX_WAIT),
	NAME(FUTEX_WAKE),
	NAME(FUTEX_PRIVATE_FLAG),
	NAME(SIGABRT),
	NAME(SIGBUS),
	NAME(SIGPIPE),
	NAME(SIGSEGV),
	NAME(SIGTERM),
	NAME(SIGXFSZ),
	NAME(SIG_BLOCK),
	NAME(SIG_UNBLOCK),
	NAME(SIG_SETMASK),
	NAME(PR_SET_DUMPABLE),
	NAME(PR_SET_NAME),
	NAME(PR_SET_VMA),
};

#define POLICY_NAMES (sizeof(policy_names) / sizeof(policy_names[0]))

const struct policy_name *policy_name_find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < POLICY_NAMES; i++) {
		if (strlen(policy_names[i].name) == len && memcmp(policy_names[i].name, name, len) == 0)
			return &policy_names[i];
	}
	return NULL;
}

const char *policy_name_nearest(const char *name)
{
	const char *list[POLICY_NAMES];
	size_t i;

	for (i = 0; i < POLICY_NAMES; i++)
		list[i] = policy_names[i].name;
	return config_nearest(name, list, POLICY_NAMES);
}
