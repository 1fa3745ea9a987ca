"""Trains the small story model that ships inside the inference engine."""
