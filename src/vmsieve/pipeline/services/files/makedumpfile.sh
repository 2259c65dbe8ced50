#!/bin/sh
# Runs vmsieve as kdump's makedumpfile. Written by 'vmsieve install-kdump'; 'vmsieve install-kdump --undo' removes it.

# If vmsieve can't start (its interpreter was replaced, for example), the original makedumpfile makes the dump.
@PROGRAM@ -v > /dev/null 2>&1 || exec @FALLBACK@ "$@"
exec @PROGRAM@ "$@"
