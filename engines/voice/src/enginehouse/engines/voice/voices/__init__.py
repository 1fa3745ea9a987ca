"""The voices of models, and those that tenants made."""
