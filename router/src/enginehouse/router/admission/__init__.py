"""Admit a request: identify, limit, decide, reserve, grant."""
