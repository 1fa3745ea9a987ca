"""The models' own voices, and the cloned voices of tenants."""
