"""Texts to speech: whole, or while they are written."""
