"""Training of the small story model that ships with the inference engine."""
