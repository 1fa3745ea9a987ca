"""The command `enginehouse`."""
