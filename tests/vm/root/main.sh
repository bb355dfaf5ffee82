# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# One life of a zone on its own disk, with everything killed under it that may be killed.
tests="module-loads launcher-serves guest-boots-from-its-disk root-rests-with-its-guest
	guest-writes-a-tree backend-restarts-under-load
	backend-is-killed-under-load backend-is-stopped-under-load clock-jumps-under-load launcher-is-killed-under-load
	registers-hammered-beside-io no-interrupt-lost-by-empty-acknowledgements
	unload-refused-while-a-zone-runs guest-kernel-is-well zone-shuts-down
	unload-refused-while-attached unload-is-clean guest-starts-before-the-launcher zone-switches-itself-off
	unload-is-clean-again root-kernel-is-well"
devices="blk0 console0 rng0"

test_module_loads() {
	module_load || return
	[ -c /dev/hvisor ] || wrong "no /dev/hvisor"
}

test_launcher_serves() {
	launcher_start || return
	[ "$(status state)" = running ] || wrong "blk0 is $(status state)" || return
	for device in $devices; do
		hvisor-launch --stop $device || wrong "--stop $device: $?" || return
	done
	[ -z "$(find $groups/* -type d)" ] || wrong "groups are left: $(ls $groups)" || return
	for device in $devices; do
		hvisor-launch --start $device || wrong "--start $device: $?" || return
		grouped $device || return
	done
}

test_guest_boots_from_its_disk() {
	zone_start || return
	guest_is_up || return
	zone_list_has || wrong "hvisor zone list does not show the zone" || return
	guest 'grep " / " /proc/mounts' >/tmp/mounts || return
	grep -q '^/dev/vda / ext4' /tmp/mounts || wrong "the guest's root is: $(cat /tmp/mounts)"
}

# The host compares it, when the zone is gone.
test_guest_writes_a_tree() {
	guest '/make-tree /tree && sync'
}

# The load must go on after what has been done to its disk.
load_goes_on() {
	wait_for 30 status_passes requests $(($(status requests) + 100)) ||
		wrong "the load stands still: $(hvisor-launch --status blk0)"
}

test_backend_restarts_under_load() {
	guest_load_start || return
	for n in 1 2 3; do
		load_goes_on || return
		hvisor-launch --restart blk0 || wrong "--restart: $?" || return
	done
	load_goes_on || return
	guest_load_check
}

test_backend_is_killed_under_load() {
	guest_load_start || return
	for n in 1 2 3 4 5; do
		load_goes_on || return
		backend_kill blk0 || return
	done
	load_goes_on || return
	guest_load_check || return
	[ "$(status restarts)" -ge 5 ] || wrong "$(status restarts) restarts"
}

# A process that does not run: the guest's register accesses must not wait for it.
test_backend_is_stopped_under_load() {
	guest_load_start || return
	load_goes_on || return
	pid=$(status pid)
	kill -STOP "$pid"
	before=$(status requests)
	usleep 1500000
	waited=$(status wait_max_ns)
	[ "$(status requests)" = "$before" ] || wrong "a stopped backend serves" || return
	kill -CONT "$pid"
	load_goes_on || return
	guest_load_check || return
	[ "$waited" -lt 1000000000 ] || wrong "an access waited for $waited ns"
}

# Root's clock goes a year ahead, then two back: nothing waits for it, and backends that end are replaced as ever.
test_clock_jumps_under_load() {
	guest_load_start || return
	now=$(date +%s)
	for clock in $((now + 31536000)) $((now - 31536000)) "$now"; do
		load_goes_on || return
		date -s "@$clock" >/dev/null || wrong "date -s @$clock: $?" || return
		load_goes_on || return
		backend_kill blk0 || return
	done
	load_goes_on || return
	guest_load_check
}

test_launcher_is_killed_under_load() {
	guest_load_start || return
	load_goes_on || return
	pid=$(status pid)
	kill -KILL "$(launcher_pid)"
	wait_for 10 launcher_is_gone || wrong "the launcher lives" || return
	usleep 300000
	[ -d "/proc/$pid" ] || wrong "the backend went with the launcher" || return
	launcher_start || return
	[ "$(status pid)" = "$pid" ] || wrong "blk0 is served by $(status pid), and was by $pid" || return
	[ "$(status state)" = running ] || wrong "blk0 is $(status state)" || return
	load_goes_on || return
	kill -KILL "$pid"
	wait_for 20 device_is_new blk0 "$pid" || wrong "the adopted backend is not replaced: $(status state)" || return
	load_goes_on || return
	guest_load_check
}

launcher_is_gone() {
	! launcher_pid >/dev/null
}

test_registers_hammered_beside_io() {
	guest_load_start || return
	load_goes_on || return
	guest "registers hammer $window_unused 3000" >/tmp/hammered || wrong "$(cat /tmp/hammered)" || return
	[ "$(grep -c '3000 accesses' /tmp/hammered)" = 2 ] || wrong "not from two CPUs: $(cat /tmp/hammered)" || return
	load_goes_on || return
	guest_load_check
}

# An interrupt that hvisor drops is to come again even if the driver acknowledges, with 0, between the two.
test_no_interrupt_lost_by_empty_acknowledgements() {
	guest_load_start || return
	guest "registers acknowledge $window_blk 20000 >/dev/null 2>&1 &" || return
	for n in 1 2 3; do
		load_goes_on || return
	done
	mail_send 'until ! pidof registers >/dev/null; do usleep 50000; done'
	mail_result 240 || return
	load_goes_on || return
	guest_load_check
}

test_unload_refused_while_a_zone_runs() {
	kill -KILL "$(launcher_pid)"
	pid=$(backends)
	wait_for 10 launcher_is_gone || wrong "the launcher lives" || return
	kill -KILL $pid
	wait_for 10 backend_is_gone || wrong "the backend lives" || return
	must_fail "hvisor" rmmod hvisor || return
	launcher_start || return
	guest true
}

backends() {
	pidof hvisor-blk hvisor-console hvisor-rng
}

backend_is_gone() {
	! backends >/dev/null
}

test_guest_kernel_is_well() {
	guest_dmesg_is_clean
}

test_zone_shuts_down() {
	guest sync || return
	echo "# $(hvisor-launch --status blk0 | grep -E '^(requests|accesses|interrupts|interrupts_again|wait_max_ns|hold_max_ns)' |
		tr -s ' ' | tr '\n' ',')"
	zone_shutdown || return
	! zone_list_has || wrong "hvisor zone list shows it still" || return
	[ "$(status status)" = 0x00 ] || wrong "its device is not reset: $(status status)" || return
	copy $image $share/out/zone1.ext4
}

test_unload_refused_while_attached() {
	kill -KILL "$(launcher_pid)"
	wait_for 10 launcher_is_gone || wrong "the launcher lives" || return
	! backend_is_gone || wrong "the backend went with the launcher" || return
	must_fail "hvisor" rmmod hvisor || return
	launcher_start
}

test_unload_is_clean() {
	launcher_stop || return
	backend_is_gone || wrong "a backend is left" || return
	module_unload
}

# It finds its windows empty, and looks again until the launcher is there.
test_guest_starts_before_the_launcher() {
	module_load || return
	disk_make
	before=$(wakeups)
	zone_start || return
	wait_for 60 wakeups_pass $((${before:-0} + 6)) || wrong "the guest does not look for its devices" || return
	zone_list_has || wrong "the zone is gone" || return
	launcher_start || return
	guest_is_up || return
	guest_dmesg_is_clean
}

zone_is_gone() {
	! zone_list_has
}

# hvisor tells nobody; whoever starts or stops it next must find all as after a shutdown.
test_zone_switches_itself_off() {
	mail_send 'poweroff -f'
	wait_for 30 zone_is_gone || wrong "the zone still runs" || return
	zone_start || return
	guest_is_up || return
	guest true || return
	mail_send 'poweroff -f'
	wait_for 30 zone_is_gone || wrong "the zone still runs" || return
	zone_shutdown || return
	[ "$(status status)" = 0x00 ] || wrong "its device is not reset: $(status status)" || return
	[ "$(reach "$(status pid)")" = nothing ] || wrong "its memory can still be reached" || return
	must_fail "does not run" hvisor zone shutdown -id 1
}

test_unload_is_clean_again() {
	test_unload_is_clean
}
