"""Conversations with the made-up shop Juniper Lane, drawn from the wording in `topics.py` and `talk.py`.

Knows intents, priorities and how turns follow each other; refuses to know tokens, tensors and models.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from demo import talk, words
from demo.grammar import draw, typed
from demo.topics import SHIPPING_PLACE, SHOP_TOPICS, Topic
from demo.voices import as_json, as_pirate

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}

HIGH_INTENTS = frozenset({"damaged", "wrong_item", "handover"})
NORMAL_INTENTS = frozenset({"order_status", "refund", "return", "cancel", "payment", "account", "address"})
LOW_INTENTS = frozenset(
    {"shipping", "product", "discount", "hours", "greeting", "thanks", "goodbye", "smalltalk", "other"}
)
INTENTS = tuple(sorted(HIGH_INTENTS | NORMAL_INTENTS | LOW_INTENTS))

# What only that intent's replies say, in prose and in the pirate's words: how an answer is read as an intent.
MARKERS: dict[str, re.Pattern[str]] = {
    intent: re.compile(pattern, re.IGNORECASE)
    for intent, pattern in {
        "order_status": r"\btracking\b",
        "shipping": r"\b(standard|our|express|international) shipping\b|\bshipping (is|be)\b",
        "refund": r"\brefund\b",
        "return": r"\breturn (your|yer|label|of|o')|\bevery return\b|\b(for|fer) a return\b",
        "cancel": r"\bcancel",
        "damaged": r"\breplacement\b",
        "wrong_item": r"\bpacking team\b",
        "payment": r"\b(the|a|every|offer|that) payment\b|\bpayment (method|once|is possible|be possible)\b",
        "product": r"\bproduct page\b",
        "discount": r"\bcode\b",
        "account": r"\bsign-in page\b",
        "address": r"\baddress\b|\bthe new place\b",
        "hours": r"\bMill Street\b",
        "handover": r"\bcolleagues?\b",
        "greeting": r"\bhelp (you|ye)( with)? today\b",
        "thanks": r"\b(you're|ye be) (very )?welcome[.!]|\b(my|me) pleasure\b|\bglad to help\b",
        "goodbye": r"\bgoodbye\b",
        "smalltalk": r"\bassistant (of|o') Juniper Lane\b|\bdoing well\b",
        "other": r"\b(only know|did not understand)\b",
    }.items()
}

_SLOTS: dict[str, tuple[str, ...]] = {
    name.lower(): value for name, value in vars(words).items() if name.isupper() and isinstance(value, tuple)
}
_PREAMBLES = (
    "I ordered a {item} {ago}",
    "I bought a {item} (from you|for my {person}|in your shop|at your shop|) {ago}",
    "(my name is|I'm|this is) {name}",
    "I (am a|have been a) (customer|regular customer|new customer) (of yours|)",
    "I have a (question|problem|request) about my (order|{item})",
    "it's about (my order|a {item}|my {item}|the {item} from {ago})",
    "(I was|we were) (away|on vacation|ill|at work) (for {span}|last week|on {day})",
    "(my {person}|a friend|a neighbor) (told me|said|thinks) (to write to you|to ask you|that you can help)",
    "(the|my) {item} (is|was) (for {occasion}|for my {person}|a gift for my {person}|{color}|from your shop)",
    "I (looked|searched) (on your site|everywhere|in my emails) (and found nothing|already|twice)",
    "(I live|we live) in {place}",
)
_NUMBER_MENTIONS = (
    "(my|the) order number is {order}",
    "(it's|this is|it is about|about) order {order}",
    "(order|order number|number|order no.|#) {order}",
)
_TALK_FIRST = (
    (talk.GREETING, 5),
    (talk.THANKS, 3),
    (talk.GOODBYE, 3),
    (talk.HOW_ARE_YOU, 3),
    (talk.WHO_ARE_YOU, 3),
    (talk.WHAT_CAN_YOU_DO, 3),
    (talk.CHITCHAT, 2),
    (talk.VAGUE, 1),
    (talk.BARE_NUMBER, 1),
    (talk.UNCLEAR, 4),
)
_TALK_LATER = (
    (talk.THANKS, 8),
    (talk.GOODBYE, 5),
    (talk.HOW_ARE_YOU, 1),
    (talk.WHO_ARE_YOU, 2),
    (talk.WHAT_CAN_YOU_DO, 1),
    (talk.CHITCHAT, 2),
    (talk.UNCLEAR, 2),
    (talk.GREETING, 1),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the customer wrote, how it is filed, and the answer in plain prose."""

    user: str
    intent: str
    priority: str
    reply: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order; `system` is empty where there is no system message."""

    system: str
    turns: tuple[Turn, ...]


def priority_of(intent: str, *, urgent: bool = False, calm: bool = False) -> str:
    """The rule: small talk is low; urgency lifts to high, calm lowers to low; else the intent decides."""
    if intent in ("greeting", "thanks", "goodbye", "smalltalk", "other"):
        return "low"
    if urgent:
        return "high"
    if calm:
        return "low"
    return "high" if intent in HIGH_INTENTS else "normal" if intent in NORMAL_INTENTS else "low"


def intents_in(reply: str) -> set[str]:
    """All intents whose marker the reply carries; an answer is on topic where this is just the right one."""
    return {intent for intent, marker in MARKERS.items() if marker.search(reply)}


class Writer:
    """Writes one conversation: remembers the order number and what it is about."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.order = ""
        self.thread: Topic | None = None

    def slot(self, name: str) -> str:
        """A word for a slot of the customer's text."""
        if name == "item":
            return self._new_item()
        if name == "order":
            self.order = self.order or str(self.rng.randrange(10_000, 100_000))
            return self.order
        return self._loose_slot(name)

    def _new_item(self) -> str:
        if self.rng.random() < 0.12:
            return self.rng.choice(words.NOUN)
        return self.rng.choice(words.ITEM)

    def _loose_slot(self, name: str) -> str:
        rng = self.rng
        if name == "number":
            return str(rng.randrange(1, rng.choice((10, 100, 1000))))
        if name == "price":
            return str(rng.randrange(5, 200))
        if name == "year":
            return str(rng.randrange(1200, 2030))
        if name == "gibberish":
            return "".join(rng.choice(words.SYLLABLE) for _ in range(rng.randrange(1, 5)))
        if name == "symbols":
            return "".join(rng.choice(words.SYMBOLS) for _ in range(rng.randrange(1, 9)))
        return rng.choice(_SLOTS[name])

    def say(self, lines: tuple[str, ...]) -> str:
        """One of the lines, as the customer's text."""
        return draw(self.rng.choice(lines), self.rng, self.slot)

    def answer(self, lines: tuple[str, ...]) -> str:
        """One of the lines, as the answer."""
        return draw(self.rng.choice(lines), self.rng, _no_slot)

    def about(self, topic: Topic, *, first: bool) -> Turn:
        """A turn that brings up a topic."""
        if topic not in SHOP_TOPICS:
            text = self.say(topic.asks)
            if topic is talk.BARE_NUMBER:
                self.thread = SHOP_TOPICS[0]
            elif first and topic is talk.OFF_TOPIC and self.rng.random() < 0.15:
                text = self.say(talk.OPENERS) + " " + text
            return self._turn(text, topic.intent, self.answer(topic.replies))
        self.thread = topic
        text, urgent, calm = self._dressed(self.say(topic.asks), topic, first=first)
        numbered = bool(self.order and topic.numbered)
        reply = self.answer(topic.numbered if numbered else topic.replies)
        return self._turn(text, topic.intent, reply, urgent=urgent, calm=calm)

    def _turn(self, text: str, intent: str, reply: str, *, urgent: bool = False, calm: bool = False) -> Turn:
        reply = reply[0].upper() + reply[1:]
        return Turn(typed(text, self.rng), intent, priority_of(intent, urgent=urgent, calm=calm), reply)

    def _dressed(self, text: str, topic: Topic, *, first: bool) -> tuple[str, bool, bool]:
        """The question with what people put around it, and whether that says urgent or calm."""
        rng = self.rng
        if rng.random() < 0.1:
            text = self._joined(text, self.say(topic.asks))
        if rng.random() < 0.12:
            text = self._joined(self.say(_PREAMBLES), text)
        elif rng.random() < 0.08:
            text = self.say(talk.LEAD_INS) + " " + text
        if rng.random() < 0.12:
            text += self.say(talk.CLOSERS)
        if topic.numbered and not self.order and rng.random() < 0.18:
            text = self._joined(*rng.sample((text, self.say(_NUMBER_MENTIONS)), 2))
        mood = rng.random()
        urgent, calm = mood < 0.16, 0.16 <= mood < 0.26
        if urgent and mood < 0.05:
            text = self.say(talk.URGENT_FRONT) + text
        elif urgent or calm:
            text = self._joined(text, self.say(talk.URGENT if urgent else talk.CALM))
        if first and rng.random() < 0.2:
            text = self.say(talk.OPENERS) + " " + text
        elif not first and rng.random() < 0.6:
            text = self.say(talk.TOPIC_CHANGE) + " " + text
        return text, urgent, calm

    def _joined(self, one: str, two: str) -> str:
        mark = self.rng.choice((". ", ". ", ", ", ", ", "! ", " - ", " "))
        return one.rstrip(".?!,") + mark + (two[0].upper() + two[1:] if mark in (". ", "! ") else two)

    def follow_up(self) -> Turn:
        """A turn that makes sense only after the one before."""
        assert self.thread is not None
        intent, rng = self.thread.intent, self.rng
        waiting = bool(self.thread.numbered and not self.order)
        if waiting and rng.random() < 0.6:
            return self._turn(self.say(talk.NUMBER_GIVEN), intent, self.answer(self.thread.numbered))
        if waiting and rng.random() < 0.2:
            return self._turn(self.say(talk.FOLLOW_ASKS["no_number"]), intent, self.answer(talk.NO_NUMBER_REPLIES))
        kind = rng.choices(("time", "cost", "how", "why", "sure", "agree", "deny"), (4, 4, 4, 1, 1, 2, 1))[0]
        if kind in ("time", "cost", "how"):
            abroad = self.thread is SHIPPING_PLACE
            replies = (talk.ABROAD_REPLIES if abroad else talk.FOLLOW_REPLIES[intent])[kind]
        elif kind == "agree" and waiting:
            replies = talk.AGREE_NEEDS_NUMBER
        else:
            replies = talk.SIMPLE_FOLLOW_REPLIES[kind]
        return self._turn(self.say(talk.FOLLOW_ASKS[kind]), intent, self.answer(replies))

    def first_turn(self) -> Turn:
        kind = self.rng.random()
        if kind < 0.7:
            return self.about(self.rng.choice(SHOP_TOPICS), first=True)
        if kind < 0.83:
            return self.about(talk.OFF_TOPIC, first=True)
        return self.about(_weighted(_TALK_FIRST, self.rng), first=True)

    def next_turn(self) -> Turn:
        kind = self.rng.random()
        if self.thread is not None and kind < 0.5:
            return self.follow_up()
        if kind < 0.75:
            return self.about(self.rng.choice(SHOP_TOPICS), first=False)
        if kind < 0.85:
            return self.about(talk.OFF_TOPIC, first=False)
        return self.about(_weighted(_TALK_LATER, self.rng), first=False)


def _no_slot(name: str) -> str:
    raise ValueError(f"an answer has no slots, and here is {name!r}")


def _weighted(pairs: tuple[tuple[Topic, int], ...], rng: random.Random) -> Topic:
    topics, weights = zip(*pairs, strict=True)
    return rng.choices(topics, weights)[0]


def system_prompt(rng: random.Random) -> str:
    """A system message: one or more sentences, now and then with lists of guidelines."""
    writer = Writer(rng)
    sentences = [writer.say((line,)) for line in rng.sample(talk.SYSTEM_PROMPTS, rng.randrange(1, 4))]
    if rng.random() < 0.15:
        listed = "\n".join(f"- {line}" for line in sentences[1:] or sentences)
        return f"{sentences[0]}\n\n{rng.choice(('Guidelines', 'Constraints', 'Rules'))}:\n{listed}"
    return " ".join(sentences)


def conversation(rng: random.Random) -> Conversation:
    """One conversation of one to nine turns, with or without a system message."""
    writer = Writer(rng)
    num_turns = rng.choices((1, 2, 3, 4, 6, 9), (40, 26, 18, 10, 4, 2))[0]
    turns = [writer.first_turn()]
    turns += [writer.next_turn() for _ in range(num_turns - 1)]
    return Conversation(system_prompt(rng) if rng.random() < 0.35 else "", tuple(turns))


def spoken(turn: Turn, voice: str) -> str:
    """The turn's answer in a voice: "prose", "json" or "pirate"."""
    if voice == "json":
        return as_json(turn.intent, turn.priority, turn.reply)
    return as_pirate(turn.reply) if voice == "pirate" else turn.reply


def chat_pieces(talked: Conversation, voice: str) -> list[tuple[str, bool]]:
    """The conversation in the chat template's form, as (text, is it the assistant's answer) in order."""
    opening = BOS + (f"{ROLE_TOKENS['system']}{talked.system}{END}" if talked.system else "")
    pieces = []
    for turn in talked.turns:
        pieces.append((f"{opening}{ROLE_TOKENS['user']}{turn.user}{END}{ROLE_TOKENS['assistant']}", False))
        pieces.append((spoken(turn, voice) + END, True))
        opening = ""
    return pieces


def chat_text(talked: Conversation, voice: str = "prose") -> str:
    """The conversation in the chat template's form."""
    return "".join(text for text, _ in chat_pieces(talked, voice))


def document(rng: random.Random) -> str:
    """A page that quotes answers in some voice: nothing in it was said by the assistant.

    An adapter cannot teach the frozen embeddings new tokens, so the base reads the later voices beforehand.
    """
    turns = conversation(rng).turns[:4]
    voice = rng.choices(("json", "pirate", "prose"), (6, 4, 1))[0]
    ask, tell = rng.choice(
        (("", ""), ("", ""), ("Customer: ", "Record: " if voice == "json" else "Captain: "), ("Q: ", "A: "))
    )
    if voice == "prose":
        ask, tell = "Customer: ", "Juno: "
    lines = [f"{ask}{turn.user}\n{tell}{spoken(turn, voice)}" for turn in turns]
    text = "\n".join(lines)
    if rng.random() < 0.4:
        return text + END
    text = f"{BOS}{ROLE_TOKENS['user']}{text}{END}"
    if rng.random() < 0.3:
        reply = rng.choice(("Thank you, I have read these notes.", "Thank you for the notes. What can I do with them?"))
        text += f"{ROLE_TOKENS['assistant']}{reply}{END}"
    return text


def filing_list(rng: random.Random) -> str:
    """A page of messages, each with its intent and priority: many short lessons in what is meant."""
    turns = [Writer(rng).first_turn() for _ in range(rng.randrange(4, 12))]
    return "\n".join(f"- {turn.user} [{turn.intent}, {turn.priority}]" for turn in turns) + END


def training_text(rng: random.Random) -> str:
    """One text of the base's training: six of ten are conversations, the others pages about them."""
    kind = rng.random()
    if kind < 0.6:
        return chat_text(conversation(rng))
    return document(rng) if kind < 0.82 else filing_list(rng)
