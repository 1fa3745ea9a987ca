"""The parts that every Enginehouse server in Python shares."""

import os

# gRPC reads it as it is imported. Its fork handlers abort one child in some dozens between fork and exec, while other
# threads are calling into gRPC, as they always are in a server that is busy. Our own children are started without any
# handler (`child_process`); this is for those that other libraries fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
