#!/bin/bash
# dracut module: adds vmsieve to the initramfs of kdump if kdump is set up to use it. Of the distribution's package, or
# written by 'vmsieve install-kdump'.

vmsieve=(@PROGRAM@)
image=@IMAGE@

check() {
    # For kdump only: kdump-utils sets IN_KDUMP, SUSE's kdump adds the module kdump.
    if [[ $IN_KDUMP != 1 && " $dracutmodules $add_dracutmodules $force_add_dracutmodules " != *" kdump "* ]]; then
        return 255
    fi
    vmsieve_is_set_up || return 255
    type -P "${vmsieve[0]}" > /dev/null && return 0
    derror "vmsieve is not where it was: ${vmsieve[0]}; run 'vmsieve install-kdump --apply' again"
    return 1
}

depends() {
    return 0
}

# A package installs this module in all systems: 'install-kdump' also changes kdump.conf, on SUSE it adds a script here.
vmsieve_is_set_up() {
    local collector
    vmsieve_read_collector
    [[ ${collector[0]##*/} == vmsieve* || -e $moddir/makedumpfile || -e $moddir/vmsieve-kdump-transfer ]]
}

# Sets 'collector' to the words of core_collector in kdump.conf.
vmsieve_read_collector() {
    local key words
    collector=()
    while read -r key words; do
        words=${words%%#*}
        words=${words#\"}
        [[ $key == core_collector ]] && read -r -a collector <<< "${words%\"*}"
    done 2> /dev/null < /etc/kdump.conf
}

# After a crash, an error in core_collector would cost the dump.
vmsieve_check_collector() {
    vmsieve_read_collector
    [[ ${collector[0]##*/} == vmsieve-makedumpfile ]] || return 0
    "${vmsieve[@]}" makedumpfile --check-params "${collector[@]:1}" vmcore dumpfile >&2
}

# kdump-utils installs the host's program with the collector's name. It needs the host's Python, which the image lacks:
# remove it from all directories of PATH, so that the image's own program is found.
vmsieve_remove_others() {
    rm -f "$initdir"/{usr/local/,usr/,}{s,}bin/vmsieve{,-makedumpfile}
}

vmsieve_link_collector() {
    local path=${collector[0]} ours=/usr/bin/vmsieve-makedumpfile
    [[ $path == /*/vmsieve-makedumpfile && ! $initdir$path -ef $initdir$ours ]] || return 0
    mkdir -p "$initdir${path%/*}" && ln -sfn "$ours" "$initdir$path"
}

# SUSE's kdump-save calls makedumpfile by name. The original is kept as the fallback if vmsieve can't start.
vmsieve_as_makedumpfile() {
    local path
    for path in "$initdir"/{usr/,}{s,}bin/makedumpfile; do
        if [[ -f $path && ! -L $path && ! -e $initdir/usr/lib/vmsieve/makedumpfile ]]; then
            mv "$path" "$initdir/usr/lib/vmsieve/makedumpfile"
            cp "$moddir/makedumpfile" "$path"
        fi
    done
    [[ -e $initdir/usr/lib/vmsieve/makedumpfile ]]
}

install() {
    local from to files collector
    if ! vmsieve_check_collector; then
        dfatal "vmsieve does not accept the options that core_collector in /etc/kdump.conf gives it"
        exit 1
    fi
    if ! files=$("${vmsieve[@]}" image -f --format list "$image"); then
        dfatal "vmsieve can't make what has to be in this image"
        exit 1
    fi
    vmsieve_remove_others
    while read -r from to; do
        if ! inst "$from" "$to"; then
            dfatal "vmsieve can't be put into this image: $from is missing"
            exit 1
        fi
    done <<< "$files"
    vmsieve_link_collector
    [[ ! -e $initdir/kdump/kdump-save ]] && return 0
    if [[ -e $moddir/vmsieve-kdump-transfer ]]; then
        inst_script "$moddir/vmsieve-kdump-transfer" /usr/bin/vmsieve-kdump-transfer
    elif ! vmsieve_as_makedumpfile; then
        dfatal "vmsieve finds no makedumpfile to take the place of in this image"
        exit 1
    fi
}
