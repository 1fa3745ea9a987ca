"""Admission, model choice, budgets and the ledger."""
