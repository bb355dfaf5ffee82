# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# Zones that come and go, what a stopped zone leaves reachable, and wrong zone files.
tests="module-loads wrong-zone-files-are-refused attachment-is-bounded zone-starts-again-and-again
	memory-of-a-stopped-zone-is-gone unload-is-clean root-kernel-is-well"
cycles=20
[ ! -e $share/defects ] || cycles=6
attachment_in=/tmp/attachment.in
attachment_out=/tmp/attachment.out

test_module_loads() {
	module_load || return
	launcher_start
}

# zone_file_with SED-EXPRESSION: a zone file that differs
zone_file_with() {
	sed "$1" $work/zone1_linux.json >$work/wrong.json
	! cmp -s $work/zone1_linux.json $work/wrong.json || wrong "$1: changes nothing"
}

# refused SED-EXPRESSION WORDS: the file that so differs is refused with these words
refused() {
	zone_file_with "$1" || return
	must_fail "$2" hvisor zone start --virtio $work/virtio_cfg.json $work/wrong.json || return
	! zone_list_has || wrong "$1: the zone runs"
}

test_wrong_zone_files_are_refused() {
	refused 's/"zone_id": 1/"zone_id": 0/' "must be a zone number" || return
	refused 's/"cpus": \[2, 3\]/"cpus": [1, 2]/' "belongs to zone 0" || return
	refused 's/"cpus": \[2, 3\]/"cpus": []/' "is an empty array" || return
	refused 's/zone1-image/no-such-image/' "cannot be opened" || return
	refused 's/"kernel_filepath": "zone1-image"/"kernel_filepath": "zone1.dtb"/' "is a device tree" || return
	refused 's/"size": "0x30000000"/"size": "0x30001000"/' "is root Linux's own memory" || return
	must_fail "is root Linux's own memory" hvisor zone check $work/wrong.json || return
	refused 's/"dtb_filepath": "zone1.dtb"/"dtb_filepath": "zone1_linux.json"/' "is no device tree" || return
	refused 's/0xa003c00/0xa003d00/' "a driver that looks there stops the zone" || return
	refused 's/\[74, 75, 76, 78\]/[74, 75, 76]/' "its interrupt is 78" || return
	refused 's/0x50400000/0xb0400000/' "is not in a ram region" || return
	refused 's/^{/{,/' "wrong.json:1:2" || return
	must_fail "no-such-file" hvisor zone start no-such-file
}

attachment_says() {
	[ "$(tail -n 1 $attachment_out)" = "$1" ] && [ "$(wc -l <$attachment_out)" -gt "$2" ]
}

# attachment_word WORD ANSWER
attachment_word() {
	lines=$(wc -l <$attachment_out)
	echo "$1" >&4
	wait_for 5 attachment_says "$2" "$lines" || wrong "the attachment answers: $(tail -n 1 $attachment_out)"
}

test_attachment_is_bounded() {
	mkfifo $attachment_in
	: >$attachment_out
	# A window that the guest does not know: its driver would have to be answered.
	attachment 0xa004000 90 <$attachment_in >$attachment_out 2>&1 &
	exec 4>$attachment_in
	attachment_word read nothing
}

zone_uses_its_disk() {
	hvisor-launch --status blk0 |
		awk -v before="$1" '{ v[$1] = $2 } END { exit !(v["requests"] > before && v["status"] == "0x0f") }'
}

# backend_reaches WHAT: what the real backend of blk0 finds in the zone's memory
backend_reaches() {
	found=$(reach "$(status pid)")
	[ "$found" = "$1" ] || wrong "start $n: the backend finds: $found"
}

test_zone_starts_again_and_again() {
	n=0
	while [ $n -lt $cycles ]; do
		n=$((n + 1))
		before=$(status requests)
		zone_start || return
		wait_for 60 zone_uses_its_disk "${before:-0}" || wrong "start $n: the guest does not use its disk" || return
		backend_reaches "memory d00dfeed" || return
		[ $((n % 4)) -ne 0 ] || attachment_word read "memory d00dfeed" || return
		zone_shutdown || return
		backend_reaches nothing || return
		[ $((n % 4)) -ne 0 ] || attachment_word read nothing || return
	done
	[ "$(status restarts)" = 0 ] || wrong "backends ended: $(status restarts)"
}

# And is there again when it starts again; the guest has come to no harm.
test_memory_of_a_stopped_zone_is_gone() {
	attachment_word read nothing || return
	disk_make
	zone_start || return
	attachment_word read "memory d00dfeed" || return
	guest_is_up || return
	attachment_word end ended || return
	exec 4>&-
	guest_dmesg_is_clean || return
	zone_shutdown
}
