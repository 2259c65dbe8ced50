"""Exit statuses of commands. A separate module, because the first process of a capture loads as little as it can."""

EXIT_OK = 0  # done as asked
EXIT_FAILED = 1  # failed, nothing usable
EXIT_USAGE = 2  # the request makes no sense
EXIT_WEAKER = 3  # whole, but less was filtered than asked
EXIT_INCOMPLETE = 4  # usable, but not whole
