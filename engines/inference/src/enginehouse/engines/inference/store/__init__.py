"""The store of models on this machine: pulling them from the hub, and adding them to the user's catalog.

It is behind `enginehouse models pull|add`. It loads no model and knows no engine, only files.
"""

from enginehouse.engines.inference.store._add import NewModel, PlannedModel, add_model, plan_model
from enginehouse.engines.inference.store._pull import Pulled, pull, source_to_pull
from enginehouse.engines.inference.store._transfer import PullProgress
from enginehouse.engines.inference.store.errors import StoreError

__all__ = [
    "NewModel",
    "PlannedModel",
    "PullProgress",
    "Pulled",
    "StoreError",
    "add_model",
    "plan_model",
    "pull",
    "source_to_pull",
]
