"""The page. `build_page` makes it over the service; `launch_settings` says how it must be launched."""

from playground.ui.page import build_page, launch_settings

__all__ = ["build_page", "launch_settings"]
