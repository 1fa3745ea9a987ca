"""English text normalization: numbers, dates, amounts, abbreviations."""
