"""On-disk structures and constants, no logic: each file names the header that defines them."""
