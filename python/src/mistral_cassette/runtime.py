"""A process of the command with its sessions, and the clients of this interpreter that use it."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from .bypass import Watch
from .control import Options, Process
from .environment import Environment
from .errors import CassetteError
from .verdict import Connection, Failure, Verdict

# How sessions save: docs/control.md.
SAVE = {"always": "always", "on-success": "on_success"}

# A cache, for example `redis://host`. A drive of Windows has one letter.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

_BYPASS_HINT = (
    "the client ignores HTTPS_PROXY, for example because of trust_env=False, or aiohttp without trust_env=True: "
    "allow it to use the proxy, or give it the base URL of the session"
)


def absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Returns a path that does not depend on the working directory; the URL of a cache stays."""
    if path is None or _URL.match(os.fspath(path)):
        return path if path is None else os.fspath(path)
    return str(Path(path).absolute())


def check_members(name: object, allow_failures: object) -> None:
    """Checks what the types of a mark or a block do not check at run time.

    Raises:
        TypeError: a value has a wrong type, or the name is empty.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f'invalid name of a cassette: {name!r}\nhint: it is a text, for example "chat/capital"')
    if not isinstance(allow_failures, bool):
        raise TypeError(f"invalid value of allow_failures: {allow_failures!r}\nhint: use True or False")


class Session:
    """The requests of one test, or of one block.

    Attributes:
        scope: the folder of its cassettes in the cassette directory.
        mode: `record`, `replay`, `strict` or `live`.
        base_url: a base URL whose requests belong to this session, without `/v1`.
        proxy_url: a value for `HTTPS_PROXY` whose requests belong to this session.
        ca_file: the certificate that clients of `proxy_url` must trust.
        allow_failures: whether nothing fails because of its requests.
        saves_on_success: whether its recordings are discarded if it fails.
        discarded: how many cassettes were discarded at its end.
    """

    def __init__(
        self, process: Process, scope: str, opened: dict[str, Any], *, save: str, allow_failures: bool
    ) -> None:
        """Takes what the process has answered."""
        self._process = process
        self._number: int = opened["session"]
        self.saves_on_success = save == "on-success"
        self.discarded = 0
        self.allow_failures = allow_failures
        self._bypassing: list[str] = []
        self._errors: list[Failure] = []
        self._final: Verdict | None = None
        self.scope = scope
        self.mode: str = opened["mode"]
        self.base_url: str = opened["base_url"]
        self.proxy_url: str = opened["proxy_url"]
        self.ca_file: str = opened["ca_file"]

    def verdict(self, *, wait: float = 60) -> Verdict:
        """Returns what has happened so far.

        Args:
            wait: how many seconds to wait at most for requests that are in progress.
        """
        if self._final is not None:
            return self._final
        answer = self._process.send("verdict", session=self._number, wait_ms=int(wait * 1000))
        return self._with_own(Verdict.from_json(answer))

    def _with_own(self, verdict: Verdict) -> Verdict:
        """Adds what the process cannot see."""
        if not self._bypassing and not self._errors:
            return verdict
        live = [*verdict.live, *(Connection(host, opened=1) for host in dict.fromkeys(self._bypassing))]
        outcome = "failed" if self._errors else verdict.outcome
        failures = (*verdict.failures, *self._errors)
        return dataclasses.replace(verdict, outcome=outcome, failures=failures, live=tuple(live))

    def bypassed(self, host: str) -> str | None:
        """Notes a connection that does not use the proxy. Returns why it is refused, if so."""
        if self.mode != "strict":
            self._bypassing.append(host)
            return None
        text = bypass_text(host)
        self._errors.append(Failure("bypass", text, _BYPASS_HINT))
        return text

    def close(self, *, success: bool) -> Verdict:
        """Ends the session, and returns what has happened in it.

        Args:
            success: whether to keep what was recorded, if the session saves on success.
        """
        if self._final is None:
            verdict = self.verdict()
            try:
                is_refused = bool(verdict.failures) and not self.allow_failures
                if self.saves_on_success and (is_refused or not success):
                    self.discarded = self._process.send("discard", session=self._number)["discarded"]
                self._process.send("close", session=self._number)
            except CassetteError as error:
                self._errors.append(Failure(error.kind, str(error), error.hint))
                verdict = dataclasses.replace(verdict, outcome="failed", failures=(*verdict.failures, self._errors[-1]))
            self._final = verdict
        return self._final


def bypass_text(host: str) -> str:
    """Returns the error for a connection that does not use the proxy."""
    return f"not recorded: a connection to {host} that does not use the proxy of mistral-cassette\nhint: {_BYPASS_HINT}"


class Runtime:
    """A process, and which of its sessions is the current one.

    Requests that name no scope belong to the session that was entered last and not left.
    """

    def __init__(self, options: Options, folder: Path | None = None) -> None:
        """Starts the process, with a folder for relative paths.

        Raises:
            SetupError: it does not start.
        """
        self.options = options
        self.folder = folder
        self.process = Process(options, folder)
        self._environment = Environment(self.process.environment)
        self._watch = Watch(options.intercept, self._on_bypass)
        self._entered: list[tuple[object, Session | None]] = []
        self._current: Session | None = None
        self._users = 0

    def connect(self) -> None:
        """Makes the clients of this interpreter use it, until as many calls of `disconnect`."""
        self._users += 1
        if self._users == 1:
            self._environment.enter()
            if self.process.mode == "strict":
                self._environment.set_dummy_key()
            self._watch.start()

    def allow_no_key(self) -> None:
        """Lets clients start without an API key."""
        self._environment.set_dummy_key()

    def disconnect(self) -> None:
        """Ends that."""
        self._users -= 1
        if self._users == 0:
            self._watch.stop()
            self._environment.leave()

    def open(
        self,
        scope: str,
        *,
        save: str = "always",
        allow_failures: bool = False,
        **members: str | os.PathLike[str] | None,
    ) -> Session:
        """Opens a session. It is not the current one yet.

        Raises:
            CassetteError: a member is invalid.
        """
        if save not in SAVE:
            known = ", ".join(SAVE)
            raise CassetteError(f"unknown value of save: {save!r}\nhint: use one of {known}", kind="settings")
        given = {name: os.fspath(value) for name, value in members.items() if value is not None}
        opened = self.process.send("open", scope=scope, save=SAVE[save], current=False, **given)
        return Session(self.process, scope, opened, save=save, allow_failures=allow_failures)

    def enter(self, session: Session | None) -> object:
        """Makes a session the current one, or none. Returns what `leave` needs."""
        token = object()
        self._entered.append((token, session))
        self._set_current(session)
        return token

    def leave(self, token: object) -> None:
        """Makes the session the current one that was it before."""
        self._entered = [entry for entry in self._entered if entry[0] is not token]
        self._set_current(self._entered[-1][1] if self._entered else None)

    def refused(self) -> int:
        """Returns how many requests belonged to no session, and so got an error."""
        answer = self.process.send("verdict", session=None, wait_ms=0)
        return len(Verdict.from_json(answer).failures)

    def _set_current(self, session: Session | None) -> None:
        if session is not self._current:
            self.process.send("scope", session=session and session._number)
            self._current = session

    def _on_bypass(self, host: str) -> str | None:
        if self._current is not None:
            return self._current.bypassed(host)
        return bypass_text(host) if self.process.mode == "strict" else None

    def close(self) -> str:
        """Ends the process, and returns its warnings."""
        return self.process.close()
