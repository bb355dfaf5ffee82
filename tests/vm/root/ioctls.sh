# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # shared with run and lib.sh
# The module's own checks of its calls, by root alone: there is no zone.
tests="module-loads unload-refused-while-a-view-is-open ioctls-at-random unload-is-clean root-kernel-is-well"

# Nothing of a zone's.
setup() {
	mkdir -p $work
	cd $work || return
}

test_unload_refused_while_a_view_is_open() {
	mkfifo $work/view
	ioctls view <$work/view >/tmp/view &
	exec 4>$work/view
	wait_for 10 grep -q open /tmp/view || wrong "no view: $(cat /tmp/view)" || return
	must_fail "" rmmod hvisor || return
	exec 4>&-
	wait $! || wrong "a view: $(cat /tmp/view)"
}

test_ioctls_at_random() {
	ioctls 24 $share/corpus >/tmp/ioctls 2>&1 || wrong "$(cat /tmp/ioctls)" || return
	sed 's/^/# /' /tmp/ioctls
}

test_unload_is_clean() {
	module_unload
}
