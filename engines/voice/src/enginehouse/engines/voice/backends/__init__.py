"""Runtimes for speech synthesis and recognition, behind the interfaces of `base`."""
