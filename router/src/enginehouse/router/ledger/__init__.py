"""The ledger: what is billed to a budget never exceeds it, at any concurrency, through any crash.

Money is signed 64-bit integer nano-dollars. Prices are integers per million units; a cost rounds up once.

Who holds what:

- PostgreSQL: each budget's window with `limit`, `settled` and `leased` under `CHECK (settled + leased <= limit)`; the
  leases; the usage, once for each grant and engine; the journal of reservations. It loses nothing.
- A router replica: its leases and reservations in memory (`Book`), journalled off the decision path once they have been
  open for 0.2 s (`LedgerTerms.journal_age_s`); most of what is open for less is written once, as settled. When it dies,
  at most that much *knowledge* is lost, never money: what it held stays counted in `leased`.
- An engine: the grants in flight, and the usage that is not acknowledged yet, spooled to disk.

The steps, and where each is written:

1. Draw (`_store.draw`, sized by `_sizing`): one conditional update moves money from what is free in the window to this
   replica's lease. Its size follows the recent rate of the budget, is never more than a share of what remains, and
   shrinks to single requests near the limit. A lease lives as long as its replica's registration, one row that is
   renewed every second, so a million leases cost no more renewals than one. Refill starts before it runs dry; what
   lies idle goes back.
2. Reserve (`_book`): the upper bound of a request leaves every lease in scope at once, or none. In memory, no await.
   Not enough: draw; still not: ask the other replicas for what they hold idle, wait a moment and draw again; then
   refuse with BUDGET_EXHAUSTED and the scope.
   A request that turns out to need more is extended in flight (`Ledger.extend`): the difference leaves every lease in
   scope at once, or none, and is written down before the engine hears of it.
3. Grant (`enginehouse.router.admission.admission`): the reservation's id, leases, model, unit prices, cap and times,
   signed.
4. Cap: the engine's part, in the kit.
5. Report (`_report_parser`, `enginehouse.router.api.usage`): engines report to any replica, until
   acknowledged, which is after commit.
6. Settle (`_settlement`, its arithmetic in `_billing`, its statements in `_settlement_rows`): in one transaction,
   `settled += cost` and `leased -= cost` of the window, the lease's `remaining -= cost`, the journal's row closes, the
   usage is inserted. Many reports share a transaction (`_settle_queue`). A second report of a grant by an engine
   changes nothing. All engines' reports of one grant together are clamped to its cap; what is over is recorded as ours
   and billed to nobody. The holder then drops the reservation; another replica's settlement reaches it by
   notification, and in any case within a second, when it compares.
7. Lapse (`_sweep`): an open reservation settles at zero once every engine that could have taken the grant has passed
   it with its watermark, and at its cap, marked `assumed`, when it is past its expiry and grace and an engine is
   unaccounted for. A late report replaces the assumption: a correction row takes it back, and the truth is inserted.
   So do the watermarks, once every engine has passed it after all: then nobody ran it.
8. A replica dies (`_sweep`): its registration runs out (or its process is seen to be gone by a router on the same
   host), and what is left of its leases is released once no engine can hold or report a grant drawn on them. An engine
   lost with its disk blocks that until the operator declares it forgotten. Held, not spent: the safe side.
9. Windows: an account is a budget in one window; a lease and its reservations stay with the window that they began in.
10. PostgreSQL down: a replica goes on from what it has leased until its registration runs out, then refuses with
    LEDGER_UNAVAILABLE. Nothing is allowed on credit.

`router/verification` searches a model of these steps, with these modules' pure parts, for any state that must not be.

Usage is unique by grant and engine rather than by request id, attempt and engine: callers choose request ids, and one
that repeats an id must not be served for nothing.
"""

from enginehouse.router.ledger._billing import Claim, Kind, Outcome, Verdict
from enginehouse.router.ledger._book import Account, Book, Payer, Reservation, Shortfall
from enginehouse.router.ledger._budget_index import BudgetIndex
from enginehouse.router.ledger._budgets import (
    BUDGETS_CHANNEL,
    Budget,
    BudgetState,
    BudgetStore,
    LimitTooLow,
    Period,
    Scope,
)
from enginehouse.router.ledger._ledger import Ledger
from enginehouse.router.ledger._report_parser import MAX_TIME_MS, Unsettleable, UsageReportParser
from enginehouse.router.ledger._settlement import SETTLED_CHANNEL
from enginehouse.router.ledger._store import RETURN_CHANNEL, LedgerStore, Watermark
from enginehouse.router.ledger._terms import InsufficientBudget, LedgerTerms, LedgerUnavailable

__all__ = [
    "BUDGETS_CHANNEL",
    "MAX_TIME_MS",
    "RETURN_CHANNEL",
    "SETTLED_CHANNEL",
    "Account",
    "Book",
    "Budget",
    "BudgetIndex",
    "BudgetState",
    "BudgetStore",
    "Claim",
    "InsufficientBudget",
    "Kind",
    "Ledger",
    "LedgerStore",
    "LedgerTerms",
    "LedgerUnavailable",
    "LimitTooLow",
    "Outcome",
    "Payer",
    "Period",
    "Reservation",
    "Scope",
    "Shortfall",
    "Unsettleable",
    "UsageReportParser",
    "Verdict",
    "Watermark",
]
