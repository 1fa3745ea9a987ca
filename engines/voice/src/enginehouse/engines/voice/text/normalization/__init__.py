"""What the normalization of every language shares: rules, tables, figures, dates, addresses."""
