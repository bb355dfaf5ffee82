# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# How long a register access of the guest's takes. A measurement: it fails only if there is none.
tests="module-loads register-times register-times-of-a-polling-thread root-kernel-is-well"

# print_times WORDS: a line for each of burst and rest, root idle and root busy
print_times() {
	for load in idle busy; do
		spinners=
		if [ $load = busy ]; then
			while :; do :; done &
			spinners=$!
			while :; do :; done &
			spinners="$spinners $!"
		fi
		guest "registers time $window_blk 2000 0" >/tmp/burst || return
		guest "registers time $window_blk 30 20000" >/tmp/rest || return
		# shellcheck disable=SC2086 # a list
		[ -z "$spinners" ] || kill $spinners
		echo "# time of a register read, us (min median p99), $1, root $load: burst $(cat /tmp/burst), after rest $(cat /tmp/rest)"
	done
}

zone_up() {
	launcher_start || return
	disk_make
	zone_start || return
	guest_is_up
}

zone_down() {
	zone_shutdown || return
	launcher_stop || return
	module_unload
}

test_register_times() {
	zone_up || return
	for poll_us in 0 50; do
		echo $poll_us >$parameters/poll_us
		print_times "poll_us=$poll_us" || return
	done
	zone_down
}

test_register_times_of_a_polling_thread() {
	module_load poll_thread=1 || return
	zone_up || return
	print_times "poll_thread=1" || return
	zone_down
}
