"""A constraint's sentence into rules that can be checked, or the reason why it cannot be.

Knows a handful of English shapes that begin with Never, Always or Only, and tells the words to look for from what
only describes them: words in quotes, names, and a few small words that are said. It rather checks nothing than
something that the sentence does not say, and says which of the two it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from playground.specs.spec import Assertion, Constraint, Phrase, PhrasePlace

MAX_CONSTRAINT_CHARS = 500
MAX_NAME_WORDS = 3

_LEAD = r"(?:you )?(?:must )?"
_ANSWER = r"(?:(?:your|the|each|every|all|any) (?:answer|response|reply|message|output)s? )?"
_SHAPES: dict[PhrasePlace, str] = {
    "nowhere": "never (?P<verb>share|mention|include|reveal|use|say|output|return|give|provide|show|disclose|expose)",
    "anywhere": "always (?P<verb>include|use|contain|mention|say)",
    "start": rf"always (?P<verb>start|begin) {_ANSWER}with",
    "end": rf"always (?P<verb>end) {_ANSWER}with",
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
_MARK = "“”"
"""What stands in the place of a quoted phrase while the words around it are read."""
_NAMED = re.compile(r"(?:the )?(?:exact )?(?:words?|phrases?|terms?|expressions?|texts?) (?=“”)", re.IGNORECASE)
_ONE_WORD = re.compile(r"the word (?P<word>\w+)", re.IGNORECASE)
_IN_ANSWER = re.compile(
    r" in (?:your|the|an|any|each|every|all) (?:answer|response|reply|message|output)s?", re.IGNORECASE
)
_SMALL_WORDS = frozenset(("yes", "no", "sorry", "please", "thanks", "hello", "hi", "goodbye", "bye"))
_CONDITION = re.compile(
    r"\b(?:unless|except|if|when|whenever|until|while|without|but|than|instead|rather)\b", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:never|not|no|don't|don’t)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;:] ")
_JOINED = re.compile(r",? (and|or) |(,) ", re.IGNORECASE)


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
            return _phrase_constraint(text, place, _words(found["verb"], found["what"]))
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
    return Constraint(text, f"Checked, by whole words, letter case aside: {'; '.join(map(str, rules))}.", rules)


def _words(verb: str, what: str) -> _Words | str:
    """The phrases that are to be looked for, or why they cannot be."""
    quoted = iter([_bare("".join(filter(None, found.groups()))) for found in _QUOTED.finditer(what)])
    around = _IN_ANSWER.sub("", _QUOTED.sub(_MARK, what).rstrip(".!"))
    if turn := _CONDITION.search(around) or (_MARK in around and _DENIAL.search(around)):
        return f"no search for words can tell what “{turn[0]}” depends on"
    items = [_NAMED.sub("", item) for item in _JOINED.split(around)[::3]]
    joints = {(word or comma).casefold() for word, comma in _JOINED.findall(around)}
    texts = [next(quoted, "") if item == _MARK else _literal(verb, item) for item in items]
    if not all(text.strip() for text in texts) or ("and" in joints and set(items) != {_MARK}):
        return f"“{_bare(what)}” may describe what is meant; put the words to look for in quotes, and no others"
    if {"and", "or"} <= joints:
        return "it has both “and” and “or”"
    return _Words(tuple(texts), alternatives="or" in joints)


def _literal(verb: str, item: str) -> str:
    """The words to look for that stand without quotes, empty where they may describe something instead."""
    if verb in ("use", "say") and (named := _ONE_WORD.fullmatch(item)):
        return named["word"]
    if verb == "say" and item.casefold() in _SMALL_WORDS:
        return item
    words = item.split()
    is_short = len(words) <= MAX_NAME_WORDS and not _SENTENCE_END.search(item)
    # Where each word has a capital, capitals tell no name.
    is_name = is_short and verb.islower() and not any(word[0].islower() for word in words)
    return item if is_name and verb in ("mention", "say", "start", "begin", "end") else ""


def _bare(text: str) -> str:
    """Without white space and full stops at its ends, unless it is nothing else."""
    return text.strip().rstrip(".").strip() or text
