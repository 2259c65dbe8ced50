#!/bin/sh
# makedumpfile for kdump-tools: vmsieve's. Written by 'vmsieve install-kdump'; 'vmsieve install-kdump --undo' removes it.

# If vmsieve can't start (its interpreter was changed, say), the dump is made by what there was before.
@PROGRAM@ makedumpfile -v > /dev/null 2>&1 || exec /usr/bin/makedumpfile "$@"
exec @PROGRAM@ makedumpfile "$@"
