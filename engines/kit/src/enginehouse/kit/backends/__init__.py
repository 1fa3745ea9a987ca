"""The parts of a model's catalog entry that backends of every engine read: options, packages, weights."""
