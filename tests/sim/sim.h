/* SPDX-License-Identifier: MIT */
/*
 * A user-space stand-in for hvisor and for the kernel module, so that the launcher and the backends run unmodified at
 * native speed. The register model, the queue regions and the bridge page are the very code that the module has; zone
 * memory and regions are sealed memfds, and the calls of kmod/hvisor_uapi.h come over a Unix socket.
 *
 * The simulator is the three parties that are not under test:
 *   the module    a server thread: calls, call eventfds, attachments, deadlines; and the drain of the bridge, which
 *                 runs in the thread of the guest CPU that rings, as the wakeup interrupt preempts a CPU of root;
 *   hvisor        sim_mmio_read() and sim_mmio_write(), which do what a trapped access of a zone does, and the
 *                 delivery of interrupts;
 *   the board     sim_zone_add(): which memory there is.
 * The guest's driver is in guest.h.
 *
 * An attachment is the write end of a pipe: the simulator sees when the last descriptor of it is closed. Unlike the
 * module it cannot see a mapping that outlives the descriptor.
 */
#ifndef HVISOR_SIM_H
#define HVISOR_SIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "common/bridge.h"
#include "common/gmem.h"
#include "kmod/hvisor_uapi.h"

#define SIM_NAME "simulator"
#define SIM_IRQS 1024u
#define SIM_EVENTS 64u
#define SIM_QUIESCE_MS 2000u
#define SIM_GUARD 4096u /* bytes before and behind what the register model and the drain write to */
#define SIM_MAPS_MAX 4096u /* how often devices can be made or taken away in the life of a simulator */

struct sim;

/* One interrupt line of a zone. */
struct sim_irq {
	uint32_t count; /* injected so far; also the futex of those who wait */
	uint32_t waiters;
};

struct sim_zone {
	bool exists; /* on the board */
	bool running;
	bool declared; /* by HVISOR_ZONE_SET */
	uint32_t nboard;
	struct hvisor_memory board[HVISOR_MEMORY_MAX];
	uint64_t board_offset[HVISOR_MEMORY_MAX]; /* in memory_fd */
	struct hvisor_zone_set set;
	int memory_fd;
	struct gmem mem; /* as the zone's CPUs see it */
};

/* What the server thread waits for. */
enum sim_source_kind {
	SIM_SOURCE_LISTEN,
	SIM_SOURCE_WAKE,
	SIM_SOURCE_CONNECTION,
	SIM_SOURCE_CALL,
	SIM_SOURCE_ATTACHMENT,
};

struct sim_source {
	enum sim_source_kind kind;
	int fd; /* -1: none */
	void *owner;
};

struct sim_connection {
	struct sim_source source;
	struct sim_connection *next;
};

/* Never freed before sim_stop(), so that a guest CPU may hold on to one that was taken away. */
struct sim_device {
	struct sim *sim;
	struct sim_device *next; /* all ever made, newest first */
	uint32_t id;
	bool deleted;
	struct hvisor_device_add add;
	int region_fd;
	uint32_t region_size;
	uint8_t *guarded; /* where the region is mapped, with SIM_GUARD bytes before and behind it */
	struct sim_source attachment; /* read end of the pipe */
	struct sim_source call;
	int kick_fd;
	int owner_fd;
	bool cut_off;

	pthread_mutex_t lock; /* of all below */
	struct vmmio_dev vmmio;
	uint64_t hold_since_ns; /* the backend owes quiescence since then; 0: it does not */
	uint64_t hold_max_ns;

	uint64_t holds; /* how often an answer was held back; atomic, as the rest */
	uint64_t wait_max_ns;
	uint64_t interrupts;
	uint64_t spurious;
};

struct sim_range {
	uint64_t base;
	uint64_t size;
};

/* The windows as they were at one time; kept until sim_stop(). */
struct sim_map {
	struct bridge_map map;
	struct bridge_window window[];
};

struct sim {
	/* Set before sim_start(), or 0 for the defaults. */
	uint32_t quiesce_ms; /* how long a backend may take to become quiet */
	struct sim_range root_ram; /* memory of root that no zone may have; size 0: none */

	uint8_t *guarded; /* page, with SIM_GUARD bytes before and behind it */
	struct bridge_page *page;
	struct bridge bridge;
	struct sim_irq *irq; /* [zone][irq] */
	struct sim_map *map; /* atomic: the one in force */
	struct sim_map **maps; /* all ever made */
	uint32_t nmaps;

	/* Locks, in the order in which they may be taken; sim_device.lock is between drain_lock and inject_lock. */
	pthread_mutex_t lock; /* zones, the list of devices, attachments, connections, events */
	pthread_mutex_t drain_lock; /* one drain at a time; map and kick_fd change with it held */
	pthread_mutex_t inject_lock; /* result ring */
	pthread_mutex_t hv_lock; /* hvisor's own: request ring */
	pthread_cond_t changed; /* with lock: broadcast after each turn of the server thread */

	struct sim_zone zone[HVISOR_ZONES_MAX];
	struct sim_device *devices;
	uint32_t last_id;

	int event_fd;
	struct hvisor_event_next event[SIM_EVENTS];
	uint32_t event_first;
	uint32_t nevents;
	uint32_t events_lost;

	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int epoll_fd;
	uint32_t unwatched; /* grows with each source that is taken off it */
	struct sim_source listen;
	struct sim_source wake;
	struct sim_connection *connections;
	bool stopping;
	pthread_t server;
};

/*
 * Starts a simulator that listens on the Unix socket path, which must not be there yet (NULL: no socket, sim_call()
 * only). The fields at the top of sim are the caller's to set; the rest of it is 0. Returns 0 or -errno with nothing
 * started.
 */
int sim_start(struct sim *sim, const char *path);

/* Ends it; no thread may be in any function of it. Backends that are attached are left alone. */
void sim_stop(struct sim *sim);

/*
 * Puts a zone with its memory on the board, running: n regions of page-aligned addresses and sizes that do not
 * overlap. Returns 0 or -errno.
 */
int sim_zone_add(struct sim *sim, uint32_t zone, const struct hvisor_memory *memory, uint32_t n);

/*
 * What the module does when a zone is shut down: CPUs that wait for a held-back answer get it, the zone's devices are
 * reset, and it is waited until no backend touches the zone's memory any more; then the event ZONE_DOWN. Returns 0,
 * -ENOENT, or -ETIMEDOUT if a backend was cut off and its attachment is still held some time after.
 */
int sim_zone_stop(struct sim *sim, uint32_t zone);

/* The zone starts (again): event ZONE_UP. 0 or -ENOENT. */
int sim_zone_start(struct sim *sim, uint32_t zone);

/*
 * One of the calls of hvisor_uapi.h, without a socket, as an ioctl would do it: descriptors that are "in" stay the
 * caller's, "out" ones become the caller's (close-on-exec). Returns 0 or -errno.
 */
int sim_call(struct sim *sim, unsigned long cmd, void *argument);

/*
 * Waits until done(sim, argument) is true, which is looked at with sim->lock held, now and whenever the server thread
 * did something; at most timeout_ms (-1: for ever). Returns what it said last.
 */
bool sim_await(struct sim *sim, bool (*done)(struct sim *sim, void *argument), void *argument, int timeout_ms);

/*
 * An access of size bytes (1, 2, 4, 8) by CPU cpu (0 to 31, one thread at a time for each) of a zone to a physical
 * address of it. Returns when it is answered, but a write to QUEUE_NOTIFY at once, as hvisor does.
 */
uint64_t sim_mmio_read(struct sim *sim, uint32_t zone, uint32_t cpu, uint64_t address, uint32_t size);
void sim_mmio_write(struct sim *sim, uint32_t zone, uint32_t cpu, uint64_t address, uint32_t size, uint64_t value);

/* How many interrupts irq (below SIM_IRQS) of a zone have been injected, modulo 2^32. */
uint32_t sim_irq_count(const struct sim *sim, uint32_t zone, uint32_t irq);

/*
 * Sleeps until that number is not seen any more, at most timeout_ms (-1: for ever). Returns the number. Any count of
 * threads may wait for the same interrupt; all are woken.
 */
uint32_t sim_irq_wait(struct sim *sim, uint32_t zone, uint32_t irq, uint32_t seen, int timeout_ms);

/*
 * Is what lies before and behind each queue region and the bridge page as it was made? NULL, or the name of the device,
 * or "bridge".
 */
const char *sim_guards_broken(struct sim *sim);

/* The zone's memory as its CPUs see it; NULL if there is no such zone. Valid until sim_stop(). */
const struct gmem *sim_zone_memory(const struct sim *sim, uint32_t zone);

#endif
