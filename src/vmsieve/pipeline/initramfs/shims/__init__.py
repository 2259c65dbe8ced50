"""What an image has in the place of larger modules of the standard library."""
