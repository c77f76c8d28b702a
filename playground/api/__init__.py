"""What clients reach besides the page: `build_api` makes the routes over the service, `Door` stands before page and
API, `Origins` says which requests come from elsewhere, `SecurityHeaders` what an answer may do in a browser."""

from playground.api.application import build_api
from playground.api.door import Door
from playground.api.guard import SecurityHeaders
from playground.api.origins import Origins
from playground.api.sign_in import SignIn

__all__ = ["Door", "Origins", "SecurityHeaders", "SignIn", "build_api"]
