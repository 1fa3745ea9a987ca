"""The asyncio client. `clients/python/unasync.py` makes the synchronous one from it, except for the modules that stream
in both directions.
"""
