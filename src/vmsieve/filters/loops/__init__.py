"""Kernels that read struct pages."""
