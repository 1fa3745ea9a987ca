"""Child processes that do what may not happen in the engine's own: C libraries with global state, untrusted files.

A pool starts `python -m MODULE` children, which call `serve`, and lends them out one caller at a time. What goes over
the pipes are frames: a kind, which the caller and the child agree on, and bytes.

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
