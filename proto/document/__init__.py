"""Makes the OpenAPI document and the reference page from the contracts' descriptors and their comments."""
