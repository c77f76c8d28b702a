"""Models that another server answers for. Imports no torch, transformers, gradio or fastapi."""

from playground.remote.engine import Limits, RemoteEngine

__all__ = ["Limits", "RemoteEngine"]
