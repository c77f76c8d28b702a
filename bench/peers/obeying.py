"""A worker's side of its pipe: orders come in on standard input, answers go out on standard output.

Imports nothing but Python's own: the worker of another program runs in that program's surroundings.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


def obey(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Carries out orders, `[verb, settings]` a line, until there are no more; each is answered by what was found, or
    by what went wrong."""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        verb, settings = json.loads(line)
        try:
            answer = {"found": verbs[verb](**settings)}
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked, and into the table
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
