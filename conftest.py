"""Settings of every run of the tests."""

from __future__ import annotations

import importlib.util
import os
import signal

# gRPC reads it as it is imported, and many tests import gRPC before the kit, which sets it for every server. With
# gRPC's fork handlers, a few in a hundred of the processes that tests start die before they run.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Whoever starts the tests in the background of a script has them ignore SIGINT, as would the programs that tests start
# and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The environment of vLLM's tests has no Hypothesis.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # A loaded machine is slow, and that is no fault of what is tested. Everything else is as Hypothesis sets it, which
    # is not the same in CI.
    settings.register_profile(
        "enginehouse", settings(), deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("enginehouse")
