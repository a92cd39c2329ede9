#!/bin/bash
# Becomes a machine of its own, for machine.py: machine.sh BASE AT FILE...   BASE with a layer in memory over it is its disk, put together at AT; the files lie
# in its /root. Runs in namespaces of its own. $INIT is what process 1 is, with its arguments.
set -e
base=$1 at=$2
shift 2
mount -t tmpfs none "$at"
mkdir "$at/upper" "$at/work" "$at/root"
mount -t overlay -o "lowerdir=$base,upperdir=$at/upper,workdir=$at/work" none "$at/root"
cp "$@" "$at/root/root/"
cd "$at/root"
mount -t proc none proc
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
for device in null zero full random urandom tty; do
	touch dev/$device
	mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs none dev/shm
mount -t tmpfs none run
mount -t tmpfs none tmp
chmod 1777 tmp
ip link set lo up
echo mx.example.org >etc/hostname
hostname mx.example.org
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C $INIT </dev/null >/run/console 2>&1
