# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2119,SC2120,SC2154 # shared with the files that read this one
# What the tests in root Linux share. Each test is a function test_NAME_WITH_UNDERSCORES that returns 0 or says what
# is wrong with wrong(); the tests of a machine run one after the other.
share=/share
work=/tmp/work
zone=1 # the one that guest() and the like are about
image=$work/zone1.ext4
mail_at=16384 # block, behind the file system: see guest/agent.c
mail_number=0
failed=0
program_dir=$share/bin
groups=/sys/fs/cgroup/hvisor-launch
window_unused=0xa003600
terminal=/run/hvisor-launch/console0
parameters=/sys/module/hvisor/parameters
rest_terminal=/dev/hvc0 # in the guest
rest_other_end=$terminal
window_blk=0xa003c00
known=$work/virtio_cfg.json # the devices that the zones' trees have
others_memory="0x80000000 0xa0000000" # root's, and its tree

export PATH="$share/bin:$PATH"

# wrong WORDS: the test that runs has failed. Always false, so that "|| wrong ..." and "wrong ...; return" both do.
wrong() {
	echo "# $*" >&3
	return 1
}

# run_test NAME
run_test() {
	begin=$(cut -d ' ' -f 1 /proc/uptime)
	if "test_$(echo "$1" | tr - _)"; then
		echo "ok $1"
	else
		echo "not ok $1"
		failed=1
	fi
	echo "# $1: $(cut -d ' ' -f 1 /proc/uptime | awk -v b="$begin" '{ printf "%.1f", $1 - b }') s"
}

# uptime_read: into $up, in whole seconds
uptime_read() {
	read -r up idle </proc/uptime
	up=${up%.*}
}

# wait_for SECONDS COMMAND...: until the command is true. Each look takes processor time from the guest, under emulation.
wait_for() {
	uptime_read
	end=$((up + $1))
	shift
	until "$@"; do
		uptime_read
		[ "$up" -lt $end ] || return 1
		usleep 100000
	done
}

# must_fail WORDS COMMAND...: the command fails and says WORDS
must_fail() {
	words=$1
	shift
	if "$@" >/tmp/must_fail 2>&1; then
		wrong "$*: succeeded"
		return
	fi
	grep -qF -- "$words" /tmp/must_fail || wrong "$*: does not say \"$words\" but: $(cat /tmp/must_fail)"
}

module_load() {
	insmod $share/hvisor.ko "$@" || wrong "insmod failed"
}

module_unload() {
	wait_for 5 rmmod hvisor || wrong "rmmod: $(cat /sys/module/hvisor/refcnt) references are left"
}

launcher_start() {
	hvisor-launch --program-dir "$program_dir" --policy-dir $share/policy --daemon $work/virtio_cfg.json ||
		wrong "hvisor-launch: $?"
}

launcher_stop() {
	hvisor-launch --stop || wrong "hvisor-launch --stop: $?"
}

# zone_select N: what follows is about this zone
zone_select() {
	eval "mail_number_$zone=$mail_number"
	zone=$1
	image=$work/zone$zone.ext4
	eval "mail_number=\${mail_number_$zone:-0}"
}

# status KEY [DEVICE]: of blk0, unless another is named
status() {
	hvisor-launch --status "${2:-blk0}" | awk -v key="$1" '$1 == key { print $2 }'
}

launcher_pid() {
	pidof hvisor-launch
}

# status_passes KEY N [DEVICE]: is the number above N?
status_passes() {
	[ "$(status "$1" "${3:-blk0}")" -gt "$2" ]
}

# device_is_new DEVICE PID: another process than that serves it
device_is_new() {
	new=$(status pid "$1")
	[ -n "$new" ] && [ "$new" != "$2" ] && [ "$(status state "$1")" = running ]
}

# backend_kill DEVICE: and wait for the next
backend_kill() {
	pid=$(status pid "$1")
	kill -KILL "$pid" || wrong "$1 has no backend $pid" || return
	wait_for 20 device_is_new "$1" "$pid" || wrong "$1: no new backend: $(status state "$1")"
}

# grouped DEVICE: its backend, and nothing else, is in its group
grouped() {
	[ "$(cat $groups/"$1"/cgroup.procs)" = "$(status pid "$1")" ] && [ "$(status cgroup "$1")" = $groups/"$1" ] ||
		wrong "$1: not in its group: $(cat $groups/"$1"/cgroup.procs), $(hvisor-launch --status "$1")"
}

zone_list_has() {
	hvisor zone list | grep -q "^| *$zone |"
}

zone_start() {
	mail_send true
	hvisor zone start --virtio $known "$work/zone${zone}_linux.json" || wrong "hvisor zone start: $?"
}

# Backends that become quiet end it, not the deadline for those that do not.
zone_shutdown() {
	echo 60000 >$parameters/deadline_ms
	timeout 30 hvisor zone shutdown -id "$zone" || wrong "hvisor zone shutdown: $?" || return
	echo 2000 >$parameters/deadline_ms
}

# copy FROM TO: in larger pieces than cp, each of which is a message to the host
copy() {
	dd if="$1" of="$2" bs=256k 2>/dev/null || wrong "$2 cannot be written"
}

# A new disk for the zone.
disk_make() {
	copy $share/zone1.ext4 $image
}

mail_read() {
	dd if=$image bs=4096 skip=$((mail_at + $1)) count="$2" 2>/dev/null
}

mail_answered() {
	mail_read 1 1 | tr -d '\000' >/tmp/answer
	IFS=' ' read -r answer_number answer_status answer_size answer_again </tmp/answer
	[ "$answer_number" = "$mail_number" ] && [ "$answer_again" = "$mail_number" ]
}

mail_send() {
	mail_number=$((mail_number + 1))
	printf '%s|%s|%s\n' $mail_number "$1" $mail_number |
		dd of=$image bs=4096 seek=$mail_at count=1 conv=sync,notrunc 2>/dev/null
}

# mail_result SECONDS: what the guest's command printed, and its status
mail_result() {
	wait_for "$1" mail_answered || {
		wrong "the guest does not answer within $1 s"
		return 1
	}
	mail_read 2 $(((answer_size + 4095) / 4096)) | head -c "$answer_size"
	return "$answer_status"
}

# guest COMMAND: has the guest's shell run it. Not in $(...): the number of the message would be lost with the subshell.
guest() {
	mail_send "$1"
	mail_result 60
}

guest_is_up() {
	mail_result 90 || wrong "the guest does not come up"
}

# guest_begin NAME COMMAND: in the background; /tmp/NAME is there when it has ended, with what it said and its status
guest_begin() {
	guest "rm -f /tmp/$1
		(($2) >/tmp/$1.out 2>&1; echo \"status \$?\" >>/tmp/$1.out; mv /tmp/$1.out /tmp/$1) >/dev/null 2>&1 &"
}

# guest_end NAME: it ended well
guest_end() {
	mail_send "until [ -e /tmp/$1 ]; do usleep 50000; done; cat /tmp/$1; grep -q '^status 0' /tmp/$1"
	mail_result 120 >"/tmp/said.$1" || wrong "$1 in the guest: $(cat "/tmp/said.$1")"
}

# guest_driver bind|unbind WINDOW: of the device there
guest_driver() {
	guest "echo $2.virtio_mmio >/sys/bus/platform/drivers/virtio-mmio/$1" || wrong "its driver cannot be $1 at $2"
}

# attack_begin [fed] 0xWINDOW: all attacks on the device there, whose driver has let it go: see guest/attack.c. The
# device must become quiet even where that takes long, or its backend would be killed for that alone.
attack_begin() {
	echo 60000 >$parameters/deadline_ms
	guest_begin attack "attack $* $others_memory 2>/tmp/begun"
}

attack_is_over() {
	guest '[ -e /tmp/attack ]'
}

# attack_await COMMAND...: it ended well, and meanwhile the command was true again and again: $looks counts it, but not
# the last time, during which the attack may have ended
attack_await() {
	uptime_read
	attack_end=$((up + 300))
	looks=$((${looks:-0} - 1))
	until attack_is_over; do
		"$@" || return
		looks=$((looks + 1))
		usleep 500000
		uptime_read
		if [ "$up" -ge $attack_end ]; then
			guest 'tail -n 1 /tmp/begun' >/tmp/begun
			wrong "an attack does not end: $(cat /tmp/begun)"
			return
		fi
	done
	guest_end attack || return
	sed 's/^#* */# /; /^# status/d' /tmp/said.attack
	echo 2000 >$parameters/deadline_ms
}

# guest_load_start [PROCESSES PAUSE]
guest_load_start() {
	guest "rm -f /tmp/stop; (load /load /tmp/stop $* >/tmp/load; echo \"status \$?\" >>/tmp/load) >/dev/null 2>&1 &" ||
		wrong "the load cannot be started"
}

guest_load_check() {
	guest 'touch /tmp/stop; until grep -q status /tmp/load; do usleep 50000; done; cat /tmp/load; grep -q "status 0" /tmp/load'
}

# The kernel of the guest has nothing to complain about.
guest_dmesg_is_clean() {
	guest 'dmesg' >/tmp/guest.dmesg || return
	[ -s /tmp/guest.dmesg ] || wrong "the guest's dmesg is empty" || return
	! grep -E 'I/O error|EXT4-fs (error|warning)|WARNING:|BUG:|Oops|Call trace|blocked for more|rcu.*stall' \
		/tmp/guest.dmesg >&3 || wrong "the guest's kernel complains"
}

# wakeup interrupts that root has got so far
wakeups() {
	awk '/hvisor/ { print $2 + $3 }' /proc/interrupts
}

wakeups_pass() {
	[ "$(wakeups)" -gt "$1" ]
}

# What root does for the guest: wakeup interrupts, softirqs like those that answer them, and wakeups of $devices.
root_work() {
	echo "$(wakeups) $(awk '$1 == "HI:" { print $2 + $3 }' /proc/softirqs)"
	for each in $devices; do
		status wakeups "$each"
	done
}

root_rested() {
	before=$(root_work)
	usleep 2000000
	[ "$(root_work)" = "$before" ]
}

# With nothing to do for a guest root does nothing: there is no timer that looks after it. Meanwhile the guest waits for a
# line from a console, as it would otherwise look for its next command.
test_root_rests_with_its_guest() {
	mail_send "sync; read line <$rest_terminal"
	wait_for 15 root_rested || wrong "root is kept busy: $before, then $(root_work)" || return
	echo >$rest_other_end
	mail_result 30
}

# What most machines begin and end with.
test_module_loads() {
	module_load
}

test_unload_is_clean() {
	launcher_stop || return
	[ ! -e $groups ] || wrong "groups are left: $(ls $groups)" || return
	module_unload
}

# Root's kernel has nothing to complain about.
test_root_kernel_is_well() {
	dmesg >/tmp/dmesg
	dmesg_is_well
}

# That is, nothing in /tmp/dmesg is a complaint.
dmesg_is_well() {
	! grep -E 'WARNING|BUG|Oops|Call trace|INFO:|possible .*(deadlock|recursive)|rcu.*stall|refcount_t|KASAN|UBSAN|hvisor: .*(never|no memory)' \
		/tmp/dmesg >&3 || wrong "see above, from root's dmesg"
}

# What each machine begins with.
setup() {
	cp $share/lib/* /lib/ 2>/dev/null
	mkdir -p /var/log $work
	copy $share/zone1-image $work/zone1-image
	cp $share/*.dtb $share/*.json $work/
	disk_make
	cd $work || return
}
