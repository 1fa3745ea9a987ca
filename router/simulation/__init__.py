"""A thousand routers and a million keys: what a larger lease spares PostgreSQL, and what it refuses wrongly.

    python -m router.simulation            # prints the table and draws docs/ledger-simulation.svg

The sizes of leases come from the ledger's own functions. Keys are busy as words are frequent (Zipf), each request comes
to any router, and each budget is spent to its end. Keys that are about as busy are simulated by one of them.
"""
