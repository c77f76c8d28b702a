"""What clients reach besides the page: `build_api` makes the routes over the service, `Door` stands before page and
API, `SecurityHeaders` says what an answer may do in a browser."""

from playground.api.application import build_api
from playground.api.door import Door
from playground.api.guard import SecurityHeaders
from playground.api.sign_in import SignIn

__all__ = ["Door", "SecurityHeaders", "SignIn", "build_api"]
