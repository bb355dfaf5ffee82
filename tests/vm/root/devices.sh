# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154 # shared with run and lib.sh; commands for the guest
# Network, console and entropy beside the disk: bulk traffic, a login, and every backend killed under its traffic.
tests="module-loads devices-are-served guest-boots ping-both-ways bulk-tcp-with-offloads bulk-tcp-without-offloads
	offloads-come-back link-goes-down-and-up net-is-restarted-under-traffic login-on-the-console console-tells-its-size
	megabyte-to-the-console megabyte-from-the-console port-is-restarted-under-traffic entropy-is-random
	entropy-is-restarted-under-traffic all-devices-at-once root-rests-with-its-guest devices-are-attacked-beside-the-disk
	guest-kernel-is-well zone-shuts-down unload-is-clean root-kernel-is-well"
devices="blk0 console0 net0 rng0"
root_address=192.168.76.1
guest_address=192.168.76.2
wire=1514 # bytes of the largest frame that is no segment to be cut up
megabyte=1048576
port=/run/hvisor-launch/console0.1
typed=/tmp/typed
said=/tmp/said
password=zone-1-password

test_devices_are_served() {
	launcher_start || return
	for device in $devices; do
		[ "$(status state "$device")" = running ] || wrong "$device is $(status state "$device")" || return
	done
	ip address add $root_address/24 dev tap0 || wrong "tap0 cannot be given an address"
}

# What the kernel has to say beside must not get between the bytes that are compared.
test_guest_boots() {
	zone_start || return
	guest_is_up || return
	guest 'dmesg -n 1; cat /sys/class/misc/hw_random/rng_current; ls /sys/class/net/eth0/queues' >/tmp/seen || return
	grep -q '^virtio_rng' /tmp/seen || wrong "the guest's entropy comes from: $(cat /tmp/seen)" || return
	[ "$(grep -c '^tx-' /tmp/seen)" = 2 ] || wrong "not two queues: $(cat /tmp/seen)"
}

test_ping_both_ways() {
	ping -c 2 -W 5 $guest_address >/tmp/ping || wrong "$(cat /tmp/ping)" || return
	guest "ping -c 2 -W 5 $root_address" >/tmp/ping || wrong "$(cat /tmp/ping)"
}

# Like guest_begin(), in root: root_begin NAME COMMAND
root_begin() {
	rm -f "/tmp/$1"
	(
		sh -c "$2" >"/tmp/$1.out" 2>&1
		echo "status $?" >>"/tmp/$1.out"
		mv "/tmp/$1.out" "/tmp/$1"
	) &
}

root_over() {
	[ -e "/tmp/$1" ]
}

root_end() {
	wait_for 120 root_over "$1" || wrong "$1 in root does not end" || return
	grep -q '^status 0' "/tmp/$1" || wrong "$1 in root: $(cat "/tmp/$1")"
}

# Traffic that lasts until traffic_stop().
traffic_start() {
	rm -f /tmp/stop
	guest 'rm -f /tmp/stop'
}

traffic_stop() {
	touch /tmp/stop
	guest 'touch /tmp/stop'
}

# tcp_begin TO [BYTES]: from one side of the net to the other; without a number until traffic_stop()
tcp_begin() {
	if [ "$1" = guest ]; then
		guest_begin tcp-to-guest "stream check ${2:-marked} 1 listen 5001" || return
		root_begin tcp-to-guest "stream send ${2:-/tmp/stop} 1 connect $guest_address 5001"
	else
		root_begin tcp-to-root "stream check ${2:-marked} 2 listen 5002"
		guest_begin tcp-to-root "stream send ${2:-/tmp/stop} 2 connect $root_address 5002"
	fi
}

tcp_end() {
	root_end "tcp-to-$1" || return
	guest_end "tcp-to-$1" || return
	echo "# TCP to $1: $(grep bytes "/tmp/tcp-to-$1")"
}

# tcp_frames TO BYTES: and $frame is how many bytes the frames had, of which acknowledgements the other way are some
tcp_frames() {
	before_requests=$(status requests net0)
	before_bytes=$(net_bytes "$1")
	tcp_begin "$1" "$2" || return
	tcp_end "$1" || return
	frame=$((($(net_bytes "$1") - before_bytes) / ($(status requests net0) - before_requests)))
	echo "# bytes of a frame to $1: $frame"
}

# What the guest reads comes to it.
net_bytes() {
	if [ "$1" = guest ]; then
		status bytes_read net0
	else
		status bytes_written net0
	fi
}

# Segments are larger than what a wire would take.
test_bulk_tcp_with_offloads() {
	for to in guest root; do
		tcp_frames $to 33554432 || return
		[ "$frame" -gt $wire ] || wrong "frames of $frame bytes to $to: not offloaded" || return
	done
}

offloads() {
	guest "ethtool -K eth0 rx $1 tx $1 sg $1 tso $1 gso $1 gro $1 rx-gro-hw $1 2>&1" >/tmp/ethtool ||
		wrong "ethtool: $(cat /tmp/ethtool)"
}

test_bulk_tcp_without_offloads() {
	offloads off || return
	for to in guest root; do
		tcp_frames $to 4194304 || return
		[ "$frame" -le $wire ] || wrong "frames of $frame bytes to $to: still offloaded" || return
	done
}

test_offloads_come_back() {
	offloads on || return
	test_bulk_tcp_with_offloads
}

guest_carrier_is() {
	guest 'cat /sys/class/net/eth0/carrier' >/tmp/carrier && [ "$(cat /tmp/carrier)" = "$1" ]
}

test_link_goes_down_and_up() {
	hvisor-launch --link net0=down || wrong "--link: $?" || return
	wait_for 10 guest_carrier_is 0 || wrong "the guest sees a carrier" || return
	! ping -c 1 -W 1 $guest_address >/dev/null || wrong "the guest answers without a link" || return
	hvisor-launch --link net0=up || wrong "--link: $?" || return
	wait_for 10 guest_carrier_is 1 || wrong "the guest sees no carrier" || return
	test_ping_both_ways
}

goes_on() {
	status_passes requests "$2" "$1"
}

# device_goes_on DEVICE: under traffic
device_goes_on() {
	wait_for 60 goes_on "$1" $(($(status requests "$1") + 20)) ||
		wrong "$1 stands still: $(hvisor-launch --status "$1")"
}

# disturb DEVICE: its backend is restarted twice and killed twice under its traffic
disturb() {
	for how in restart kill restart kill; do
		device_goes_on "$1" || return
		if [ $how = kill ]; then
			backend_kill "$1" || return
		else
			hvisor-launch --restart "$1" || wrong "--restart $1: $?" || return
		fi
	done
	device_goes_on "$1"
}

test_net_is_restarted_under_traffic() {
	traffic_start || return
	tcp_begin guest || return
	tcp_begin root || return
	disturb net0 || return
	traffic_stop || return
	tcp_end guest || return
	tcp_end root
}

# said_has WORDS: has the console said so since say_to_console()?
said_has() {
	tail -c +$((said_before + 1)) $said | grep -qaF -- "$1"
}

say_to_console() {
	said_before=$(wc -c <$said)
	printf '%s\n' "$1" >&4
}

console_answers() {
	wait_for 60 said_has "$1" || wrong "the console does not say \"$1\" but: $(tail -c 300 $said)"
}

test_login_on_the_console() {
	mkfifo $typed
	hvisor-launch --console console0 --escape none <$typed >$said 2>/tmp/console.err &
	exec 4>$typed
	guest "printf '%s\n%s\n' $password $password | passwd root" >/tmp/passwd || wrong "$(cat /tmp/passwd)" || return
	said_before=0
	guest_begin getty 'setsid getty -L 0 hvc0 vt100' || return
	console_answers 'zone login:' || return
	say_to_console root
	console_answers 'Password:' || return
	say_to_console "not-$password"
	console_answers 'Login incorrect' || return
	console_answers 'zone login:' || return
	say_to_console root
	console_answers 'Password:' || return
	say_to_console "$password"
	console_answers '#' || return
	say_to_console 'echo logged-in-as-$(id -un) on $(tty)'
	console_answers 'logged-in-as-root on /dev/hvc0'
}

guest_terminal_is() {
	guest 'stty -F /dev/hvc0 size' >/tmp/size && [ "$(cat /tmp/size)" = "$1" ]
}

test_console_tells_its_size() {
	stty -F $terminal rows 40 cols 100 || wrong "stty: $?" || return
	wait_for 10 guest_terminal_is '40 100' || wrong "the guest's terminal is $(cat /tmp/size)"
}

# Linux takes Ctrl-O on its console for itself, so this is text. The quotes keep the echo of the line from being taken for
# the answer.
test_megabyte_to_the_console() {
	say_to_console "stty raw -echo; printf re''ady; stream check $megabyte t3; stty sane; echo ov''er"
	console_answers ready || return
	stream send $megabyte t3 >&4 2>/dev/null || wrong "the console takes no more" || return
	console_answers over || return
	said_has "$megabyte bytes" || wrong "not all of it arrived: $(tail -c 300 $said)"
}

said_is_longer() {
	[ "$(wc -c <$said)" -gt "$1" ]
}

test_megabyte_from_the_console() {
	say_to_console "stty raw -echo; printf re''ady; read x; stream send $megabyte 4; stty sane; echo ov''er"
	console_answers ready || return
	from=$(($(wc -c <$said) + 1))
	say_to_console ''
	wait_for 120 said_is_longer $((from + megabyte)) || wrong "only $(wc -c <$said) of $((from + megabyte)) bytes came" ||
		return
	tail -c +$from $said | head -c $megabyte | stream check $megabyte 4 2>/tmp/stream ||
		wrong "$(cat /tmp/stream)" || return
	console_answers over
}

port_find() {
	guest 'name=$(grep -lx data /sys/class/virtio-ports/*/name) && basename ${name%/name}' >/tmp/port.device ||
		wrong "no such port: $(cat /tmp/port.device)" || return
	rest_terminal=/dev/$(cat /tmp/port.device)
	rest_other_end=$port
}

# Through the console's second port, both ways at once.
port_begin() {
	guest_begin port "exec 3<>$rest_terminal
		stream check marked 5 <&3 & stream send /tmp/stop 6 >&3 && wait \$!" || return
	root_begin port-to-guest "stream send /tmp/stop 5 >&5"
	root_begin port-to-root "stream check marked 6 <&5"
}

port_end() {
	root_end port-to-guest || return
	root_end port-to-root || return
	guest_end port || return
	echo "# port: to the guest $(grep bytes /tmp/port-to-guest), to root $(grep bytes /tmp/port-to-root)"
}

test_port_is_restarted_under_traffic() {
	port_find || return
	exec 5<>$port
	stty raw -echo <&5
	traffic_start || return
	port_begin || return
	disturb console0 || return
	traffic_stop || return
	port_end
}

test_entropy_is_random() {
	guest 'dd if=/dev/hwrng bs=2500 count=40 iflag=fullblock 2>/dev/null' >/tmp/bytes || return
	random /tmp/bytes >/tmp/random || wrong "$(cat /tmp/random)"
}

entropy_begin() {
	guest_begin entropy 'until [ -e /tmp/stop ]; do
		dd if=/dev/hwrng bs=2500 count=8 iflag=fullblock 2>/dev/null || exit
	done >/tmp/bytes'
}

# Of many bytes the last ones.
entropy_end() {
	guest_end entropy || return
	guest 'tail -c 1000000 /tmp/bytes' >/tmp/bytes || return
	random /tmp/bytes >/tmp/random || wrong "$(cat /tmp/random)" || return
	echo "# entropy: $(cat /tmp/random)"
}

test_entropy_is_restarted_under_traffic() {
	traffic_start || return
	entropy_begin || return
	disturb rng0 || return
	traffic_stop || return
	entropy_end
}

test_all_devices_at_once() {
	guest_load_start || return
	traffic_start || return
	tcp_begin guest || return
	tcp_begin root || return
	port_begin || return
	entropy_begin || return
	guest_begin tree '/make-tree /tree && sync' || return
	for round in 1 2; do
		for device in $devices; do
			device_goes_on $device || return
		done
		for device in $devices; do
			backend_kill $device || return
		done
	done
	for device in $devices; do
		device_goes_on $device || return
	done
	traffic_stop || return
	guest_end tree || return
	entropy_end || return
	port_end || return
	tcp_end guest || return
	tcp_end root || return
	guest_load_check >/tmp/loads || wrong "$(cat /tmp/loads)"
}

all_restarts() {
	for device in $devices; do
		echo "$device $(status restarts $device)"
	done
}

# attack WINDOW [FEEDER...]: on the device there; what feeds its other end does so until all attacks were made
attack() {
	window=$1
	shift
	guest_driver unbind $window || return
	if [ $# -gt 0 ]; then
		"$@" >/dev/null 2>&1 &
		feeder=$!
		attack_begin fed 0x$window
	else
		attack_begin 0x$window
	fi || return
	attack_await device_goes_on blk0 || return
	[ $# -eq 0 ] || kill $feeder || wrong "$*: has ended" || return
	guest_driver bind $window
}

feed_console() {
	while printf 'words\n' >&4; do
		usleep 5000
	done
}

# All that a guest does to its devices on purpose. No backend may die of it, and after it their drivers are served.
test_devices_are_attacked_beside_the_disk() {
	all_restarts >/tmp/restarts
	guest_load_start 2 50000 || return
	attack a003400 || return
	guest 'dd if=/dev/hwrng bs=2500 count=8 iflag=fullblock 2>/dev/null' >/tmp/bytes || return
	random /tmp/bytes >/tmp/random || wrong "$(cat /tmp/random)" || return
	attack a003600 ping -i 0.02 ${root_address%.*}.255 || return
	guest "ip link set eth0 up && ip address add $guest_address/24 dev eth0" || return
	test_ping_both_ways || return
	attack a003800 feed_console || return
	! grep -qa NotThine $said || wrong "memory that was not for the console came out of it" || return
	port_find || return
	mail_send "read line <$rest_terminal; echo \$line"
	echo heard >$port
	mail_result 30 >/tmp/heard || return
	grep -q heard /tmp/heard || wrong "the console is no good afterwards: $(cat /tmp/heard)" || return
	[ $looks -gt 0 ] || wrong "it was over before the disk could be seen to go on" || return
	guest_load_check >/tmp/loads || wrong "$(cat /tmp/loads)" || return
	all_restarts | diff /tmp/restarts - >&3 || wrong "a backend has ended, see above"
}

test_guest_kernel_is_well() {
	guest_dmesg_is_clean
}

test_zone_shuts_down() {
	exec 4>&- 5<&-
	guest sync || return
	zone_shutdown || return
	for device in $devices; do
		[ "$(status status "$device")" = 0x00 ] || wrong "$device is not reset: $(status status "$device")" || return
		echo "# longest time that an access of $device waited, ns: $(status wait_max_ns "$device")"
	done
	copy "$image" $share/out/zone1.ext4
}

test_unload_is_clean() {
	launcher_stop || return
	module_unload || return
	[ ! -e /sys/class/net/tap0 ] || wrong "tap0 is still there"
}
