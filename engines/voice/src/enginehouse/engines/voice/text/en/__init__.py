"""English written out: numbers, dates, amounts, abbreviations."""
