"""Speech to text: recordings, and streams while they are spoken."""
