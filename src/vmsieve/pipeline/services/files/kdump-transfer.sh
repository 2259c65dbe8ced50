#!/bin/bash
# KDUMP_TRANSFER of SUSE's kdump-save, which runs it instead of its own procedure: vmsieve saves the log and the dump.
# Written by 'vmsieve install-kdump'; 'vmsieve install-kdump --undo' removes it.

. /etc/kdump.conf
read -r host < /etc/hostname.kdump
stamp=$(date +%Y-%m-%d-%H-%M)

options=(-d "$KDUMP_DUMPLEVEL")
case $KDUMP_DUMPFORMAT in
    compressed) options+=(-c) ;;
    lzo) options+=(-l) ;;
    snappy) options+=(-p) ;;
    *) options+=(-z) ;;
esac

umask 077
case $KDUMP_PROTO in
    file) folder=/kdump/mnt$KDUMP_SAVEDIR/$stamp ;;
    nfs | cifs) folder=/kdump/mnt/$host-$stamp ;;
    ssh)
        address=${KDUMP_SAVEDIR#*://}
        server=ssh://${address%%/*}
        folder=/${address#*/}/$host-$stamp
        ssh "$server" "umask 077; mkdir -p '$folder'" || exit 1
        vmsieve dmesg /proc/vmcore | ssh "$server" "umask 077; cat > '$folder/dmesg.txt'"
        vmsieve capture "${options[@]}" - | ssh "$server" "umask 077; cat > '$folder/vmcore.flat'"
        status=("${PIPESTATUS[@]}")
        exit $((status[0] ? status[0] : status[1]))
        ;;
    *)
        echo "vmsieve can't save to KDUMP_SAVEDIR=$KDUMP_SAVEDIR" >&2
        exit 1
        ;;
esac
mkdir -p "$folder" && vmsieve capture "${options[@]}" "$folder"
