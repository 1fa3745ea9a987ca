"""The parts that every Enginehouse server in Python shares."""

import os

# gRPC reads it as it is imported. Its fork handlers abort one child in some dozens between fork and exec, while other
# threads are calling into gRPC, as they always are in a server that is busy.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
