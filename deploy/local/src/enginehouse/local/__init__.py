"""The whole mesh on one machine, as supervised processes.

This package starts programs and watches them. It knows their addresses and their configuration, and nothing of what
they do inside. The command line is `enginehouse.cli`.
"""
