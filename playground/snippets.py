"""Requests as code that asks the same of this server's API: curl, Python and JavaScript.

Knows the API's two chat routes and how each language writes text. Refuses to know a page, and any key: where
keys are on, the code reads one from the environment.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from playground.types import GenerationRequest, Message, Sampling

KEY_VARIABLE = "PLAYGROUND_API_KEY"
COMPLETIONS = "/api/v1/playground/completions"
SENT_IF_CHANGED = ("top_p", "top_k", "seed", "stop", "frequency_penalty", "presence_penalty")
OF_THIS_SERVER = ("top_k", "thinking", "strength")
"""The openai client has no parameter for these."""
MAX_SAFE_INTEGER = 2**53 - 1
"""JavaScript rounds whole numbers beyond it."""

# Some end a line, to JavaScript or to `indent`; others are unseen, turn the text around them, or are no characters.
_HIDDEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to ask: its name for readers, its language for those who colour it."""

    name: str
    language: str
    code: str


class _Variable(str):
    """A value that the code has in a variable of this name."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """What every language has to write down. `settings` are the body's fields after the messages; among them a
    variable for the strength where `strengths` are not the same for all models."""

    models: tuple[str, ...]
    strengths: tuple[float, ...]
    messages: tuple[Message, ...]
    settings: Mapping[str, Any]
    base_url: str
    keys_on: bool

    @property
    def url(self) -> str:
        return self.base_url + COMPLETIONS

    @property
    def several(self) -> bool:
        return len(self.models) > 1

    @property
    def loop(self) -> tuple[str, str]:
        """What a program that asks several models names anew for each, and the list of it."""
        if isinstance(self.settings.get("strength"), _Variable):
            return "model, strength", _text(list(zip(self.models, self.strengths, strict=True)))
        return "model", _text(self.models)

    @property
    def model(self) -> str:
        """The model as Python and JavaScript name it where they ask."""
        return "model" if self.several else _text(self.models[0])


def snippets(requests: Sequence[GenerationRequest], base_url: str, keys_on: bool) -> list[Snippet]:
    """The code for chats that differ in model and strength alone; `base_url` has no slash at the end."""
    first = requests[0]
    models, strengths = (tuple(getattr(request, name) for request in requests) for name in ("model", "strength"))
    settings = _settings(first)
    if len(set(strengths)) > 1:
        settings["strength"] = _Variable("strength")
    ask = _Ask(models, strengths, first.messages, settings, base_url, keys_on)
    return [
        Snippet("curl", "bash", _curl(ask)),
        Snippet("Python (openai)", "python", _openai(ask)),
        Snippet("Python (httpx)", "python", _httpx(ask)),
        Snippet("JavaScript (fetch)", "javascript", _fetch(ask)),
    ]


def _settings(request: GenerationRequest) -> dict[str, Any]:
    sampling, default = request.sampling, Sampling()
    settings: dict[str, Any] = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    for name in SENT_IF_CHANGED:
        value = getattr(sampling, name)
        if value != getattr(default, name):
            settings[name] = list(value) if isinstance(value, tuple) else value
    if request.thinking:
        settings["thinking"] = True
    if request.strength != 1:
        settings["strength"] = request.strength
    return settings


def _text(value: Any, **layout: Any) -> str:
    """As JSON spells it, which for text and numbers is as Python and JavaScript do."""
    if isinstance(value, _Variable):
        return value
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False, **layout))


def _lines(text: str) -> list[str]:
    """A text, literal by literal, each a line of it."""
    return [_text(line) for line in _LINE.findall(text)] or [_text("")]


def _block(lines: Iterable[str], spaces: int) -> str:
    return indent("\n".join(lines), " " * spaces)


def _curl(ask: _Ask) -> str:
    headers = ['-H "Content-Type: application/json"']
    if ask.keys_on:
        headers.insert(0, f'-H "Authorization: Bearer ${KEY_VARIABLE}"')
    messages = [{"role": message.role, "content": message.content} for message in ask.messages]
    commands: list[str] = []
    for model, strength in zip(ask.models, ask.strengths, strict=True):
        settings = {**ask.settings, **({"strength": strength} if "strength" in ask.settings else {})}
        # No line of the body can be the end mark: JSON keeps a text on one line, within quotes.
        body = _text({"model": model, "messages": messages, **settings}, indent=2)
        command = " \\\n  ".join([f"curl {shlex.quote(ask.url)}", *headers, "--data-binary @- <<'JSON'"])
        label = f"printf '\\n%s\\n' {shlex.quote(model)}\n" if ask.several else ""
        commands.append(f"{label}{command}\n{body}\nJSON\n")
    return "\n".join(commands)


def _openai(ask: _Ask) -> str:
    own = [f"{_text(name)}: {_python(ask.settings[name])}" for name in OF_THIS_SERVER if name in ask.settings]
    arguments = [
        f"model={ask.model},",
        "messages=messages,",
        *(f"{name}={_python(value)}," for name, value in ask.settings.items() if name not in OF_THIS_SERVER),
        *([f"extra_body={{{', '.join(own)}}},"] if own else []),
    ]
    client = [
        f"base_url={_text(ask.base_url + '/v1')},",
        f"api_key={_python_key()}," if ask.keys_on else 'api_key="none",',
    ]
    steps = [
        "reply = client.chat.completions.create(",
        _block(arguments, 4),
        ")",
        "print(reply.choices[0].message.content)",
    ]
    setup = ["client = OpenAI(", _block(client, 4), ")"]
    return _python_program(ask, "openai", "from openai import OpenAI", setup, steps)


def _httpx(ask: _Ask) -> str:
    fields = [
        f'"model": {ask.model},',
        '"messages": messages,',
        *(f"{_text(name)}: {_python(value)}," for name, value in ask.settings.items()),
    ]
    header = f'headers={{"Authorization": "Bearer " + {_python_key()}}},'
    arguments = [f"{_text(ask.url)},", *([header] if ask.keys_on else []), "json={", _block(fields, 4), "},"]
    steps = [
        "reply = httpx.post(",
        # A model's first answer may wait for its weights.
        _block([*arguments, "timeout=600,"], 4),
        ")",
        "if reply.is_error:",
        "    raise SystemExit(reply.text)",
        'print(reply.json()["data"]["content"])',
    ]
    return _python_program(ask, "httpx", "import httpx", [], steps)


def _python_program(ask: _Ask, package: str, imported: str, setup: Sequence[str], steps: Sequence[str]) -> str:
    head = [f"# pip install {package}", *(["import os", ""] if ask.keys_on else []), imported]
    messages = ["messages = [", *(_python_message(message) for message in ask.messages), "]"]
    if ask.several:
        names, values = ask.loop
        steps = [f"for {names} in {values}:", _block(["print(model)", *steps], 4)]
    return "\n\n".join("\n".join(part) for part in (head, setup, messages, steps) if part) + "\n"


def _python_message(message: Message) -> str:
    lines = _lines(message.content)
    if len(lines) == 1:
        return _block([f'{{"role": "{message.role}", "content": {lines[0]}}},'], 4)
    fields = [f'"role": "{message.role}",', '"content": (', _block(lines, 4), "),"]
    return _block(["{", _block(fields, 4), "},"], 4)


def _python(value: Any) -> str:
    return repr(value) if isinstance(value, bool) else _text(value)


def _python_key() -> str:
    return f'os.environ["{KEY_VARIABLE}"]'


def _fetch(ask: _Ask) -> str:
    rounded = {name: value for name, value in ask.settings.items() if _is_rounded(value)}
    fields = [
        "model," if ask.several else f"model: {ask.model},",
        "messages,",
        *(f"{name}: {'null' if name in rounded else _text(value)}," for name, value in ask.settings.items()),
    ]
    # Within a text of the JSON these quotes would be escaped, so that only the field itself can be meant.
    exact = "".join(f".replace('\"{name}\":null', '\"{name}\":{value}')" for name, value in rounded.items())
    header = f"Authorization: `Bearer ${{process.env.{KEY_VARIABLE}}}`,"
    headers = [*([header] if ask.keys_on else []), '"Content-Type": "application/json",']
    options = [
        'method: "POST",',
        "headers: {",
        _block(headers, 2),
        "},",
        "body: JSON.stringify({",
        _block(fields, 2),
        f"}}){exact},",
    ]
    steps = [
        f"const response = await fetch({_text(ask.url)}, {{",
        _block(options, 2),
        "});",
        "if (!response.ok) throw new Error(await response.text());",
        "const { data } = await response.json();",
        "console.log(data.content);",
    ]
    if ask.several:
        names, values = ask.loop
        name = f"[{names}]" if "," in names else names
        steps = [f"for (const {name} of {values}) {{", _block(["console.log(model);", *steps], 2), "}"]
    head = ["// Node 18 or newer: node ask.mjs"]
    messages = ["const messages = [", *(_javascript_message(message) for message in ask.messages), "];"]
    return "\n".join([*head, *messages, "", *steps]) + "\n"


def _javascript_message(message: Message) -> str:
    lines = _lines(message.content)
    if len(lines) == 1:
        return _block([f'{{ role: "{message.role}", content: {lines[0]} }},'], 2)
    content = " +\n".join(lines)
    return _block(["{", _block([f'role: "{message.role}",', "content:", _block([f"{content},"], 2)], 2), "},"], 2)


def _is_rounded(value: object) -> bool:
    return isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER
