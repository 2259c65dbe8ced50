#!/bin/bash
# dracut module: vmsieve in initramfs images that are made for kdump.
# Written by 'vmsieve install-kdump'; 'vmsieve install-kdump --undo' removes it.

vmsieve=(@PROGRAM@)

check() {
    # kdump-utils says so in its environment, SUSE's kdump by the module that it adds.
    if [[ $IN_KDUMP != 1 && " $add_dracutmodules $force_add_dracutmodules " != *" kdump "* ]]; then
        return 255
    fi
    # Without it kdump's own collector is used, which a message tells; an image without any would be worse.
    type -P "${vmsieve[0]}" > /dev/null && return 0
    derror "vmsieve is not where it was: ${vmsieve[0]}; run 'vmsieve install-kdump' again"
    return 1
}

depends() {
    return 0
}

# A mistake in kdump.conf is told now; after a crash it would cost the dump.
vmsieve_check_collector() {
    local line options
    line=$(sed -n 's/#.*//; s/^[[:space:]]*core_collector[[:space:]][[:space:]]*//p' /etc/kdump.conf 2> /dev/null | tail -n 1)
    line=${line#\"}
    line=${line%\"}
    read -r -a options <<< "$line"
    [[ ${options[0]##*/} == vmsieve-makedumpfile ]] || return 0
    "${vmsieve[@]}" makedumpfile --check-params "${options[@]:1}" vmcore dumpfile >&2
}

install() {
    local from to
    if ! vmsieve_check_collector; then
        dfatal "vmsieve does not accept the options that core_collector in /etc/kdump.conf gives it"
        exit 1
    fi
    if ! "${vmsieve[@]}" image --output "$initdir" >&2; then
        dfatal "vmsieve can't be put into this image"
        exit 1
    fi
}
