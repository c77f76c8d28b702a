"""What clients reach besides the page: `build_api` makes the routes over the service, `Door` stands before page and
API, `KeySignIn` and `HubSignIn` are the ways to sign in, `Origins` says which requests come from elsewhere,
`SecurityHeaders` what an answer may do in a browser."""

from playground.api.application import build_api
from playground.api.door import Door
from playground.api.guard import SecurityHeaders
from playground.api.hub_sign_in import HubSignIn
from playground.api.origins import Origins
from playground.api.sign_in import KeySignIn

__all__ = ["Door", "HubSignIn", "KeySignIn", "Origins", "SecurityHeaders", "build_api"]
