"""Sentence segmentation of whole texts and of text streams."""
