"""Makes the clients of this interpreter and of its child processes use the command."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

API_KEY = "MISTRAL_API_KEY"

# Makes clients that need a key start without one. The proxy never sends it.
_DUMMY_KEY = "mistral-cassette-needs-no-key"

# `mistral-cassette run` sets it for its command.
_UNDER_RUN = "MISTRAL_CASSETTE_OUTER_PROXY"

# Tests of other APIs run in the same process, and their keys are for these.
_NOT_SET = ("OPENAI_BASE_URL",)

# What an opener of urllib has by default.
_DEFAULT_HANDLERS = {
    "DataHandler",
    "FTPHandler",
    "FileHandler",
    "HTTPDefaultErrorHandler",
    "HTTPErrorProcessor",
    "HTTPHandler",
    "HTTPRedirectHandler",
    "HTTPSHandler",
    "ProxyHandler",
    "UnknownHandler",
}


def is_under_run() -> bool:
    """Whether a `mistral-cassette run`, or another process of the plugin, has set the environment already."""
    return _UNDER_RUN in os.environ


class Environment:
    """The variables of a process, and what libraries that are loaded already have read before."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Takes the variables that the command wants to have set."""
        own = {name: value for name, value in variables.items() if name not in _NOT_SET}
        # A real key stays, for sessions in other modes.
        own.pop(API_KEY, None)
        self._variables = own
        self._undo: list[Callable[[], object]] = []

    def enter(self) -> None:
        """Sets the variables."""
        for name, value in self._variables.items():
            self._undo.append(_restorer(name, os.environ.get(name)))
            os.environ[name] = value
        if bundle := self._variables.get("SSL_CERT_FILE"):
            self._undo += _change_certifi(bundle)
            _trust_in_loaded_libraries(bundle)
        _forget_opener()

    def set_dummy_key(self) -> None:
        """Sets an API key if there is none."""
        if not os.environ.get(API_KEY):
            self._undo.append(_restorer(API_KEY, os.environ.get(API_KEY)))
            os.environ[API_KEY] = _DUMMY_KEY

    def leave(self) -> None:
        """Sets the variables to what they were before."""
        while self._undo:
            self._undo.pop()()
        _forget_opener()


def _restorer(name: str, value: str | None) -> Callable[[], object]:
    if value is None:
        return lambda: os.environ.pop(name, None)
    return lambda: os.environ.update({name: value})


def _change_certifi(bundle: str) -> list[Callable[[], object]]:
    """Makes certifi return the certificates, for clients that ask it and read no variable."""
    if importlib.util.find_spec("certifi") is None:
        return []
    import certifi
    import certifi.core

    def contents() -> str:
        with open(bundle, encoding="ascii") as file:  # noqa: PTH123
            return file.read()

    modules: list[ModuleType] = [certifi, certifi.core]
    undo: list[Callable[[], object]] = []
    for module in modules:
        for name, function in (("where", lambda: bundle), ("contents", contents)):
            undo.append(functools.partial(setattr, module, name, getattr(module, name)))
            setattr(module, name, function)
    return undo


def _trust_in_loaded_libraries(bundle: str) -> None:
    """Adds the certificates to the contexts that these libraries make when they are loaded."""
    for module, name in (
        ("aiohttp.connector", "_SSL_CONTEXT_VERIFIED"),
        ("requests.adapters", "_preloaded_ssl_context"),
    ):
        context: Any = getattr(sys.modules.get(module), name, None)
        if isinstance(context, ssl.SSLContext):
            with contextlib.suppress(ssl.SSLError):
                context.load_verify_locations(bundle)


def _forget_opener() -> None:
    """Makes `urllib.request.urlopen` read the variables again. It does so only once, unless it is told an opener."""
    module: Any = sys.modules.get("urllib.request")
    handlers = getattr(getattr(module, "_opener", None), "handlers", None)
    if handlers and {type(handler).__name__ for handler in handlers} <= _DEFAULT_HANDLERS:
        module.install_opener(None)
