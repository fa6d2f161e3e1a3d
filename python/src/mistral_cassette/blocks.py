"""`use`: sessions without the plugin."""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from .control import Options
from .runtime import Runtime, Session, absolute, check_members
from .verdict import Verdict, error_of

_Function = TypeVar("_Function", bound=Callable[..., Any])

# The runtime of the plugin.
plugin_runtime: Runtime | None = None

_runtimes: dict[tuple[Options, Path], Runtime] = {}


class use:  # noqa: N801
    """Records or replays the requests of a block, or of a decorated function.

    ```python
    with mistral_cassette.use("capital") as session:
        ask_for_the_capital()
    ```

    Clients that are made in the block need no change. `async with` works, too, and so does `@use("capital")`.
    Blocks of several threads at the same time need `session.base_url`.
    """

    def __init__(
        self,
        name: str,
        *,
        mode: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        settings: str | os.PathLike[str] | None = None,
        save: str = "always",
        pace: str | None = None,
        inject: str | None = None,
        allow_failures: bool = False,
        upstream: str | None = None,
        intercept: tuple[str, ...] | list[str] = (),
        block_network: bool = False,
    ) -> None:
        """Takes the name of the scope, and if wanted options. Paths are relative to the working directory.

        Args:
            name: the folder of the cassettes, one or more names joined by `/`.
            mode: `record`, `replay`, `strict` or `live`.
            directory: the cassette directory; by default that of the plugin, else `cassettes`.
            settings: a settings file instead of the one in the directory.
            save: `always`, or `on-success` to save only if the block ends without an error.
            pace: the pace of replayed responses: `none`, `recorded` or a factor such as `2x`.
            inject: faults in replayed responses, for example `429:0.1,refusal:0.1,seed:7`.
            allow_failures: do not raise an error at the end of the block.
            upstream: the real API.
            intercept: more hosts to intercept, `HOST` or `HOST=URL`.
            block_network: refuse connections to hosts that are not intercepted.
        """
        self._name = name
        check_members(name, allow_failures)
        self._members: dict[str, Any] = {
            "mode": mode,
            "save": save,
            "pace": pace,
            "inject": inject,
            "allow_failures": allow_failures,
        }
        self._paths = {"directory": directory, "settings": settings}
        self._options = Options(upstream=upstream, intercept=tuple(intercept), block_network=block_network)
        self._open: list[tuple[Runtime, Session, object]] = []

    def _runtime(self) -> Runtime:
        if plugin_runtime is not None and self._options == Options():
            return plugin_runtime
        key = (self._options, Path.cwd())
        if key not in _runtimes:
            if not _runtimes:
                atexit.register(_close_all)
            _runtimes[key] = Runtime(*key)
        return _runtimes[key]

    def __enter__(self) -> Session:
        """Opens the session.

        Raises:
            SetupError: the command does not start.
            CassetteError: an option is invalid.
        """
        runtime = self._runtime()
        # A path of the plugin would be relative to its root directory.
        paths: dict[str, Any] = {member: absolute(path) for member, path in self._paths.items()}
        session = runtime.open(self._name, **self._members, **paths)
        runtime.connect()
        if session.mode in ("strict", "replay"):
            runtime.allow_no_key()
        self._open.append((runtime, session, runtime.enter(session)))
        return session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the session.

        Raises:
            MissError: a request was not recorded, and not sent.
            CassetteError: a request failed, or its response was refused.
        """
        session = self._left()
        # Ctrl-C does not wait.
        if error is None or isinstance(error, Exception):
            _judge(session, session.close(success=error is None), error)

    async def __aenter__(self) -> Session:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As `__exit__`, while other tasks continue."""
        session = self._left()
        if error is not None and not isinstance(error, Exception):
            return
        close = functools.partial(session.close, success=error is None)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            verdict = close()
        else:
            verdict = await asyncio.to_thread(close)
        _judge(session, verdict, error)

    def _left(self) -> Session:
        runtime, session, token = self._open.pop()
        runtime.leave(token)
        runtime.disconnect()
        return session

    def __call__(self, function: _Function) -> _Function:
        """Decorates a function: each call is a session.

        Raises:
            TypeError: it is a generator, whose body runs after the call, or a class.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                _not_decorated(function, "a generator", "write `with mistral_cassette.use(…):` in its body")
            )
        if inspect.isclass(function):
            raise TypeError(_not_decorated(function, "a class", "decorate its methods"))
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_session_async(*arguments: Any, **named: Any) -> Any:
                async with self:
                    return await function(*arguments, **named)

            return in_session_async  # type: ignore[return-value]

        @functools.wraps(function)
        def in_session(*arguments: Any, **named: Any) -> Any:
            with self:
                return function(*arguments, **named)

        return in_session  # type: ignore[return-value]


def _not_decorated(function: Callable[..., Any], what: str, hint: str) -> str:
    return f"mistral_cassette.use cannot decorate {what}: {function.__name__}\nhint: {hint}"


def _judge(session: Session, verdict: Verdict, error: BaseException | None) -> None:
    """Raises the failures of a session. An error of the block gets them as a note, as far as Python has notes."""
    if session.allow_failures or not verdict.failures:
        return
    if error is None:
        raise error_of(verdict.failures)
    if sys.version_info >= (3, 11):
        error.add_note(f"mistral-cassette: {error_of(verdict.failures)}")


def _close_all() -> None:
    while _runtimes:
        _runtimes.popitem()[1].close()
