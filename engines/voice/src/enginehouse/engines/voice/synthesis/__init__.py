"""Speech synthesis of whole texts, and of text while it is written."""
