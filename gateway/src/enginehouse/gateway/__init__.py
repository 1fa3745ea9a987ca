"""Control plane: registry of live engines, snapshots, xDS for Envoy."""
