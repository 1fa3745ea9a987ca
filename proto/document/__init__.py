"""The OpenAPI document and the reference page, made from the contracts' descriptors and their comments."""
