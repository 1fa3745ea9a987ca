"""Collect the tests of the torch backends only where their runtimes are installed: `make test-torch`."""

from importlib import util

collect_ignore = [] if util.find_spec("TTS") and util.find_spec("whisper") else ["tests_torch"]
