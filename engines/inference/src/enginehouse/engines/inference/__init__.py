"""The text engine: chat, completion and embeddings."""
