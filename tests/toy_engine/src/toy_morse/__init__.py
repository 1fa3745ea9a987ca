"""An engine that turns text into Morse code."""
