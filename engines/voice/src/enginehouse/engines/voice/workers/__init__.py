"""Child processes for work that is unsafe in the engine's own process: C libraries with global state, untrusted files.

A pool starts `python -m MODULE` children, which call `serve`, and lends each to one caller at a time. Frames go over
the pipes: a kind, which the caller and the child agree on, and bytes.

```
pool = WorkerPool(module="enginehouse.engines.voice.audio.decoding._child", size=2, name="decoder")
await pool.start()
async with pool.worker() as worker:
    async for kind, payload in worker.ask(JOB, data):
        ...
await pool.close()
```
"""

from __future__ import annotations

from enginehouse.engines.voice.workers._errors import WorkerDied, WorkerError
from enginehouse.engines.voice.workers._frames import DONE, FIRST_RESERVED, MAX_FRAME_BYTES
from enginehouse.engines.voice.workers._pool import WorkerPool
from enginehouse.engines.voice.workers._serve import serve
from enginehouse.engines.voice.workers._worker import Worker

__all__ = [
    "DONE",
    "FIRST_RESERVED",
    "MAX_FRAME_BYTES",
    "Worker",
    "WorkerDied",
    "WorkerError",
    "WorkerPool",
    "serve",
]
