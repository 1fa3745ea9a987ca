"""`make bench`: every path measured in one run, so that only its ratios need to be believed."""
