# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# Two zones with eight and three disks, all of which work at once.
tests="module-loads eleven-devices-are-served two-zones-boot all-devices-work-at-once backends-are-killed-beside-others
	device-is-driven-at-random-beside-others one-zone-stops-beside-the-other guest-kernels-are-well zones-shut-down
	unload-is-clean root-kernel-is-well"
devices_1="blk0 blk1 blk2 blk3 blk4 blk5 blk6 blk7"
devices_2="blk8 blk9 blk10"
disks_1="b c d e f g"
disks_2="b c"
driven=h
driven_device=blk7
driven_window=a000e00

test_eleven_devices_are_served() {
	copy $share/zone1.ext4 $work/zone2.ext4 || return
	for n in 1-1 1-2 1-3 1-4 1-5 1-6 1-7 2-1 2-2; do
		truncate -s 4M $work/zone$n.img
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

# all_start: a load on every disk of both zones but the roots and the one that is driven
all_start() {
	for n in 1 2; do
		zone_select $n
		eval "disks=\$disks_$n"
		guest "rm -f /tmp/stop; for d in $disks; do
			(load /dev/vd\$d /tmp/stop 1 20000 >/tmp/load.\$d; echo \"status \$?\" >>/tmp/load.\$d) >/dev/null 2>&1 &
		done" || wrong "the loads of zone $n cannot be started" || return
	done
}

# The number of requests of each device but the driven one, in lines of "NAME NUMBER"; an uptime is two words.
all_requests() {
	hvisor-launch --status | awk -v not=$driven_device '$2 == "blk" && $1 != not { print $1, $9 }'
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
