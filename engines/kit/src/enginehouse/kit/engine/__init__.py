"""An engine as data, and the one way to start it.

An engine's package says what it is by an `EngineSpec`, and names that in its `pyproject.toml`:

```
[project.entry-points."enginehouse.engines"]
voice = "enginehouse.engines.voice.spec:SPEC"
```

Its `__main__` is `sys.exit(run_engine(SPEC))`. Importing a spec loads no runtime, so that the command line and the
local mesh can list engines cheaply.
"""

from __future__ import annotations

from enginehouse.kit.engine._run import run_engine
from enginehouse.kit.engine._section import EngineSection
from enginehouse.kit.engine._spec import ENTRY_POINT_GROUP, EngineSpec, installed_engines

__all__ = [
    "ENTRY_POINT_GROUP",
    "EngineSection",
    "EngineSpec",
    "installed_engines",
    "run_engine",
]
