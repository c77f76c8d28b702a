"""Models that another server answers for. Imports no torch, transformers, gradio or fastapi."""

from playground.remote.engine import RemoteEngine
from playground.remote.limits import Limits

__all__ = ["Limits", "RemoteEngine"]
