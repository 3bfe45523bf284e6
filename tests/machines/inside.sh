#!/bin/sh
# The first program of an emulated machine that is ours: it lays out the file system so that the
# examination can run, and runs it.
#   $1  the project        $3  how many times longer than usual things take
#   $2  the folder in which lib/modules of this kernel lies
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Of the root file system, every access asks the host. Here it is once more, and remembered.
tag=$(sed -n 's,^\([^ ]*\) /run/host .*,\1,p' /proc/mounts)
umount /run/host
mkdir /run/root /run/home
mount -t 9p -o ro,cache=loose,version=9p2000.L,trans=virtio,msize=512000 "$tag" /run/root
for folder in proc sys dev run; do
	mount --rbind "/$folder" "/run/root/$folder"
done

# The kernel asks for its modules where they lie, which is not /lib/modules.
printf '#!/bin/sh\nexec modprobe -d %s "$@"\n' "$2" >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
/run/modprobe tun # for the packet scripts: nobody asks for it by opening what is not there

export HOME=/run/home TMPDIR=/run/home PYTHONDONTWRITEBYTECODE=1 ESTATS_TEST_SLOWNESS="$3"
exec chroot /run/root sh -c \
	'cd "$1" && exec .venv/bin/python -m tests.machines.examination /run/results' sh "$1"
