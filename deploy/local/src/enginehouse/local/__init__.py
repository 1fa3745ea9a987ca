"""The whole mesh on one machine, as supervised processes."""
