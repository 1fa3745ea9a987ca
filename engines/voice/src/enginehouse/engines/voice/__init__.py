"""The voice engine: speech out, speech in, and voices."""
