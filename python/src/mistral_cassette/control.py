"""The command `mistral-cassette serve`, and its control channel: docs/control.md."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .command import find_command
from .errors import CassetteError, SetupError

_PROTOCOL = 1

_FORK_HINT = "start the process with spawn, or open the block in the parent and give the child session.base_url"


@dataclass(frozen=True)
class Options:
    """The options of a process; those that are missing have the defaults of the command."""

    mode: str | None = None
    directory: str | None = None
    settings: str | None = None
    upstream: str | None = None
    intercept: tuple[str, ...] = ()
    block_network: bool = False
    arguments: tuple[str, ...] = ()

    def command_line(self) -> list[str]:
        """Returns them as arguments of the command."""
        line: list[str] = []
        for name, value in (
            ("--mode", self.mode),
            ("--dir", self.directory),
            ("--settings", self.settings),
            ("--upstream", self.upstream),
        ):
            if value is not None:
                line += [name, value]
        for host in self.intercept:
            line += ["--intercept", host]
        if self.block_network:
            line.append("--block-network")
        return [*line, *self.arguments]


class Process:
    """A process of the command. Commands of several threads are sent one after the other.

    Attributes:
        options: its options.
        environment: the variables that make clients use it.
        mode: its mode.
    """

    def __init__(self, options: Options, folder: Path | None = None) -> None:
        """Starts it, with a folder for relative paths.

        Raises:
            SetupError: there is no command, it is too old, or it refuses the options.
        """
        self.options = options
        self._lock = threading.Lock()
        # A fork of this interpreter must not end it.
        self._owner = os.getpid()
        self._ids = itertools.count(1)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = self._start(folder)
        try:
            ready = self._read_line()
            if ready is None:
                self._child.wait()
                raise SetupError(self._error_text(), kind="settings")
            self._check(ready)
            self.environment: dict[str, str] = ready["environment"]
            self.version: str = ready["version"]
            self.mode: str = self._learn_mode(ready)
        except BaseException:
            self.kill()
            raise

    def _start(self, folder: Path | None) -> subprocess.Popen[bytes]:
        self._command = find_command()
        command = [str(self._command), "serve", "--control", "stdio", *self.options.command_line()]
        try:
            return subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # Ctrl-C is for the test runner, which ends this process.
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise SetupError(f"cannot run {self._command}: {error}", kind="settings") from error

    def _check(self, ready: Mapping[str, Any]) -> None:
        protocol = ready.get("protocol")
        if ready.get("event") != "ready" or protocol != _PROTOCOL:
            found = f"{self._command} has protocol {protocol}"
            hint = "install a package and a command of the same version"
            text = f"{found}, and this package needs {_PROTOCOL}\nhint: {hint}"
            raise SetupError(text, kind="settings", hint=hint)

    def _learn_mode(self, ready: Mapping[str, Any]) -> str:
        """The mode of the process. It opens a session, so broken settings are found at the start."""
        try:
            opened = self.send("open", scope="session", current=False)
            self.send("close", session=opened["session"])
        except SetupError:
            raise
        except CassetteError as error:
            raise SetupError(str(error), kind=error.kind, hint=error.hint) from None
        return str(ready.get("mode") or opened["mode"])

    def send(self, do: str, **members: Any) -> dict[str, Any]:
        """Sends a command, and returns its answer.

        Raises:
            CassetteError: the command failed.
            SetupError: the process has ended, or belongs to the parent of this process.
        """
        if self._owner != os.getpid():
            raise SetupError(f"a session cannot be used in a forked process\nhint: {_FORK_HINT}", hint=_FORK_HINT)
        with self._lock:
            identity = next(self._ids)
            answer = self._exchange({"id": identity, "do": do, **members})
            while answer is not None and answer.get("id") != identity:
                answer = self._read_line()
        if answer is None:
            raise SetupError(f"the command mistral-cassette has ended: {self._error_text()}")
        if error := answer.get("error"):
            raise CassetteError(error["text"], kind=error["kind"], hint=error.get("hint"))
        ok: dict[str, Any] = answer.get("ok") or {}
        return ok

    def _exchange(self, command: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            _pipe(self._child.stdin).write(json.dumps(command).encode() + b"\n")
            _pipe(self._child.stdin).flush()
        except (OSError, ValueError):
            return None
        return self._read_line()

    def _read_line(self) -> dict[str, Any] | None:
        line = _pipe(self._child.stdout).readline()
        if not line:
            return None
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            shown = line.decode(errors="replace").strip()
            raise SetupError(f"the command mistral-cassette has printed an invalid answer: {shown}") from None
        return answer

    def warnings(self) -> str:
        """Returns what the command has printed on its standard error."""
        position = os.fstat(self._stderr.fileno()).st_size
        if os.name == "posix":
            return os.pread(self._stderr.fileno(), position, 0).decode(errors="replace").strip()
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()

    def _error_text(self) -> str:
        text = self.warnings()
        if text.startswith("error: unrecognized subcommand"):
            hint = "install a package and a command of the same version"
            return f"{self._command} is too old: it has no command `serve`\nhint: {hint}"
        return text.removeprefix("error: ") or f"{self._command} has ended with status {self._child.poll()}"

    def close(self) -> str:
        """Ends all sessions and the process, and returns what it has printed as warnings."""
        if self._owner != os.getpid():
            return ""
        if self._child.poll() is None:
            # The text of an error is in the warnings.
            with contextlib.suppress(CassetteError):
                self.send("close")
        self._end(timeout=60)
        text = self.warnings()
        self._stderr.close()
        return text

    def kill(self) -> None:
        """Ends the process, without waiting for requests that are in progress."""
        if os.name == "posix":
            # The command then removes its temporary folder.
            self._child.terminate()
        self._end(timeout=2)
        self._stderr.close()

    def _end(self, timeout: float) -> None:
        with contextlib.suppress(OSError):
            _pipe(self._child.stdin).close()
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        _pipe(self._child.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise SetupError("the process has no pipes")
    return pipe
