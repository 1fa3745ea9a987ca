"""Text: chat, completions, embeddings."""
