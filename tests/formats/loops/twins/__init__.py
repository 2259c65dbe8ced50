"""Slow and obvious twins of the codecs, written from the formats' descriptions."""
