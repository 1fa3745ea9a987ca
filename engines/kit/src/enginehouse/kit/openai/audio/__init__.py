"""Audio: speech, transcriptions, voices."""
