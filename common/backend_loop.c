/* SPDX-License-Identifier: MIT */
#include "common/backend_loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/vmmio.h"

#define POLL_MIN_NS 12500u /* the adaptive bound is 0, or this doubled up to four times */
#define POLL_MAX_NS (POLL_MIN_NS * 16)
#define POLL_SPINS 64 /* looks between two looks at the clock */
#define SIGNALS_NS 10000000u /* a busy backend lets SIGTERM in so often */

/* A signal handler has no other way. */
static volatile sig_atomic_t loop_stop;

static void loop_on_sigterm(int signo)
{
	(void)signo;
	loop_stop = 1;
}

int backend_loop_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGHUP};
	struct sigaction action = {.sa_handler = loop_on_sigterm};
	sigset_t blocked;
	size_t i;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0 || sigaction(SIGTERM, &action, NULL) < 0)
		return -errno;
	action.sa_handler = SIG_IGN;
	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
		if (sigaction(ignored[i], &action, NULL) < 0)
			return -errno;
	}
	return 0;
}

uint64_t backend_loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

static int wait_fds(struct pollfd *fds, uint32_t n, const struct timespec *timeout)
{
	sigset_t none;

	sigemptyset(&none);
	return ppoll(fds, n, timeout, &none);
}

static void let_signals_in(struct backend *b, uint64_t now_ns)
{
	struct timespec zero = {0};

	if (now_ns - b->loop.signals_ns < SIGNALS_NS)
		return;
	b->loop.signals_ns = now_ns;
	wait_fds(NULL, 0, &zero);
}

/* A full counter, or one that nobody reads, is no matter: whoever listens has been called. */
static void call(void)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(BACKEND_FD_CALL, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

void backend_interrupt(struct backend *b, uint32_t bits)
{
	if ((core_or32(&b->region->irq.interrupt_status, bits) & bits) == bits)
		return;
	backend_count(&b->region->device.interrupts, 1);
	call();
}

void backend_publish(struct backend *b, uint64_t *queues)
{
	bool interrupt = false;

	for (; *queues; *queues &= *queues - 1)
		interrupt |= virtq_publish(&b->vq[__builtin_ctzll(*queues)]);
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
}

const uint8_t *backend_config(const struct backend *b)
{
	return b->region->config[core_load(&b->region->device.config_gen) & 1];
}

bool backend_config_set(struct backend *b, uint32_t offset, const void *bytes, uint32_t len)
{
	if (memcmp(backend_config(b) + offset, bytes, len) == 0)
		return false;
	region_config_update(b->region, offset, bytes, len);
	return true;
}

void backend_break(struct backend *b, uint32_t q, const char *why)
{
	uint64_t suppressed;

	if (b->broken)
		return;
	b->broken = true;
	core_store_release(&b->region->device.needs_reset, 1);
	if (log_gate_open(&b->loop.break_gate, b->now_ns, &suppressed))
		log_error("queue %u: %s: the driver has to reset the device (%llu such lines held back)", q, why,
			  (unsigned long long)suppressed);
	/* virtio 1.2, 2.1.2: a driver that has said DRIVER_OK is told. */
	backend_interrupt(b, REGION_INT_CONFIG);
}

static bool driver_is_ok(uint32_t status)
{
	return (status & VMMIO_S_FEATURES_OK) && (status & VMMIO_S_DRIVER_OK);
}

/* Takes the lowest queue out of the mask. */
static uint32_t queue_next(uint64_t *queues)
{
	uint32_t q = (uint32_t)__builtin_ctzll(*queues);

	*queues &= *queues - 1;
	return q;
}

/*
 * Copies a queue that is ready. False if it is not, or if it changed meanwhile; then an event follows, and the queue
 * is looked at again.
 */
static bool queue_read(const struct backend *b, uint32_t q, struct region_queue *out)
{
	const struct region_queue *shared = &b->region->driver.queue[q];

	*out = (struct region_queue){.ready = core_load_acquire(&shared->ready)};
	out->num = core_load(&shared->num);
	out->epoch = core_load(&shared->epoch);
	out->desc = core_load(&shared->desc);
	out->driver = core_load(&shared->driver);
	out->device = core_load(&shared->device);
	core_fence();
	return out->ready == 1 && core_load(&shared->ready) == 1 && core_load(&shared->epoch) == out->epoch;
}

static void queue_open(struct backend *b, uint32_t q, const struct region_queue *queue)
{
	uint8_t *journal = (uint8_t *)b->region + region_journal_offset(&b->shape, q);
	struct virtq *vq = &b->vq[q];

	if (queue->num > b->shape.queue_size_max) {
		backend_break(b, q, "the queue is larger than the device's largest");
		return;
	}
	if (virtq_open(vq, &b->mem, queue, b->features, (struct region_journal *)journal) < 0) {
		backend_break(b, q, vq->why);
		return;
	}
	virtq_disable_notification(vq);
	b->epoch[q] = queue->epoch;
	b->ready_queues |= 1ull << q;
	backend_count(&b->region->device.resubmitted, vq->nresubmit);
	if (vq->nresubmit)
		log_info("queue %u: %u requests in flight are taken over", q, vq->nresubmit);
	if (b->ops->queue_start)
		b->ops->queue_start(b, q);
}

static void queues_close(struct backend *b, uint64_t queues)
{
	if (!queues)
		return;
	b->ops->quiesce(b, queues);
	b->ready_queues &= ~queues;
	while (queues)
		virtq_close(&b->vq[queue_next(&queues)]);
}

static void reset(struct backend *b)
{
	b->broken = false;
	b->features = 0;
	core_store(&b->region->device.needs_reset, 0);
	log_debug("reset by the driver");
	if (b->ops->reset)
		b->ops->reset(b);
}

static void acknowledge(struct backend *b, uint32_t seq)
{
	if (core_load(&b->region->device.quiesce_ack) == seq)
		return;
	core_store_release(&b->region->device.quiesce_ack, seq);
	call();
}

/* Brings queues, features and status in line with what the driver set. */
static void follow_driver(struct backend *b)
{
	const struct region_driver *driver = &b->region->driver;
	struct region_queue queue[REGION_QUEUES_MAX];
	/* The number first: what is read after it is at least as new, so that is what the acknowledgement is for. */
	uint32_t seq = core_load_acquire(&driver->quiesce_seq);
	uint32_t status = core_load_acquire(&driver->status) & ~VMMIO_S_NEEDS_RESET;
	uint64_t open = 0;
	uint64_t kept = 0;
	bool was_ok;
	uint32_t q;

	for (q = 0; q < b->shape.nqueues; q++) {
		if (!driver_is_ok(status) || !queue_read(b, q, &queue[q]))
			continue;
		open |= 1ull << q;
		if (queue[q].epoch == b->epoch[q])
			kept |= 1ull << q;
	}
	/* A status bit is only ever taken back by a reset, even if 0 was there too short to be seen. */
	if (b->status & ~status) {
		queues_close(b, b->ready_queues);
		reset(b);
		b->status = 0;
	} else {
		queues_close(b, b->ready_queues & ~kept);
	}
	acknowledge(b, seq);

	was_ok = driver_is_ok(b->status);
	b->status = status;
	if (!driver_is_ok(status))
		return;
	if (!was_ok) {
		b->features = core_load(&driver->features) & b->shape.device_features;
		log_debug("the driver is ready, features 0x%llx", (unsigned long long)b->features);
		if (b->ops->driver_ok)
			b->ops->driver_ok(b);
	}
	open &= ~b->ready_queues;
	while (open && !b->broken) {
		q = queue_next(&open);
		queue_open(b, q, &queue[q]);
	}
}

static void handle_events(struct backend *b, uint32_t events)
{
	if (events & REGION_EV_CONTROL) {
		log_set_level(core_load(&b->region->control.log_level));
		if (b->ops->control)
			b->ops->control(b);
	}
	if (events & REGION_EV_STATUS)
		follow_driver(b);
	if ((events & REGION_EV_CONFIG) && b->ops->config)
		b->ops->config(b);
}

/* The exchanges are full barriers: the rings are looked at after the bell that told of them is silent. */
static uint32_t take_doorbell(struct backend *b)
{
	struct region_doorbell *bell = &b->region->doorbell;

	if (core_load(&bell->queues))
		core_xchg64(&bell->queues, 0);
	return core_load(&bell->events) ? core_xchg32(&bell->events, 0) : 0;
}

static bool bell_rings(const struct backend *b)
{
	return core_load(&b->region->doorbell.queues) || core_load(&b->region->doorbell.events);
}

/* The descriptors that the device waits for, behind KICK; true if it has work already. */
static bool device_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	bool looks = b->ops->prepare_sleep && (b->ready_queues || b->ops->polled);

	*n = 0;
	return looks && b->ops->prepare_sleep(b, fds, n);
}

/* They were looked at. True if one is ready. */
static bool device_polled(struct backend *b, const struct pollfd *fds, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n && !fds[i].revents; i++)
		;
	if (i < n && b->ops->polled)
		b->ops->polled(b, fds, n);
	return i < n;
}

static bool work_waits(struct backend *b)
{
	struct pollfd fds[BACKEND_POLLFDS_MAX];
	uint64_t queues = b->ready_queues & ~b->passive_queues;
	uint32_t n;

	if (bell_rings(b))
		return true;
	while (queues) {
		if (virtq_pending(&b->vq[queue_next(&queues)]))
			return true;
	}
	return device_prepare_sleep(b, fds, &n);
}

/* Has the device's own time come? */
static bool time_is_up(const struct backend *b, uint64_t now_ns)
{
	return b->ready_queues && b->wake_ns && now_ns >= b->wake_ns;
}

/* The device's descriptors, where there is no other way to see that one is ready. */
static bool device_fds_ready(struct backend *b)
{
	struct pollfd fds[BACKEND_POLLFDS_MAX];
	struct timespec zero = {0};
	uint32_t n;

	if (!b->ops->poll_fds)
		return false;
	if (device_prepare_sleep(b, fds, &n))
		return true;
	return n > 0 && wait_fds(fds, n, &zero) > 0 && device_polled(b, fds, n);
}

static uint64_t poll_bound_ns(const struct backend *b)
{
	uint32_t us = core_load(&b->region->control.poll_us);

	return us == REGION_POLL_ADAPTIVE ? b->loop.poll_ns : us * 1000ull;
}

/* Looks for work without a system call, for a bounded time. True if there is some. */
static bool poll_for_work(struct backend *b)
{
	uint64_t bound_ns = poll_bound_ns(b);
	uint64_t now_ns = b->now_ns;
	int i;

	core_store_shown(&b->region->device.poll_us, (uint32_t)(bound_ns / 1000));
	while (now_ns - b->now_ns < bound_ns && !loop_stop) {
		for (i = 0; i < POLL_SPINS; i++) {
			if (work_waits(b))
				return true;
			cpu_relax();
		}
		now_ns = backend_loop_now_ns();
		if (time_is_up(b, now_ns) || device_fds_ready(b))
			return true;
		let_signals_in(b, now_ns);
	}
	return loop_stop;
}

/*
 * Much as KVM does for halted CPUs: a sleep that a longer look might have spared makes the bound grow, one that no
 * bound would have spared makes it shrink. Where the longest look was in vain and the sleep was short all the same, as
 * when the driver's CPU is ours too, looking does not help: it begins anew from nothing.
 */
static void poll_adapt(struct backend *b, uint64_t slept_ns)
{
	uint64_t poll_ns = b->loop.poll_ns;

	if (slept_ns < POLL_MAX_NS)
		poll_ns = poll_ns ? poll_ns * 2 : POLL_MIN_NS;
	else
		poll_ns /= 2;
	b->loop.poll_ns = poll_ns < POLL_MIN_NS || poll_ns > POLL_MAX_NS ? 0 : poll_ns;
}

/* Asks the drivers of the queues to notify; true if a chain came before they could know. */
static bool enable_notifications(struct backend *b)
{
	uint64_t queues = b->ready_queues & ~b->passive_queues;
	bool work = false;

	while (queues)
		work |= virtq_enable_notification(&b->vq[queue_next(&queues)]);
	return work;
}

static void disable_notifications(struct backend *b)
{
	uint64_t queues = b->ready_queues;

	while (queues)
		virtq_disable_notification(&b->vq[queue_next(&queues)]);
}

/* How long to sleep; NULL: until something happens. */
static const struct timespec *sleep_bound(const struct backend *b, uint64_t now_ns, struct timespec *bound)
{
	uint64_t ns;

	if (!b->ready_queues || !b->wake_ns)
		return NULL;
	ns = b->wake_ns > now_ns ? b->wake_ns - now_ns : 0;
	*bound = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
	return bound;
}

int backend_loop_sleep(struct backend *b)
{
	struct region_doorbell *bell = &b->region->doorbell;
	struct pollfd fds[BACKEND_POLLFDS_MAX];
	struct timespec bound;
	uint64_t begin_ns;
	uint64_t ticks;
	uint32_t n;
	int err = 0;
	bool work;

	fds[0] = (struct pollfd){.fd = BACKEND_FD_KICK, .events = POLLIN};
	work = enable_notifications(b);
	core_store(&bell->sleeping, 1);
	core_fence(); /* whoever rings does so before it looks whether we sleep */
	work |= bell_rings(b);
	if (!work && !device_prepare_sleep(b, fds + 1, &n)) {
		begin_ns = backend_loop_now_ns();
		if (wait_fds(fds, n + 1, sleep_bound(b, begin_ns, &bound)) < 0) {
			err = errno == EINTR ? 0 : -errno;
			fds[0].revents = 0;
		}
		backend_count(&b->region->device.wakeups, 1);
		b->loop.signals_ns = backend_loop_now_ns();
		poll_adapt(b, b->loop.signals_ns - begin_ns);
		if (fds[0].revents & ~POLLIN)
			err = -EBADF;
		else if (fds[0].revents && read(BACKEND_FD_KICK, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
			err = -errno;
		device_polled(b, fds + 1, n);
	}
	core_store(&bell->sleeping, 0);
	disable_notifications(b);
	return err;
}

/* What a predecessor did not come to say any more: the driver looks at its rings and at config, once. */
static void interrupt_anyway(struct backend *b)
{
	core_or32(&b->region->irq.interrupt_status, REGION_INT_USED | REGION_INT_CONFIG);
	backend_count(&b->region->device.interrupts, 1);
	call();
}

void backend_loop_start(struct backend *b)
{
	b->now_ns = backend_loop_now_ns();
	core_store(&b->region->doorbell.sleeping, 0);
	/* A device that a predecessor found broken stays so, unless its driver has reset it meanwhile. */
	if (core_load(&b->region->driver.status) == 0)
		core_store(&b->region->device.needs_reset, 0);
	b->broken = core_load(&b->region->device.needs_reset) != 0;
	handle_events(b, take_doorbell(b) | REGION_EV_STATUS);
	if (driver_is_ok(b->status))
		interrupt_anyway(b);
}

void backend_loop_stop(struct backend *b)
{
	uint64_t queues = b->ready_queues;

	if (queues)
		b->ops->quiesce(b, queues);
	backend_publish(b, &queues);
	log_info("stopped");
}

bool backend_loop_turn(struct backend *b)
{
	uint32_t events = take_doorbell(b);
	bool busy;

	if (events)
		handle_events(b, events);
	busy = b->ready_queues && !b->broken && b->ops->run(b);
	if (b->broken)
		queues_close(b, b->ready_queues);
	return busy;
}

int backend_loop(struct backend *b)
{
	int err;

	backend_loop_start(b);
	for (;;) {
		b->now_ns = backend_loop_now_ns();
		backend_count(&b->region->device.heartbeat, 1);
		let_signals_in(b, b->now_ns);
		if (loop_stop)
			break;
		if (backend_loop_turn(b) || poll_for_work(b))
			continue;
		err = backend_loop_sleep(b);
		if (err) {
			log_error("waiting for work: %s", strerror(-err));
			return BACKEND_EXIT_FAILED;
		}
	}
	backend_loop_stop(b);
	return BACKEND_EXIT_STOPPED;
}
