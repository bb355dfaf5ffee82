/* SPDX-License-Identifier: MIT */
/*
 * How a running launcher is asked: a Unix stream socket RUN_DIR/control.sock. Each side sends one JSON object a line;
 * a client may send several requests, one after the other, and gets one line for each. It may keep the connection
 * open without asking anything: its end tells that the launcher is gone. Only root and the user that the launcher
 * runs as are answered (SO_PEERCRED).
 *
 * Requests
 *	{"command":"status"}				all devices
 *	{"command":"status","name":"blk0"}		one device
 *	{"command":"restart","name":"blk0"}		answered when the new backend serves; "all": every device
 *	{"command":"stop","name":"blk0"}		answered when its backend is gone
 *	{"command":"stop"}				the whole launcher with all backends; answered before it ends
 *	{"command":"start","name":"blk0"}		a stopped or failed device; answered when its backend serves
 *	{"command":"log-level","name":"blk0","level":"debug"}	error, warning, info or debug
 *	{"command":"resize","name":"blk0"}		the image has another size: tell the guest
 *	{"command":"link","name":"net0","link":"down"}	up or down; answered when the guest can see it
 *	{"command":"console","name":"console0"}		or "console0.1"; a descriptor comes with the reply
 *
 * Replies
 *	{"ok":true, ...}
 *	{"ok":false,"error":"a sentence"}		and "names":["blk0", ...] if no device has the name
 *
 * The reply to console has "backend" and "path" as in "ports" below, and "port": its number; the descriptor is that of
 * the console's memory (common/console.h), to read. The reply to resize has "capacity": the device's size in bytes.
 * The reply to status:
 *	"launcher": {
 *		"pid": number,
 *		"version": "0.1.0",
 *		"uptime_s": number,
 *		"config": path, "hv": "sim:PATH", "hv_name": what answers there,
 *		"log": path of its own log, null while it writes to a terminal,
 *		"seccomp": "enforce" or "log",
 *		"sandbox_missing": [names of the layers that this kernel lacks],
 *		"skipped": [lines about devices of types that are not served yet]
 *	}
 *	"devices": [ {
 *		"name": "blk0", "type": "blk", "zone": number,
 *		"state": one of CONTROL_STATE_*,
 *		"pid": number, 0 without a backend,
 *		"restarts": number, how often a backend was started anew after it ended by itself,
 *		"uptime_s": number, of the backend, with fractions, 0 without one,
 *		"requests", "bytes_read", "bytes_written", "errors", "interrupts", "wakeups", "resubmitted":
 *			numbers as the backends count them (struct region_device), over all restarts,
 *		"status": number, the virtio status as the driver reads it,
 *		"accesses", "notifications", "interrupts_again", "bad_accesses", "wait_max_ns", "hold_max_ns":
 *			numbers as hvisor counts them (struct hvisor_device_get),
 *		"tap", "bridge", "mac", "link", "rx_dropped", "tx_dropped": of net devices only: names (bridge null for
 *			none), "02:00:00:00:01:01", CONTROL_LINK_*, and frames that were lost on the way to and from the
 *			guest,
 *		"ports": of a console only: [ {
 *			"label": "console0" or, of the second port, "console0.1",
 *			"name": that the guest is told, or null,
 *			"backend": "pty", "socket", "file" or "stdio",
 *			"path": "/dev/pts/3" (null while there is none), or that of its socket or file,
 *			"link": path in the run folder that leads there,
 *			"output_log": path or null
 *		}, ... ],
 *		"log": path of its log file,
 *		"log_level": "info",
 *		"last_exit": "signal 9 (Killed)" or "exit code 1", null if none ended yet,
 *		"failed_reason": a sentence if the state is failed, else null
 *	}, ... ]
 */
#ifndef HVISOR_CONTROL_H
#define HVISOR_CONTROL_H

#define CONTROL_SOCKET "control.sock" /* in the run folder */
#define CONTROL_REQUEST_MAX 4096 /* bytes of a request, the newline included */
#define CONTROL_REPLY_MAX (1u << 20) /* bytes of a reply, the newline included */

/* The states of a device. */
#define CONTROL_STATE_STARTING "starting" /* there is a backend which does not serve yet */
#define CONTROL_STATE_RUNNING "running"
#define CONTROL_STATE_WAITING "waiting" /* its backend ended; the next one starts after a delay */
#define CONTROL_STATE_STOPPING "stopping"
#define CONTROL_STATE_STOPPED "stopped" /* by request */
#define CONTROL_STATE_FAILED "failed" /* no backend will come before --start or --restart */

/* What the link of a net device was set to. */
#define CONTROL_LINK_UP "up"
#define CONTROL_LINK_DOWN "down"

/* The name that stands for all devices in restart, and so is no device's name; nor is that of the launcher's log. */
#define CONTROL_NAME_ALL "all"
#define CONTROL_NAME_LAUNCHER "launcher"

#endif
