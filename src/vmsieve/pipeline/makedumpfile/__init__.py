"""The makedumpfile command line: the same options, messages and exit statuses, for scripts that call makedumpfile.

Here: reading the command line and printing what makedumpfile prints. Not here: the work itself (``pipeline.dump``).
It runs in the crash kernel: argparse is not loaded, and modules that a request does not need are not either.
"""
