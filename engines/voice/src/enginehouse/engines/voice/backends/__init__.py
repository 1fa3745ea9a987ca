"""Runtimes that speak and listen, behind the interfaces of `base`."""
