"""Bases in memory: loaded once, held by whoever answers, let go under a budget."""

from playground.registry.registry import Registry
from playground.registry.slot import Lease, Usage, key_of

__all__ = ["Lease", "Registry", "Usage", "key_of"]
