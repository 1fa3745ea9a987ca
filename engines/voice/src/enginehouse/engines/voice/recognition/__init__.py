"""Speech recognition of recordings and of live streams."""
