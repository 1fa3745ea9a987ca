"""Shared parts of text normalization: rules, tables, numbers, dates, addresses."""
