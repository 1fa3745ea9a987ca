"""The ledger's protocol as a small model, searched exhaustively: every order of its steps, with every crash, delay,
duplicate and loss at each of them.

What is pure in the ledger is not modelled but called: the book, the arithmetic of draws and of settlements, and what
the sweep decides. What is modelled is what lies between: transactions that commit and whose outcome is late or lost,
messages on their way, processes that die, clocks that go on. `mutations.py` breaks one rule of the protocol at a time,
and the search must find each.

    python -m router.verification            # the full bounds
    python -m router.verification --mutations
"""
