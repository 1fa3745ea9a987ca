"""Model runtimes, each behind the interface in `base`; only a runtime's own package imports its libraries."""
