# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# Two zones with eight and three disks, all of which work at once.
tests="module-loads eleven-devices-are-served limits-are-held root-keeps-its-share limits-without-a-group
	limits-outlive-the-launcher two-zones-boot all-devices-work-at-once backends-are-killed-beside-others
	device-is-driven-at-random-beside-others disk-is-attacked-beside-others backend-out-of-memory-beside-others
	hostile-backends-beside-others one-zone-stops-beside-the-other guest-kernels-are-well zones-shut-down
	unload-is-clean root-kernel-is-well"
devices_1="blk0 blk1 blk2 blk3 blk4 blk5 blk6 blk7"
devices_2="blk8 blk9 blk10"
hostile="garbage calls deaf spins"
hostile_window=0xa000600 # of the first of them, the others follow
program_dir=$share/hostile
known=$work/known_cfg.json
disks_1="b c d e f g"
disks_2="b c"
driven=h
driven_device=blk7
driven_window=a000e00
driven_image=$work/zone1-7.img
attacked_bytes=1048576 # at its beginning, to which attacks write

test_eleven_devices_are_served() {
	copy $share/zone1.ext4 $work/zone2.ext4 || return
	for n in 1-1 1-2 1-3 1-4 1-5 1-6 1-7 2-1 2-2; do
		truncate -s 4M $work/zone$n.img
	done
	for way in $hostile; do
		truncate -s 64k $work/patient-$way.img
	done
	launcher_start || return
	for device in $devices_1 $devices_2; do
		[ "$(status state $device)" = running ] || wrong "$device is $(status state $device)" || return
	done
}

test_two_zones_boot() {
	for n in 1 2; do
		zone_select $n
		zone_start || return
	done
	for n in 1 2; do
		zone_select $n
		guest_is_up || return
		zone_list_has || wrong "hvisor zone list does not show zone $n" || return
		guest "ls /sys/block | grep -c ^vd" >/tmp/disks
		eval "set -- \$devices_$n"
		[ "$(cat /tmp/disks)" = $# ] || wrong "zone $n has $(cat /tmp/disks) disks, not $#" || return
	done
}

# all_start [PAUSE]: a load on every disk of both zones but the roots and the one that is driven
all_start() {
	for n in 1 2; do
		zone_select $n
		eval "disks=\$disks_$n"
		guest "rm -f /tmp/stop; for d in $disks; do
			(load /dev/vd\$d /tmp/stop 1 ${1:-20000} >/tmp/load.\$d; echo \"status \$?\" >>/tmp/load.\$d) >/dev/null 2>&1 &
		done" || wrong "the loads of zone $n cannot be started" || return
	done
}

# The number of requests of each device but the driven one, in lines of "NAME NUMBER"; an uptime is two words.
all_requests() {
	hvisor-launch --status | awk -v not=$driven_device '$2 == "blk" && $1 != not && $1 !~ /^patient/ { print $1, $9 }'
}

# Have all devices served more requests since all_requests()? The root disks only see the guests' agents.
all_went_on() {
	all_requests >/tmp/after
	awk 'NR == FNR { before[$1] = $2; next } { n++; if ($2 < before[$1] + ($1 == "blk0" || $1 == "blk8" ? 5 : 50)) late = 1 }
		END { exit late || n != 10 }' /tmp/before /tmp/after
}

all_go_on() {
	all_requests >/tmp/before
	wait_for 60 all_went_on || wrong "not all go on: $(cat /tmp/before /tmp/after)"
}

all_check() {
	for n in ${1:-1 2}; do
		zone_select $n
		eval "disks=\$disks_$n"
		guest "touch /tmp/stop; for d in $disks; do
			until grep -q status /tmp/load.\$d; do usleep 50000; done
			cat /tmp/load.\$d; grep -q 'status 0' /tmp/load.\$d || exit 1
		done" >/tmp/loads || wrong "zone $n: $(cat /tmp/loads)" || return
	done
}

all_restarts() {
	for device in $devices_1 $devices_2; do
		echo "$device $(status restarts $device)"
	done
}

test_all_devices_work_at_once() {
	all_start || return
	all_go_on || return
	all_check
}

test_backends_are_killed_beside_others() {
	all_start || return
	all_go_on || return
	for device in blk3 blk9 blk0 blk5; do
		backend_kill $device || return
	done
	all_go_on || return
	all_check || return
	for device in blk1 blk2 blk4 blk6 blk8 blk10; do
		[ "$(status restarts $device)" = 0 ] || wrong "$device was restarted too" || return
	done
}

# Its driver lets it go; then its registers are written to without sense. It may want a reset, its backend may even be
# killed because it was kept from becoming quiet; nobody else may notice.
test_device_is_driven_at_random_beside_others() {
	all_start || return
	zone_select 1
	guest "echo $driven_window.virtio_mmio >/sys/bus/platform/drivers/virtio-mmio/unbind" || return
	guest "registers drive 0x$driven_window 400" || wrong "see above" || return
	all_go_on || return
	guest "echo $driven_window.virtio_mmio >/sys/bus/platform/drivers/virtio-mmio/bind &&
		dd if=/dev/vd$driven of=/dev/null bs=64k count=16 iflag=direct 2>&1" >/tmp/driven ||
		wrong "the device is no good afterwards: $(cat /tmp/driven) $(hvisor-launch --status $driven_device)" || return
	all_check
}

# limits_are GROUP WORDS: what the kernel knows
limits_are() {
	(cd $groups/$1 && cat cpu.weight cpu.max memory.max pids.max) >/tmp/limits
	[ "$(tr '\n' ' ' </tmp/limits)" = "$2 " ] || wrong "$1: $(cat /tmp/limits)"
}

# group_used GROUP: microseconds of processor time
group_used() {
	awk '$1 == "usage_usec" { print $2 }' $groups/$1/cpu.stat
}

# process_ran PID: microseconds of processor time; ticks would be too coarse under emulation
process_ran() {
	read -r ran_ns rest </proc/$1/schedstat
	echo $((ran_ns / 1000))
}

# busy_start [GROUP]: a process of root's that spins, beside the others of its kind; in the end, busy_stop()
busy_start() {
	taskset 2 sh -c 'while :; do :; done' &
	busy="$busy $!"
	[ -z "$1" ] || echo $! >$groups/$1/cgroup.procs || wrong "$1 takes no process"
}

busy_stop() {
	kill $busy
	busy=
}

# The weight of all of them is the kernel's, which is that of one process.
test_limits_are_held() {
	limits_are blk0 "100 max 20000 max 64" || return
	limits_are patient-spins "50 4000 20000 16777216 64" || return
	[ "$(cat $groups/cpu.weight)" = 100 ] || wrong "all of them weigh $(cat $groups/cpu.weight)" || return
	for device in $devices_1 $devices_2; do
		grouped $device || return
	done
	busy_start patient-spins || return
	used=$(group_used patient-spins)
	since=$(cut -d ' ' -f 1 /proc/uptime)
	usleep 2000000
	used=$(($(group_used patient-spins) - used))
	part=$(echo "$since $(cut -d ' ' -f 1 /proc/uptime) $used" | awk '{ printf "%d", $3 / ($2 - $1) / 10000 }')
	busy_stop
	echo "# what spins and may have 20 % of a processor has $part %"
	[ "$part" -ge 5 ] && [ "$part" -le 25 ] || wrong "it has $part %"
}

# Two backends that spin, or what stands for them, and a process of root's, all on one processor.
test_root_keeps_its_share() {
	busy_start blk9 || return
	busy_start blk10 || return
	busy_start || return
	usleep 500000
	used=$(group_used .)
	ran=$(process_ran $!)
	usleep 3000000
	ran=$(($(process_ran $!) - ran))
	used=$(($(group_used .) - used))
	busy_stop
	part=$((ran * 100 / (ran + used)))
	echo "# beside two backends that spin, a process of root's has $part % of their processor"
	[ "$part" -ge 42 ] || wrong "it has $part %"
}

# It is said, and the device is served.
test_limits_without_a_group() {
	hvisor-launch --stop blk10 || wrong "--stop: $?" || return
	[ ! -e $groups/blk10 ] || wrong "a stopped device has a group" || return
	echo 0 >$groups/cgroup.max.descendants
	hvisor-launch --start blk10 || wrong "--start: $?" || return
	echo max >$groups/cgroup.max.descendants
	[ "$(status cgroup blk10)" = - ] || wrong "$(status cgroup blk10)" || return
	grep -q "blk10: cannot make the group $groups/blk10" /var/log/hvisor-launch/launcher.log ||
		wrong "nobody says so" || return
	hvisor-launch --restart blk10 || wrong "--restart: $?" || return
	grouped blk10
}

test_limits_outlive_the_launcher() {
	pid=$(status pid blk9)
	kill -KILL "$(launcher_pid)"
	[ "$(cat $groups/blk9/cgroup.procs)" = "$pid" ] || wrong "its group is gone" || return
	echo 7 >$groups/blk9/pids.max
	mkdir $groups/left || return
	launcher_start || return
	[ "$(status pid blk9)" = "$pid" ] || wrong "it was not adopted" || return
	grouped blk9 || return
	limits_are blk9 "100 max 20000 max 64" || return
	[ ! -e $groups/left ] || wrong "a group that no device has is left"
}

# The kernel kills a backend for its memory; its guest does not notice.
test_backend_out_of_memory_beside_others() {
	all_start || return
	all_go_on || return
	pid=$(status pid blk9)
	echo 0 >$groups/blk9/memory.max
	wait_for 20 device_is_new blk9 "$pid" || wrong "no new backend: $(hvisor-launch --status blk9)" || return
	hvisor-launch --status blk9 | grep -q 'last_exit .*signal 9 (Killed) for want of memory' ||
		wrong "$(hvisor-launch --status blk9)" || return
	limits_are blk9 "100 max 20000 max 64" || return
	all_go_on || return
	all_check || return
	# What the kernel writes of the killing is no complaint, and not to be found by the last test.
	dmesg -c | sed '/invoked oom-killer/,/Memory cgroup out of memory/d' >/tmp/dmesg
	dmesg_is_well
}

# hostile_try WAY WINDOW: a driver's life with it ends in time, and by then the backend was killed
hostile_try() {
	used=$(group_used patient-$1)
	pid=$(status pid patient-$1)
	guest "registers reset $2 0x68000000" >/tmp/reset || wrong "$(cat /tmp/reset)" || return
	read -r held value </tmp/reset
	wait_for 20 hvisor_killed patient-$1 $pid || wrong "$(hvisor-launch --status patient-$1)" || return
	used=$(($(group_used patient-$1) - used))
	echo "# $1: a reset was held for $held ms, the backend ran for $((used / 1000)) ms"
	[ "$held" -ge 1500 ] && [ "$held" -le 4000 ] && [ "$value" = 0 ] ||
		wrong "$1: $held ms, then status $value" || return
	all_go_on
}

# hvisor_killed DEVICE PID: the module has ended that backend, and another one serves
hvisor_killed() {
	device_is_new $1 $2 && dmesg | grep -q "hvisor: $1: its backend did not become quiet in .*: cut off and killed"
}

# Backends that somebody has taken over: only who depends on them notices.
test_hostile_backends_beside_others() {
	all_start || return
	all_go_on || return
	all_restarts >/tmp/restarts
	window=$((hostile_window))
	zone_select 2
	for way in $hostile; do
		hostile_try $way $window || return
		window=$((window + 512))
	done
	all_check || return
	all_restarts | diff /tmp/restarts - >&3 || wrong "others were restarted too, see above"
}

# What attacks on zone 1's device must not change: the rest of its disk, and what lies where zone 2's memory begins.
not_to_be_changed() {
	tail -c +$((attacked_bytes + 1)) $driven_image | md5sum
	zone_select 2
	guest 'md5sum </sys/firmware/fdt' || return
	zone_select 1
}

# All that a guest does to a device on purpose. It may want a reset each time; its backend lives, and nobody else notices.
test_disk_is_attacked_beside_others() {
	others_memory="0x68000000 0x70000000 $others_memory" # zone 2's
	zone_select 1
	guest_driver unbind $driven_window || return
	dd if=/dev/urandom of=$driven_image bs=$attacked_bytes seek=1 count=3 conv=notrunc 2>/dev/null || return
	not_to_be_changed >/tmp/kept || wrong "$(cat /tmp/kept)" || return
	all_restarts >/tmp/restarts
	all_start 300000 || return
	zone_select 1
	attack_begin 0x$driven_window || return
	attack_await all_go_on || return
	[ $looks -gt 0 ] || wrong "it was over before all could be seen to go on" || return
	all_check || return
	all_restarts | diff /tmp/restarts - >&3 || wrong "a backend has ended, see above" || return
	not_to_be_changed >/tmp/after
	cmp -s /tmp/kept /tmp/after || wrong "changed were the disk or zone 2: $(cat /tmp/kept /tmp/after)" || return
	zone_select 1
	! grep -qa NotThine $driven_image || wrong "memory that was not for the device is on the disk" || return
	guest_driver bind $driven_window || return
	guest "load /dev/vd$driven / 1" >/tmp/driven || wrong "the disk is no good afterwards: $(cat /tmp/driven)"
}

test_one_zone_stops_beside_the_other() {
	all_start || return
	all_go_on || return
	zone_select 2
	zone_shutdown || return
	! zone_list_has || wrong "zone 2 is still there" || return
	zone_select 1
	wait_for 60 status_passes requests $(($(status requests blk1) + 100)) blk1 || wrong "zone 1 stands still" || return
	all_check 1 || return
	zone_select 2
	zone_start || return
	guest_is_up || return
	guest 'dd if=/dev/vdb of=/dev/null bs=64k count=16 iflag=direct 2>&1' >/tmp/again || wrong "$(cat /tmp/again)"
}

test_guest_kernels_are_well() {
	for n in 1 2; do
		zone_select $n
		guest_dmesg_is_clean || return
	done
}

test_zones_shut_down() {
	for n in 1 2; do
		zone_select $n
		zone_shutdown || return
	done
	for device in $devices_1 $devices_2; do
		[ "$(status status $device)" = 0x00 ] || wrong "$device is not reset: $(status status $device)" || return
	done
	echo "# longest time that an access waited, ns: $(for device in $devices_1 $devices_2; do
		status wait_max_ns $device
	done | sort -n | tail -n 1)"
}
