"""The live engines, their health, and the order in which to try them."""
