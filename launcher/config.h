/* SPDX-License-Identifier: MIT */
/*
 * virtio_cfg.json: upstream's format with our optional keys (docs/virtio_cfg.json.5). Reading is strict: every error
 * of the file is reported at once with its place ("zones[0].devices[2].irq") and what would be right.
 */
#ifndef HVISOR_CONFIG_H
#define HVISOR_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/console.h"
#include "errors.h"
#include "kmod/hvisor_uapi.h"

enum config_type {
	CONFIG_BLK,
	CONFIG_NET,
	CONFIG_CONSOLE,
	CONFIG_RNG,
	CONFIG_GPU,
	CONFIG_SCMI,
};

enum config_cache {
	CONFIG_CACHE_WRITEBACK, /* the driver flushes */
	CONFIG_CACHE_WRITETHROUGH, /* every write is on stable storage before it completes */
	CONFIG_CACHE_NONE, /* as writeback, past the page cache of root */
};

enum config_engine {
	CONFIG_ENGINE_AUTO,
	CONFIG_ENGINE_IO_URING,
	CONFIG_ENGINE_PREADV,
};

#define CONFIG_INTERFACE_MAX 16u /* IFNAMSIZ: the name of a network interface, terminated */

struct config_blk {
	char *img; /* absolute path */
	bool readonly;
	char serial[21]; /* up to 20 bytes, "" none */
	enum config_cache cache;
	bool discard; /* default true, where the image can */
	uint32_t queues; /* 1 to 16, default 1 */
	uint32_t queue_size; /* a power of two, 4 to 1024, default 256 */
	uint32_t logical_block_size; /* 512 to 4096, default 512 */
	enum config_engine engine;
};

struct config_rng {
	uint64_t rate; /* bytes per second, up to RNG_RATE_MAX; 0 unlimited, the default */
};

struct config_net {
	char tap[CONFIG_INTERFACE_MAX]; /* the name of the interface in root */
	char bridge[CONFIG_INTERFACE_MAX]; /* that the tap joins; "" none */
	uint8_t mac[6]; /* of the guest */
	uint32_t mtu; /* 68 to 65521; 0: not told to the guest, and that of the tap is left alone */
	uint32_t queues; /* pairs, 1 to NET_QUEUE_PAIRS_MAX, default 1 */
	uint32_t queue_size; /* a power of two, 4 to 1024, default 256 */
	bool create; /* make the tap if it is not there; default true */
	uint64_t rate_rx; /* bytes per second to the guest; 0 unlimited */
	uint64_t rate_tx; /* from the guest */
};

enum config_endpoint {
	CONFIG_ENDPOINT_PTY,
	CONFIG_ENDPOINT_SOCKET,
	CONFIG_ENDPOINT_FILE,
	CONFIG_ENDPOINT_STDIO,
};

#define CONFIG_PATH_MAX 512

struct config_port {
	char name[CONSOLE_PORT_NAME_MAX]; /* that the guest is told, "" none */
	uint32_t endpoint; /* enum config_endpoint */
	char path[CONFIG_PATH_MAX]; /* absolute; "": not given, as of a socket in the run folder */
	bool console; /* default true of the first, false of others */
	bool output_log;
};

struct config_console {
	uint32_t cols; /* of its windows, until somebody changes them; 1 to 1000, default 80 */
	uint32_t rows; /* default 24 */
	bool listed; /* by "ports" */
	uint32_t nports;
	struct config_port port[CONSOLE_PORTS_MAX];
	struct config_port only; /* what is given without "ports": becomes port[0] */
};

/* What to do when a backend ends by itself. */
struct config_restart {
	uint32_t limit; /* ends within window_s after which the device is failed; 0: never; default 10 */
	uint32_t window_s; /* default 60 */
	uint32_t delay_ms; /* before the second restart in a row, then doubled; the first is at once; default 100 */
	uint32_t delay_max_ms; /* default 10000 */
};

/* What to do when a backend stands still. */
struct config_watchdog {
	uint32_t limit_s; /* 0: nothing; default 10 */
	uint32_t action; /* enum watchdog_action */
};

#define CONFIG_CPU_WEIGHT 100u /* of a group that is given none */

/* What a backend may take of root, where it has a cgroup: launcher/cgroup.h. */
struct config_limits {
	uint32_t cpu_weight; /* against the other backends, 1 to 10000; 0: not given, which is CONFIG_CPU_WEIGHT */
	uint32_t cpu_max_percent; /* of one processor, 5 to 10000; 0: no limit */
	uint64_t memory_max; /* bytes, from 4 MiB; 0: no limit */
};

#define CONFIG_POLL_ADAPTIVE 0xffffffffu

struct config_device {
	/* "blk0": by type and order in the file, disabled and named devices counted; or the key "name" */
	char name[HVISOR_NAME_MAX];
	char place[64]; /* "zones[0].devices[2]", for messages */
	enum config_type type;
	uint32_t zone; /* id */
	uint64_t base; /* keys addr and len */
	uint64_t size;
	uint32_t irq;
	uint32_t poll_us; /* 0 never, or CONFIG_POLL_ADAPTIVE */
	uint32_t log_level; /* enum log_level */
	struct config_restart restart;
	struct config_watchdog watchdog;
	struct config_limits limits;
	struct config_blk blk;
	struct config_rng rng;
	struct config_net net;
	struct config_console console;
};

struct config_zone {
	uint32_t id;
	uint32_t nmemory;
	struct hvisor_memory memory[HVISOR_MEMORY_MAX];
};

/* Where the driver of an enabled device looks for it, served or not. */
struct config_window {
	char name[HVISOR_NAME_MAX];
	char place[64];
	uint32_t zone; /* id */
	uint32_t irq;
	uint64_t base;
	uint64_t size;
};

struct config {
	char *path;
	bool sandbox_required; /* "sandbox": "required"; default "auto" */
	uint64_t log_size; /* "log_size": bytes of a log file before it is rotated; default 1 MiB */
	uint32_t log_files; /* "log_files": rotated ones kept; default 3 */
	uint32_t nzones;
	uint32_t ndevices; /* the enabled ones */
	uint32_t nskipped; /* enabled, of a type that we do not serve yet: named in skipped */
	struct config_zone *zone;
	struct config_device *device;
	uint32_t nwindows; /* ndevices + nskipped */
	struct config_window *window;
	struct errors skipped;
};

/*
 * Reads path. Returns 0 and fills config, which config_finish() frees; or -1 with at least one line in errors and
 * nothing to free. Files that devices name are looked at (there, of the right kind, readable), not opened for use.
 */
int config_read(struct config *config, const char *path, struct errors *errors);
void config_finish(struct config *config);

/* Names for people: "blk", "writeback", "io_uring". */
const char *config_type_name(enum config_type type);
const char *config_cache_name(enum config_cache cache);
const char *config_engine_name(enum config_engine engine);
const char *config_endpoint_name(uint32_t endpoint);

#define CONFIG_MAC_MAX 18

/* "02:00:00:00:01:01". Returns buffer. */
const char *config_mac_text(char buffer[CONFIG_MAC_MAX], const uint8_t mac[6]);

/* The word of the n in list that is nearest to word, or NULL if none is near: for "did you mean". */
const char *config_nearest(const char *word, const char *const *list, size_t n);

#endif
