"""What clients reach besides the page. `routes` makes them over the service; `guarded` says what the page's
answers may do in a browser."""

from playground.api.guard import SecurityHeaders
from playground.api.health import routes

__all__ = ["SecurityHeaders", "routes"]
