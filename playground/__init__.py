"""Playground: ask a base model and its fine-tune the same thing, and see what the fine-tune changed."""
