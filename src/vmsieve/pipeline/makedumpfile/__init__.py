"""makedumpfile's command line: the same words, messages and exit status, for scripts that call it.

It runs in the crash kernel, so nothing here loads argparse, and what a request does not need is not loaded either.
"""
