"""Architectures, one file each; the module's name is the registered name."""
