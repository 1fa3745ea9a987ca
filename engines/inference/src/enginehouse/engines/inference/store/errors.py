"""The error of the store."""


class StoreError(Exception):
    """A model that cannot be fetched, read or added; the message has the fault and the fix, and never a secret."""
