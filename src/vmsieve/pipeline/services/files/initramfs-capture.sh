#!/bin/sh
# initramfs-tools script: in the crash kernel, saves a dump before the root file system is booted.
# Written by 'vmsieve install-kdump --capture'; 'vmsieve install-kdump --undo' removes it.

case $1 in
    prereqs) exit 0 ;;
esac

[ -e /proc/vmcore ] || exit 0
KDUMP_COREDIR=/var/crash
USE_KDUMP=0
. "$rootmnt/etc/default/kdump-tools"
[ "$USE_KDUMP" != 0 ] || exit 0
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

options=
set -- $MAKEDUMP_ARGS
while [ $# -gt 0 ]; do
    case $1 in
        -c | -l | -p | -z) options="$options $1" ;;
        -d) options="$options -d ${2%%,*}" ;;
    esac
    shift
done

# Only the root file system is mounted so far.
while read -r device place _; do
    case $device in
        \#*) continue ;;
    esac
    case $KDUMP_COREDIR/ in
        "$place"/*) exit 0 ;;
    esac
done < "$rootmnt/etc/fstab"

# vmsieve runs from the root file system: in the initramfs it would occupy memory permanently.
# On failure, the boot continues, and kdump-tools saves the dump.
mount -o remount,rw "$rootmnt" || exit 0
mkdir -p "$rootmnt$KDUMP_COREDIR"
for name in dev proc sys; do
    mount -o bind "/$name" "$rootmnt/$name"
done
chroot "$rootmnt" @PROGRAM@ capture $options --stamp "$KDUMP_COREDIR"
status=$?
sync
for name in dev proc sys; do
    umount "$rootmnt/$name"
done
mount -o remount,ro "$rootmnt"
case $status in
    0 | 3 | 4) reboot -f ;;
esac
exit 0
