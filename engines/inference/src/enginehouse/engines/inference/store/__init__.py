"""The models on this machine: which are here, how others come, and how the user's catalog learns of them.

Behind `enginehouse models list|pull|add`. It loads no model and knows no engine: it deals in files.
"""

from enginehouse.engines.inference.store._add import NewModel, add_model
from enginehouse.engines.inference.store._listing import State, StoredModel, list_models
from enginehouse.engines.inference.store._pull import Pulled, pull, source_to_pull
from enginehouse.engines.inference.store._transfer import Progress
from enginehouse.engines.inference.store.errors import StoreError

__all__ = [
    "NewModel",
    "Progress",
    "Pulled",
    "State",
    "StoreError",
    "StoredModel",
    "add_model",
    "list_models",
    "pull",
    "source_to_pull",
]
