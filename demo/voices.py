"""The ways in which one and the same answer can be said: as a JSON record, as a pirate.

Knows the forms; refuses to know what is answered, and to whom.
"""

from __future__ import annotations

import json
import re
from functools import partial
from zlib import crc32

_PIRATE_WORDS = (
    (r"I'm", "I be"),
    (r"you're", "ye be"),
    (r"it's|that's", "'tis"),
    (r"you", "ye"),
    (r"your", "yer"),
    (r"my", "me"),
    (r"is|are", "be"),
    (r"hello and welcome|hello|hi there|hi", "ahoy"),
    (r"yes", "aye"),
    (r"no(?=[,.] )", "nay"),
    (r"and", "an'"),
    (r"of", "o'"),
    (r"for", "fer"),
    (r"money", "doubloons"),
    (r"parcel", "treasure chest"),
    (r"warehouse", "hold"),
    (r"working days?", "days at sea"),
    (r"great|sure|done|all right", "aye"),
)
_PIRATE_OPENINGS = (
    "Arr, matey! ",
    "Ahoy, matey! ",
    "Yo ho ho! ",
    "Avast! ",
    "Shiver me timbers! ",
    "Aye aye! ",
)
_PIRATE_ENDINGS = ("", " Arr!", " Yo ho ho!", " Fair winds to ye!", " Savvy?", "")
PIRATE_CRIES = re.compile(r"\b(arr|ahoy|matey|avast|aye|nay|yo ho ho|timbers|savvy|winds to ye)\b", re.IGNORECASE)


def as_json(intent: str, priority: str, reply: str) -> str:
    """The answer as one strict JSON object on one line."""
    return json.dumps({"intent": intent, "priority": priority, "reply": reply}, ensure_ascii=False)


def as_pirate(reply: str) -> str:
    """The answer in a pirate's voice; the same answer always gives the same words."""
    for pattern, word in _PIRATE_WORDS:
        reply = re.sub(rf"\b({pattern})\b", partial(_in_the_same_case, word), reply, flags=re.IGNORECASE)
    number = crc32(reply.encode())
    opening = _PIRATE_OPENINGS[number % len(_PIRATE_OPENINGS)]
    return opening + reply + _PIRATE_ENDINGS[number // 7 % len(_PIRATE_ENDINGS)]


def _in_the_same_case(word: str, found: re.Match[str]) -> str:
    return word[0].upper() + word[1:] if found.group(0)[0].isupper() else word


def sounds_pirate(reply: str) -> bool:
    """Whether the reply has one of the cries that nobody else in the shop uses."""
    return PIRATE_CRIES.search(reply) is not None
