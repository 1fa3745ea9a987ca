"""Model runtimes, each behind the interface in `base`; a runtime's libraries are imported by its own module only."""
