#!/bin/sh
# Makes .venv, able to run estats (`./setup.sh run`), also to run every check and test of it
# (`./setup.sh test`), or to test it on other kernels too (`./setup.sh kernels`). What is there
# already is left alone, so a second call takes no time.
set -eu
cd "$(dirname "$0")"

purpose=${1:-}
case $purpose in
run) extras='[top]' larger='test kernels' ;;
test) extras='[test]' larger=kernels ;;
kernels) extras='[test,kernels]' larger='' ;;
*)
	echo "usage: ./setup.sh run|test|kernels" >&2
	exit 2
	;;
esac

python=/usr/bin/python3 # the distribution's own: the only one that can import its bcc
PATH=$PATH:/usr/sbin:/sbin

has_module() {
	"$python" -c "import sys; from importlib.util import find_spec; sys.exit(not find_spec('$1'))" \
		2>/dev/null
}

# Names the Debian package of everything that is not here, however it would have come here.
lacking() {
	has_module bcc || echo python3-bpfcc
	has_module ensurepip || echo python3-venv
	[ -e /etc/services ] || echo netbase # names of ports
	[ "$purpose" != run ] || return 0
	lacking_programs <<-PROGRAMS
		ip iproute2
		tc iproute2
		nft nftables
		curl curl
		iperf iperf
		iperf3 iperf3
		ethtool ethtool
		tcpdump tcpdump
		tcptrace tcptrace
		tshark tshark
		sqlite3 sqlite3
		bpftool bpftool
		ps procps
		gcc gcc
		tmux tmux
	PROGRAMS
	[ -e /usr/include/stdio.h ] || echo libc6-dev
	[ "$purpose" = kernels ] || return 0
	lacking_programs <<-PROGRAMS
		qemu-system-x86_64 qemu-system-x86
		modprobe kmod
		depmod kmod
		xz xz-utils
		file file
	PROGRAMS
	# Debian's other busybox finds no libraries in a system that is nothing but busybox.
	if ! program=$(command -v busybox) || ldd "$program" >/dev/null 2>&1; then
		echo busybox-static
	fi
}

# Of lines with a program and its package, the packages of the programs that are not here.
lacking_programs() {
	while read -r program package; do
		command -v "$program" >/dev/null || echo "$package"
	done
}

# What a person has to install, and under which names.
name_packages() {
	echo "estats: this system lacks what Debian has in $1" >&2
	if command -v apt-get >/dev/null; then
		echo "  As root: apt-get install $1, or call make as root." >&2
		exit 1
	fi
	if [ "$purpose" = kernels ]; then
		echo "  The kernels are Debian's, and so must be the system that boots them." >&2
		exit 1
	fi
	echo "  Install it as root and call make again. Other distributions call it" >&2
	case $purpose in
	run)
		cat >&2 <<-NAMES
			  Fedora, openSUSE  python3-bcc
			  Arch              python-bcc
		NAMES
		;;
	test)
		cat >&2 <<-NAMES
			  Fedora    python3-bcc iproute iproute-tc nftables curl iperf iperf3 ethtool tcpdump tcptrace wireshark-cli sqlite bpftool procps-ng gcc tmux glibc-devel
			  openSUSE  python3-bcc iproute2 nftables curl iperf ethtool tcpdump wireshark sqlite3 bpftool procps gcc tmux glibc-devel
			  Arch      python-bcc iproute2 nftables curl iperf iperf3 ethtool tcpdump wireshark-cli sqlite bpf procps-ng gcc tmux
		NAMES
		;;
	esac
	exit 1
}

install_packages() {
	[ -n "$1" ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		name_packages "$1"
	fi
	echo "estats: installing $1" >&2
	apt-get update -qq
	# shellcheck disable=SC2086  # one argument a package
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $1 \
		</dev/null >/dev/null
}

make_environment() {
	"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
		echo "estats: $python is $("$python" -V), and estats needs Python 3.11 or newer" >&2
		echo "  Use a newer release of this distribution (Debian 12, Ubuntu 24.04)." >&2
		exit 1
	}
	# The packages of another place, Python or pyproject.toml do not count.
	wanted="$PWD $("$python" -V) $(cksum <pyproject.toml)"
	for made in "$purpose" $larger; do
		[ "$(cat ".venv/$made.stamp" 2>/dev/null)" != "$wanted" ] || return 0
	done
	echo "estats: making .venv" >&2
	"$python" -m venv --system-site-packages .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"
	echo "$wanted" >".venv/$purpose.stamp"
}

install_packages "$(lacking | sort -u | xargs)"
make_environment
