"""Telugu written out: numbers, dates, amounts, case endings."""
