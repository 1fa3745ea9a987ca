"""The contract of the Morse engine, with its stubs and its descriptor set."""
