"""The models on this machine: how they come, and how the user's catalog learns of them.

Behind `enginehouse models pull|add`. It loads no model and knows no engine: it deals in files.
"""

from enginehouse.engines.inference.store._add import NewModel, add_model
from enginehouse.engines.inference.store._pull import Pulled, pull, source_to_pull
from enginehouse.engines.inference.store._transfer import PullProgress
from enginehouse.engines.inference.store.errors import StoreError

__all__ = [
    "NewModel",
    "PullProgress",
    "Pulled",
    "StoreError",
    "add_model",
    "pull",
    "source_to_pull",
]
