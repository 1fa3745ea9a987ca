"""The parts that every Enginehouse server in Python shares."""

import os

# gRPC reads it as it is imported. Its fork handlers abort one child in some dozens between fork and exec, while other
# threads are calling into gRPC, as they always are in a server that is busy. Our own children are started without any
# handler (`child_process`); this is for those that other libraries fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# gRPC reads it as it first starts. By default a thread pool of gRPC's own watches a server's connections and hands what
# comes to the thread that asyncio's loop is woken by; without the pool that thread watches them, which spares each call
# three switches of threads and a short one about a tenth of the engine's CPU time.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
