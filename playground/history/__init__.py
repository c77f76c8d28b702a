"""What is kept of what was asked: runs, votes and evaluations, in the store, by owner.

Knows the store and the shape of what is kept; refuses to know models, how answers are made, and how any of it is shown.
"""

from __future__ import annotations

from playground.history.evaluations import MIGRATION as EVALUATIONS
from playground.history.evaluations import Evaluations
from playground.history.runs import MIGRATION as RUNS
from playground.history.runs import Runs
from playground.history.votes import MIGRATION as VOTES
from playground.history.votes import Votes
from playground.store import Store

MIGRATIONS = (RUNS + EVALUATIONS + VOTES,)


class History:
    """The history in a store; `keeps_runs` False keeps no new runs. Raises `ConfigurationError` where the store's is
    newer than this program."""

    def __init__(self, store: Store, *, keeps_runs: bool = True) -> None:
        store.migrate("history", MIGRATIONS)
        self.runs = Runs(store, keeps_runs)
        self.evaluations = Evaluations(store)
        self.votes = Votes(store)
