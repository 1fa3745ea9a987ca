"""Texts cut into sentences, whole or while they are written."""
