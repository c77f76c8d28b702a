"""An OpenAI-compatible server, through OpenAI's SDK.

Knows the SDK and its errors; refuses to know requests, events and when to ask again.
"""

from __future__ import annotations

from typing import Any

import openai

from playground.remote.asking import Call
from playground.remote.bounded import bounded
from playground.remote.server import Chunks, Garbled, Lost, Refusal, cause_of, param_of, retry_after, shown, words_of


class OpenAIServer:
    """An OpenAI-compatible server at an address."""

    def __init__(self, address: str, key: str | None, connect_seconds: float) -> None:
        self._key = key
        # What the SDK would take from the environment is meant for OpenAI and goes to nobody else.
        self._headers: dict[str, Any] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        if key is None:
            self._headers["Authorization"] = openai.Omit()
        # Answers may take any time, which the engine watches; the SDK asks once, since the engine asks again.
        timeout = openai.Timeout(None, connect=connect_seconds)
        # An address that points elsewhere is told and not followed: what is asked goes where the catalog says.
        client = bounded(openai.DefaultAsyncHttpxClient(follow_redirects=False))
        self._client = openai.AsyncOpenAI(
            base_url=address, api_key=key or "none", max_retries=0, timeout=timeout, http_client=client
        )

    async def model_ids(self) -> list[str]:
        try:
            listed = await self._client.models.list(extra_headers=self._headers)
            return [model.id for model in listed.data or () if isinstance(model.id, str)]
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            raise Lost(cause_of(error)) from None
        except (openai.APIError, ValueError, AttributeError, TypeError) as error:
            raise Garbled(f"its list of models cannot be read: {type(error).__name__}") from None

    async def chunks(self, call: Call) -> Chunks:
        create: Any = self._client.chat.completions.create if call.chat else self._client.completions.create
        try:
            more = {"extra_body": call.extra or None, "extra_headers": self._headers}
            async with await create(**call.fields, stream=True, **more) as stream:
                kind = stream.response.headers.get("content-type", "nothing")
                if not kind.startswith("text/event-stream"):
                    raise Garbled(f"it answered with {kind}, and not with a stream: is its address right?")
                async for chunk in stream:
                    yield chunk
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            raise Lost(cause_of(error)) from None
        except openai.APIError as error:
            raise Refusal(None, shown(words_of(error.body), self._key), param_of(error.body)) from None
        except ValueError:
            raise Garbled("it sent something in the middle of its answer that is not JSON") from None

    async def close(self) -> None:
        await self._client.close()

    def _refusal(self, error: openai.APIStatusError) -> Refusal:
        there = error.response.headers.get("location", "") if error.response.is_redirect else ""
        words = there or words_of(error.body) or error.response.text
        waits = retry_after(error.response.headers)
        return Refusal(error.status_code, shown(words, self._key), param_of(error.body), waits)
