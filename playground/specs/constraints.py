"""A constraint's sentence into rules that can be checked, or the reason why it cannot be.

Knows a handful of English shapes that begin with Never, Always or Only. It rather checks nothing than something that
the sentence does not say, and says which of the two it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from playground.specs.spec import Assertion, Constraint, Phrase, PhrasePlace

MAX_CONSTRAINT_CHARS = 500
MAX_PHRASE_WORDS = 4
"""An unquoted phrase of more words is a description, which no answer would repeat."""

_LEAD = r"(?:you )?(?:must )?"
_ANSWER = r"(?:(?:your|the|each|every|all|any) (?:answer|response|reply|message|output)s? )?"
_SHAPES: dict[PhrasePlace, str] = {
    "nowhere": r"never (?:share|mention|include|reveal|use|say|output|return|give|provide|show|disclose|expose)",
    "anywhere": r"always (?:include|use|contain)",
    "start": rf"always (?:start|begin) {_ANSWER}with",
    "end": rf"always end {_ANSWER}with",
}
_PHRASES: dict[PhrasePlace, re.Pattern[str]] = {
    place: re.compile(f"{_LEAD}{shape} (?P<what>.+)", re.IGNORECASE) for place, shape in _SHAPES.items()
}

_VERB = "(?:respond|reply|answer|return|output|use)"
_HOW = "(?:(?:in|with|as|only|just|a|an|one|single|valid|strict|raw|plain|well-formed) )*"
_JSON = re.compile(
    rf"{_LEAD}(?:(?:always|only) {_VERB} {_HOW}|{_VERB} {_HOW}only {_HOW})json(?P<rest>.*)", re.IGNORECASE
)
_NOTHING_MORE = re.compile(
    r"(?: (?:only|objects?|format|text|data))*"
    r"(?:,? (?:and )?(?:nothing else|no (?:other|extra|additional) text))?[.!]?",
    re.IGNORECASE,
)
_SHAPE_OF_JSON = re.compile(
    r"(?: (?:objects?|format))*(?: (?:with|containing|matching|that|using|following) | ?[:(]).+", re.IGNORECASE
)

# A straight quote mark within a word is an apostrophe.
_QUOTED = re.compile(r"""(?<!\w)'(.+?)'(?!\w)|‘(.+?)’(?!\w)|"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|`([^`]+)`""")
_NAMED = re.compile(r"the (?:exact )?(?:words?|phrases?|terms?|expressions?) (?=\S)", re.IGNORECASE)
_CONDITION = re.compile(
    r"\b(?:unless|except|if|when|whenever|until|while|without|but|than|instead|rather)\b", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:never|not|no|don't|don’t)\b", re.IGNORECASE)
_OR = re.compile(r", (?:or )?| or ", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;:] ")


@dataclass(frozen=True, slots=True)
class _Words:
    """The phrases of a sentence; `alternatives` where one of them is enough."""

    texts: tuple[str, ...]
    alternatives: bool


def read_constraint(text: str) -> Constraint:
    """A constraint with what can be checked of it."""
    sentence = " ".join(text.split())
    if len(sentence) > MAX_CONSTRAINT_CHARS:
        return _unenforced(text, f"it has more than {MAX_CONSTRAINT_CHARS} characters, which is more than one rule")
    if found := _JSON.fullmatch(sentence):
        return _json_constraint(text, found["rest"])
    for place, shape in _PHRASES.items():
        if found := shape.fullmatch(sentence):
            words = _quoted(found["what"]) or _unquoted(place, found["what"])
            return _phrase_constraint(text, place, words)
    return _unenforced(text, "it says nothing that can be looked up in an answer's text")


def _unenforced(text: str, why: str) -> Constraint:
    return Constraint(text, f"Not checked: {why}.")


def _json_constraint(text: str, rest: str) -> Constraint:
    rules = (Assertion("is-json"),)
    if _NOTHING_MORE.fullmatch(rest):
        return Constraint(text, "Checked: the whole answer must be JSON.", rules)
    if _SHAPE_OF_JSON.fullmatch(rest) and not _CONDITION.search(rest):
        return Constraint(
            text, "Checked: the whole answer must be JSON. What more is said of it is not checked.", rules
        )
    return _unenforced(text, "what follows “JSON” cannot be looked up in an answer's text")


def _phrase_constraint(text: str, place: PhrasePlace, words: _Words | str) -> Constraint:
    if isinstance(words, str):
        return _unenforced(text, words)
    if place in ("start", "end") and len(words.texts) > 1 and not words.alternatives:
        return _unenforced(text, "it asks for several phrases in one place")
    # None of the phrases may be there, though the sentence says “or”.
    if words.alternatives and place != "nowhere":
        rules = (Phrase(place, words.texts),)
    else:
        rules = tuple(Phrase(place, (one,)) for one in words.texts)
    return Constraint(text, f"Checked, letter case aside: {'; '.join(map(str, rules))}.", rules)


def _quoted(what: str) -> _Words | str | None:
    """The quoted phrases, or why they cannot be looked for; None where nothing is quoted."""
    texts = tuple(_bare("".join(filter(None, found.groups()))) for found in _QUOTED.finditer(what))
    if not texts:
        return None
    around = _QUOTED.sub("“”", what)
    if turn := _CONDITION.search(around) or _DENIAL.search(around):
        return f"no search for words can tell what “{turn[0]}” depends on"
    return _Words(texts, re.search(r"\bor\b", around, re.IGNORECASE) is not None)


def _unquoted(place: PhrasePlace, what: str) -> _Words | str:
    what = _NAMED.sub("", _bare(what), count=1)
    if len(what.split()) > MAX_PHRASE_WORDS or _SENTENCE_END.search(what):
        return f"“{what}” is no phrase that can be looked for; put the words to look for in quotes"
    if turn := _CONDITION.search(what):
        return f"no search for words can tell what “{turn[0]}” depends on"
    texts = tuple(filter(None, _OR.split(what)))
    if place != "nowhere" and any(text.casefold().startswith(("a ", "an ")) for text in texts):
        return f"“{what}” names a kind of thing; put the words to look for in quotes"
    return _Words(texts, alternatives=True)


def _bare(text: str) -> str:
    """Without white space and full stops at its ends, unless it is nothing else."""
    return text.strip().rstrip(".").strip() or text
