"""A project for the plugin, with a stand-in for the API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Loaded once, because pytester unloads what its runs load.
import mistral_cassette  # noqa: F401
from stand_in import Api

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "python/src"

VERSION = next(
    line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version = ")
)

# The same one as in the tests of the command.
KEY = "stand-in-key-0123456789abcdefghij"

_NOT_INHERITED = re.compile(
    r"(MISTRAL_(?!CASSETTE_COMMAND).*|PYTEST_ADDOPTS|PYTEST_XDIST_WORKER.*|CI|.*_PROXY|.*_proxy)"
)

# A client of the standard library, which reads the proxy and the certificates from the environment.
ASK = """
import json
import os
import urllib.request


HOST = "https://api.mistral.ai"


def post(path, **body):
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ['MISTRAL_API_KEY']}"}
    url = f"{HOST}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return response.read().decode()


def ask(question, **more):
    body = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": question}], **more}
    answer = post("/v1/chat/completions", **body)
    return answer if more.get("stream") else json.loads(answer)["choices"][0]["message"]["content"]
"""


@dataclass
class Done:
    """The end of a command."""

    status: int
    output: str

    def __contains__(self, text: str) -> bool:
        return text in self.output

    def outcomes(self) -> dict[str, int]:
        """The numbers in the last line of pytest."""
        last = self.output.strip().splitlines()[-1]
        return {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) (\w+)", last.split(" in ")[0])}


class Project:
    """A folder with tests."""

    def __init__(self, pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = pytester.path
        self.api = api
        self.upstream: str | None = api.url
        self._pytester = pytester
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if _NOT_INHERITED.fullmatch(name)]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(self.folder)]))
        monkeypatch.setenv("MISTRAL_API_KEY", KEY)
        monkeypatch.syspath_prepend(self.folder)
        self.write("ask.py", ASK)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")

    def python(self, *arguments: str, folder: str = ".") -> Done:
        """Runs the interpreter in a process of its own."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder / folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode())

    def options(self, mode: str | None) -> list[str]:
        """The plugin, with the stand-in as the API."""
        plugin = ["-p", "mistral_cassette.plugin", "-p", "no:cacheprovider", f"--rootdir={self.folder}"]
        given = {"mode": mode, "upstream": self.upstream}
        return [*plugin, *(f"--cassette-{name}={value}" for name, value in given.items() if value)]

    def pytest(self, *arguments: str, mode: str | None = "replay", folder: str = ".") -> Done:
        """Runs pytest in this process."""
        self._monkeypatch.chdir(self.folder / folder)
        result = self._pytester.runpytest_inprocess(*self.options(mode), *arguments)
        return Done(int(result.ret), "\n".join([*result.outlines, *result.errlines]))

    def replays(self, *arguments: str) -> Done:
        """Runs pytest in mode strict without the stand-in: everything must be recorded."""
        before = len(self.api.requests)
        done = self.pytest("-v", *arguments, mode="strict")
        assert done.status == 0, done.output
        assert len(self.api.requests) == before
        return done

    def cassettes(self) -> list[str]:
        """The scope and the endpoint of each cassette."""
        root = self.folder / "cassettes"
        return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("*.yaml"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="a skipped test fails the run")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--strict-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.stop()


@pytest.fixture
def project(pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, api, monkeypatch)
