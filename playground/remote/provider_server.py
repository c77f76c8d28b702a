"""One of the providers that Hugging Face knows, through huggingface_hub's client.

Knows that client and its errors; refuses to know requests, events and when to ask again.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, TextGenerationError

from playground.remote.asking import Call
from playground.remote.bounded import bounded
from playground.remote.server import Chunks, Garbled, Lost, Refusal, cause_of, param_of, retry_after, shown, words_of


class _BoundedClient(AsyncInferenceClient):
    """What it is sent has a limit."""

    async def _get_async_client(self) -> httpx2.AsyncClient:
        if self._async_client is None:
            bounded(await super()._get_async_client())
        return await super()._get_async_client()


class ProviderServer:
    """One of the providers that Hugging Face knows. Each answer has a client of its own, since this client lets go
    of a connection only when it is closed itself."""

    def __init__(self, provider: str, token: str, connect_seconds: float) -> None:
        self._provider, self._token = provider, token
        self._timeout = httpx2.Timeout(None, connect=connect_seconds)

    async def model_ids(self) -> list[str]:
        """A provider's models are many, and are looked up one by one when they are asked."""
        return []

    async def chunks(self, call: Call) -> Chunks:
        provider: Any = self._provider
        timeout: Any = self._timeout
        fields = dict(call.fields)
        limit = fields.pop("max_completion_tokens", None)
        extra = {**call.extra, **({"max_completion_tokens": limit} if limit else {})}
        try:
            async with _BoundedClient(provider=provider, api_key=self._token, timeout=timeout) as client:
                stream: Any = await client.chat_completion(**fields, stream=True, extra_body=extra or None)
                async with aclosing(stream):
                    async for chunk in stream:
                        yield chunk
        except HfHubHTTPError as error:
            raise self._refusal(error) from None
        except TextGenerationError as error:
            raise Refusal(None, shown(str(error), self._token)) from None
        except (httpx2.RequestError, InferenceTimeoutError) as error:
            raise Lost(cause_of(error)) from None
        except json.JSONDecodeError:
            raise Garbled("it sent something in the middle of its answer that is not JSON") from None
        except (ValueError, TypeError, AttributeError) as error:
            # So this client says that it does not know a provider, or the provider not the model.
            raise Refusal(404, shown(str(error), self._token)) from None

    async def close(self) -> None:
        """Nothing is left between two answers."""

    def _refusal(self, error: HfHubHTTPError) -> Refusal:
        try:
            body = error.response.json()
        except (ValueError, httpx2.ResponseNotRead):
            body = None
        response, words = error.response, shown(words_of(body) or str(error), self._token)
        return Refusal(response.status_code, words, param_of(body), retry_after(response.headers))
