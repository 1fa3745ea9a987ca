"""The vLLM backend's tests run where vLLM is installed, in an environment of their own: `make test-vllm`."""

from importlib import util

collect_ignore = [] if util.find_spec("vllm") else ["tests_vllm"]
