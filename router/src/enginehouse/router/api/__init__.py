"""The router's doors: ext_authz over HTTP, the gRPC services, administration."""
