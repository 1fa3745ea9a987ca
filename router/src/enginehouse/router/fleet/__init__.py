"""Which engines live, how healthy they are, and in which order to try them."""
