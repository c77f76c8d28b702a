"""The small notation of the demo's wording: `(a|b|)` is a choice, `{name}` a slot.

Knows how to draw a sentence and how to put it on like a person would type it; refuses to know any sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

Filler = Callable[[str], str]
_TOKEN = re.compile(r"[()|]|\{\w+\}s?|[^()|{]+")
_BEFORE_MARK = re.compile(r" ([,.?!])")
_ARTICLE = re.compile(r"\b(a|an) (?=(\w))")
_ASKING = re.compile(
    r"(what|where|when|how|can|could|do|does|did|is|are|was|may|will|would|which|who|why|has|have you|should"
    r"|am i|shall|any|at what|until when|in which|to what|by when)\b",
    re.IGNORECASE,
)
_CONTRACTIONS = (
    ("I am", "I'm"),
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("cannot", "can't"),
    ("what is", "what's"),
    ("where is", "where's"),
    ("has not", "hasn't"),
    ("is not", "isn't"),
    ("I have been", "I've been"),
    ("I would", "I'd"),
    ("will not", "won't"),
)
_WE = (("I am", "we are"), ("I'm", "we're"), ("I", "we"), ("my", "our"), ("me", "us"), ("mine", "ours"))
_CHAT_SPELLING = (
    ("please", "pls"),
    ("you", "u"),
    ("your", "ur"),
    ("thanks", "thx"),
    ("because", "cuz"),
    ("are", "r"),
)


class Choice(NamedTuple):
    """Several sequences of which one is drawn."""

    branches: tuple[tuple[Node, ...], ...]


class Slot(NamedTuple):
    """A place for a word from outside; `plural` asks for its plural."""

    name: str
    plural: bool


Node = str | Choice | Slot


@cache
def parse(template: str) -> tuple[Node, ...]:
    """The template as texts, slots and choices in order. Raises ValueError where brackets do not match."""
    tokens = _TOKEN.findall(template)
    if "".join(tokens) != template or template.count("(") != template.count(")"):
        raise ValueError(f"template: {template!r} has brackets that do not match")
    branches, rest = _branches(tokens)
    if rest or len(branches) != 1:
        raise ValueError(f"template: {template!r} has a choice outside of brackets")
    return branches[0]


def _branches(tokens: list[str]) -> tuple[tuple[tuple[Node, ...], ...], list[str]]:
    branches: list[tuple[Node, ...]] = []
    current: list[Node] = []
    while tokens and tokens[0] != ")":
        token, tokens = tokens[0], tokens[1:]
        if token == "(":
            inner, tokens = _branches(tokens)
            tokens = tokens[1:]
            current.append(Choice(inner))
        elif token == "|":
            branches.append(tuple(current))
            current = []
        elif token.startswith("{"):
            current.append(Slot(token.rstrip("s").strip("{}"), token.endswith("s")))
        else:
            current.append(token)
    branches.append(tuple(current))
    return tuple(branches), tokens


def draw(template: str, rng: random.Random, fill: Filler) -> str:
    """One sentence of the template, slots filled by `fill`, spacing and a/an put right."""
    text = " ".join("".join(_drawn(parse(template), rng, fill)).split())
    text = _BEFORE_MARK.sub(r"\1", text)
    return _ARTICLE.sub(lambda m: _article(m.group(1), m.group(2)), text)


def _drawn(nodes: tuple[Node, ...], rng: random.Random, fill: Filler) -> list[str]:
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, Slot):
            word = fill(node.name)
            parts.append(plural(word) if node.plural else word)
        else:
            parts.extend(_drawn(rng.choice(node.branches), rng, fill))
    return parts


def _article(article: str, letter: str) -> str:
    if article == "a" and letter in "aeioAEIO":
        return "an "
    return "a " if article == "an" and letter.isalpha() and letter.lower() not in "aeiouhx" else f"{article} "


def plural(word: str) -> str:
    """An English plural, good enough for the words of this shop."""
    word = word.removeprefix("pair of ")
    if word.endswith(("shelf", "knife")):
        return word.replace("shelf", "shelves").replace("knife", "knives")
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("gloves", "boots", "headphones")):
        return word
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def sentence(text: str) -> str:
    """The text with a capital letter and a closing mark."""
    if not text or not text[0].isalpha():
        return text
    mark = "" if text[-1] in ".?!" else "?" if _ASKING.match(text) else "."
    return text[0].upper() + text[1:] + mark


def typed(text: str, rng: random.Random) -> str:
    """The text as a person in a hurry may type it: contracted, in lower case, unpunctuated, with a slip."""
    for long, short in _CONTRACTIONS:
        if long in text and rng.random() < 0.35:
            text = text.replace(long, short)
    if rng.random() < 0.05:
        text = _replaced(text, _WE)
    kind = rng.random()
    if kind < 0.45:
        text = sentence(text)
    elif kind < 0.9:
        text = text.lower() if rng.random() < 0.7 else text
        text += rng.choice(("", "", "", "?", "!", ".", "??", " ?", "..."))
    elif kind < 0.96:
        text = _replaced(text.lower(), _CHAT_SPELLING)
    else:
        text = text.upper() + rng.choice(("", "!", "!!", "?"))
    if rng.random() < 0.08:
        text = text.replace("'", "")
    return _slip(text, rng) if rng.random() < 0.16 else text


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for one, other in pairs:
        text = re.sub(rf"\b{one}\b", other, text)
    return text


def _slip(text: str, rng: random.Random) -> str:
    places = [m.start() for m in re.finditer(r"(?<=[a-z])[a-z](?=[a-z])", text)]
    if not places:
        return text
    at = rng.choice(places)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
