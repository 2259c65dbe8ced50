#!/bin/sh
# initramfs-tools hook: vmsieve in the images that kdump-tools makes for its crash kernel.
# Written by 'vmsieve install-kdump --capture'; 'vmsieve install-kdump --undo' removes it.

case $1 in
    prereqs) exit 0 ;;
esac

# kdump-tools makes its images with a configuration of its own; others do without.
case $CONFDIR in
    /var/lib/kdump/*) ;;
    *) exit 0 ;;
esac

@PROGRAM@ image -f @IMAGE@ || exit 1
tar -C @IMAGE@ -cf - . | tar -C "$DESTDIR" -xf - --keep-directory-symlink
