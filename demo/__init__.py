"""The embedded demo: the generator of its text, its training, its weights and its check."""
