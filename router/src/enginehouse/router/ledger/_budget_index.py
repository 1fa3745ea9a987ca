"""The live budgets in memory, by what they bound."""

from __future__ import annotations

from enginehouse.router.database import ChangeReader, Changes
from enginehouse.router.ledger._budgets import Budget, BudgetStore, Scope


class BudgetIndex:
    """Every live budget by what it bounds, so that a decision asks nobody; of the automatic ones, those put in."""

    def __init__(self, *, store: BudgetStore) -> None:
        self._store = store
        self._by_scope: dict[tuple[str, str], tuple[Budget, ...]] = {}
        self._by_id: dict[str, Budget] = {}
        self._changes = Changes()
        self._reader = ChangeReader(read=self.refresh, what="budget")
        self.version = 0
        """Rises whenever a budget comes, goes or changes."""

    def of(self, scope: str, scope_id: str) -> tuple[Budget, ...]:
        """The budgets that bound this tenant, key, user or run."""
        return self._by_scope.get((scope, scope_id), ())

    def __contains__(self, budget_id: str) -> bool:
        return budget_id in self._by_id

    async def reload(self) -> None:
        """Read every budget again."""
        found, changed = await self._changes.whole(self._read_all)
        kept = [self._by_id[budget_id] for budget_id in changed if budget_id in self._by_id]
        self.version += 1
        self._by_id = {}
        self._by_scope = {}
        for budget in [*(budget for budget in found if budget.budget_id not in changed), *kept]:
            self._add(budget)

    async def refresh_key(self, key_id: str) -> None:
        """Read a key's budgets again, or with an empty id every budget."""
        if not key_id:
            await self.reload()
            return
        found = await self._changes.latest_of(
            lambda budgets: {budget.budget_id for budget in budgets}, lambda: self._store.of(Scope.KEY, key_id)
        )
        for budget in found:
            self.put(budget.budget_id, budget)

    def changed(self, budget_id: str) -> None:
        """Note that a budget was set or deleted, and read it in the background."""
        self._changes.note(budget_id)
        self._reader.changed(budget_id)

    async def close(self) -> None:
        """Cancel the reads that are under way."""
        await self._reader.close()

    async def refresh(self, budget_id: str) -> None:
        """Read one budget again."""
        self.put(budget_id, await self._changes.latest(budget_id, lambda: self._store.get(budget_id)))

    def put(self, budget_id: str, budget: Budget | None) -> None:
        """Take a budget as it is now, or None if it is gone."""
        self._changes.note(budget_id)
        self.version += 1
        old = self._by_id.pop(budget_id, None)
        if old is not None:
            scope = (str(old.scope), old.scope_id)
            left = tuple(budget for budget in self._by_scope[scope] if budget.budget_id != budget_id)
            if left:
                self._by_scope[scope] = left
            else:
                del self._by_scope[scope]
        if budget is not None:
            self._add(budget)

    async def _read_all(self) -> list[Budget]:
        held = [budget.budget_id for budget in self._by_id.values() if budget.automatic]
        return await self._store.all_live(automatic=held)

    def _add(self, budget: Budget) -> None:
        scope = (str(budget.scope), budget.scope_id)
        self._by_id[budget.budget_id] = budget
        self._by_scope[scope] = (*self._by_scope.get(scope, ()), budget)
