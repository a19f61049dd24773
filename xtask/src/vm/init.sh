#!/bin/busybox sh
# The first process of the virtual machine: makes of an initramfs what the tests expect of a host,
# runs them, and switches the machine off. What is read from it goes to the second serial port,
# what a person may want to see to the first.
# An initramfs cannot be pivoted away from, which a container engine has to be told.
export DOCKER_RAMDISK=1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8
# A machine that waits for somebody to look at it would be killed at its time limit only.
trap 'busybox poweroff -f' EXIT
set -e

mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -t tmpfs tmpfs /run
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
# Nobody makes its device before it is opened.
modprobe tun
# Mail servers do not start as "(none)".
hostname flowguard-vm
# Line ends stay as they are written.
busybox stty -F /dev/ttyS1 raw
set +e
. /vm/run.sh >/dev/ttyS1
