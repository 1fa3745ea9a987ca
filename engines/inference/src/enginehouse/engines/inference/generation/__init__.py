"""The output of one generation: its events, bounds, stop texts and tool calls, whatever runtime makes it."""
