"""`make bench`: measure every path in one run, so that ratios are comparable."""
