"""The torch backends' tests run where their runtimes are, in an environment of their own: `make test-torch`."""

from importlib import util

collect_ignore = [] if util.find_spec("TTS") and util.find_spec("whisper") else ["tests_torch"]
