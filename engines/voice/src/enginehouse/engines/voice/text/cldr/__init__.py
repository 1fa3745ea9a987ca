"""Text normalization of every language that CLDR knows, leaving the numbers to the voices."""
