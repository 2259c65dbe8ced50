#!/bin/sh
# makedumpfile as kdump calls it: vmsieve's. Written by 'vmsieve install-kdump'; 'vmsieve install-kdump --undo' removes it.

# If vmsieve can't start (its interpreter was changed, say), the dump is made by the one that was there before.
@PROGRAM@ -v > /dev/null 2>&1 || exec @FALLBACK@ "$@"
exec @PROGRAM@ "$@"
