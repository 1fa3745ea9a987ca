"""The synchronous client. Most of its modules are generated from `_async`; their first lines say so."""
