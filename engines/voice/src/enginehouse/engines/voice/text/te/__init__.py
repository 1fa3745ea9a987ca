"""Telugu text normalization: numbers, dates, amounts, case endings."""
