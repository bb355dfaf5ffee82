# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# The seccomp policies on this architecture: each rule obeyed by this kernel, and what backends make of them recorded, as
# "make test" does it for the machine that it runs on. There is no zone; backends serve the simulator's.
tests="each-rule-is-obeyed blk-uses-its-rules console-uses-its-rules net-uses-its-rules rng-uses-its-rules
	clock-by-call root-kernel-is-well"
# What tests/vm/build makes for it, and tests/vm/share puts into build/.
programs="tests/trace/policy_use tests/unit/test_policy tests/unit/test_policy_rules tests/sim/test_blk
	tests/sim/test_console_ports tests/sim/test_net_control tests/sim/test_rng tests/sim/test_clock"

setup() {
	# Out of the shared folder each page of a program would be a message to the host.
	mkdir -p $work $share/out/policy-use
	cp -r $share/policy $share/build $work/
	cp $share/bin/hvisor-* $work/build/
	cp $share/lib/* /lib/
	# Images can lie on no tmpfs, and blocks are to be punched out of them.
	export TMPDIR=$work/ext4
	mkdir $TMPDIR
	modprobe loop
	modprobe ext4
	copy $share/zone1.ext4 $work/zone1.ext4
	mount -o loop $work/zone1.ext4 $TMPDIR || return
	# This kernel's loop devices always can zero.
	modprobe null_blk gb=1 memory_backed=1 discard=1 && export TEST_DISCARDING_DEVICE=/dev/nullb0
	# Of the hundreds of calls that are refused there is a line each.
	dmesg -n 5
	cd $work || return
}

# recorded PROGRAM [NAME]...: its tests that have one of the NAMEs in their names, or all of them
recorded() {
	program=$1
	shift
	[ $# -gt 0 ] || set -- ""
	for name in "$@"; do
		use=$share/out/policy-use/$(echo "vm-$program-$name" | tr '/: ' ---).use
		if ! build/tests/trace/policy_use "$use" build/$program "$name" >/tmp/recorded 2>&1 </dev/null ||
			! grep -q '^ok ' /tmp/recorded; then
			wrong "$program $name: $(cat /tmp/recorded)"
			return
		fi
		sed 's/^/# /' /tmp/recorded
	done
}

test_each_rule_is_obeyed() {
	recorded tests/unit/test_policy || return
	recorded tests/unit/test_policy_rules
}

test_blk_uses_its_rules() {
	recorded tests/sim/test_blk blk_multiqueue blk_queue_reset blk_scattered blk_block_device_discards blk_launched
}

test_console_uses_its_rules() {
	recorded tests/sim/test_console_ports console_ports_most
}

test_net_uses_its_rules() {
	recorded tests/sim/test_net_control "all queue pairs"
}

test_rng_uses_its_rules() {
	recorded tests/sim/test_rng rng_launched
}

test_clock_by_call() {
	recorded tests/sim/test_clock
}
