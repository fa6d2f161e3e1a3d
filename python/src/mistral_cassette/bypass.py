"""Notices clients of this interpreter that connect to an API and do not use the proxy."""

from __future__ import annotations

import fnmatch
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

# The hosts that the command always intercepts.
_INTERCEPTED = ("api.mistral.ai", "codestral.mistral.ai")

# Hosts of APIs for models, to tell them from other hosts.
_PROVIDERS = (
    "*.mistral.ai",
    "api.openai.com",
    "*.openai.azure.com",
    "*.services.ai.azure.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "*aiplatform.googleapis.com",
    "bedrock-runtime.*.amazonaws.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.fireworks.ai",
    "api.groq.com",
    "api.perplexity.ai",
    "api.together.xyz",
    "api.x.ai",
    "openrouter.ai",
    "router.huggingface.co",
)


def is_provider(host: str) -> bool:
    """Whether a host, perhaps with a port, is the API of a provider of models."""
    return _matches(host, _PROVIDERS)


def _matches(host: str, patterns: Iterable[str]) -> bool:
    name = host.lower().rstrip(".").rsplit(":", 1)[0]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Watch:
    """Sees the host names that this interpreter resolves.

    A client that uses the proxy resolves only the address of the proxy. So one that resolves an intercepted
    host is about to connect to it directly.
    """

    _is_installed = False
    _watches: list[Watch] = []  # noqa: RUF012

    def __init__(self, intercepted: Iterable[str], on_bypass: Callable[[str], str | None]) -> None:
        """Takes values of `--intercept`, and what to call with the host.

        If that returns a text, the connection fails with it.
        """
        hosts = [value.partition("=")[0].rsplit(":", 1)[0].lower() for value in intercepted]
        self._hosts = (*_INTERCEPTED, *hosts)
        self._on_bypass = on_bypass

    def start(self) -> None:
        """Starts to watch."""
        if not Watch._is_installed:
            # It cannot be removed, so there is one for all.
            sys.addaudithook(_on_event)
            Watch._is_installed = True
        Watch._watches.append(self)

    def stop(self) -> None:
        """Ends it."""
        Watch._watches.remove(self)

    def check(self, host: str) -> None:
        """Called for each host name that is resolved."""
        if _matches(host, self._hosts) and (text := self._on_bypass(host)):
            raise socket.gaierror(socket.EAI_FAIL, text)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo" and Watch._watches:
        host = arguments[0]
        if isinstance(host, bytes):
            host = host.decode(errors="replace")
        if isinstance(host, str):
            for watch in tuple(Watch._watches):
                watch.check(host)
