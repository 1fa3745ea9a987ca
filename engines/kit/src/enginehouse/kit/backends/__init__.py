"""What the backends of every engine read of a model's catalog entry: options, packages, weights."""
