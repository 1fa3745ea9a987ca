"""The store's one error."""


class StoreError(Exception):
    """A model that cannot be fetched, read or added; the message says why and what to do. Never holds a secret."""
