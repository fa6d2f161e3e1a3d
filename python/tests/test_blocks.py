"""`use`: with blocks, decorators and unittest."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import unittest
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import mistral_cassette
from conftest import Project
from mistral_cassette import blocks
from mistral_cassette.control import Options, Process
from stand_in import Api


@pytest.fixture
def ask(project: Project) -> Iterator[Ask]:
    yield Ask(project.api)
    while blocks._runtimes:
        blocks._runtimes.popitem()[1].close()


class Ask:
    """Blocks against the stand-in, and a client."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._ask = importlib.import_module("ask").ask

    def __call__(self, question: str) -> str:
        answer = self._ask(question)
        assert isinstance(answer, str)
        return answer

    def use(self, name: str, mode: str = "replay", **options: object) -> mistral_cassette.use:
        return mistral_cassette.use(name, mode=mode, upstream=self.api.url, **options)  # type: ignore[arg-type]


def test_a_block_records_and_replays_and_restores_the_environment(ask: Ask) -> None:
    before = dict(os.environ)
    with ask.use("capital") as session:
        assert ask("Hello") == "Hello!"
        assert session.verdict().outcomes == {"recorded": 1}
    assert dict(os.environ) == before
    with ask.use("capital", "strict") as session, ask.use("other") as inner:
        ask("Hello")
        assert (inner.verdict().outcome, session.verdict().outcome) == ("recorded", "none")
        program = "import ask; ask.HOST = __import__('sys').argv[1]; print(ask.ask('Hello'))"
        by_url = subprocess.check_output([sys.executable, "-c", program, session.base_url], text=True)
        assert by_url == "Hello!\n"
    assert session.verdict().outcome == "replayed"
    assert session.verdict().saved.tokens == 12
    assert len(ask.api.requests) == 2
    assert sorted(path.name for path in Path("cassettes").iterdir()) == ["capital", "other"]


def test_the_end_of_a_block_raises_what_was_missed(ask: Ask) -> None:
    with pytest.raises(mistral_cassette.MissError, match="not recorded: POST /v1/chat") as error:
        with ask.use("capital", "strict"):
            with pytest.raises(OSError, match="424"):
                ask("Hello")
    assert error.value.kind == "miss"
    assert error.value.hint
    with pytest.raises(OSError, match="424") as other, ask.use("capital", "strict"):
        ask("Hello")
    if sys.version_info >= (3, 11):
        assert "not recorded: POST" in other.value.__notes__[0]
    with ask.use("capital", "strict", allow_failures=True) as session, pytest.raises(OSError, match="424"):
        ask("Hello")
    assert session.verdict().outcome == "missed"
    for options in [{"mode": "sometimes"}, {"save": "never"}, {"settings": "none.yaml"}]:
        with pytest.raises(mistral_cassette.CassetteError, match=next(iter(options.values()))):
            ask.use("capital", **options).__enter__()
    with pytest.raises(mistral_cassette.CassetteError, match="invalid scope"):
        ask.use("../capital").__enter__()


def test_asynchronous_blocks_and_decorators(ask: Ask) -> None:
    @ask.use("decorated")
    def decorated() -> str:
        return ask("Hello")

    @ask.use("decorated", "strict")
    async def decorated_async() -> str:
        return await asyncio.to_thread(ask, "Hello")

    async def block() -> str:
        async with ask.use("decorated", "strict"):
            return await asyncio.to_thread(ask, "Hello")

    assert decorated() == decorated() == "Hello!"
    assert asyncio.run(decorated_async()) == asyncio.run(block()) == "Hello!"
    assert len(ask.api.requests) == 1


def test_generators_and_classes_are_not_decorated(ask: Ask) -> None:
    def generator() -> Iterator[str]:
        yield ask("Hello")

    async def asynchronous_generator() -> AsyncIterator[str]:
        yield ask("Hello")

    class Capital:
        pass

    for function in (generator, asynchronous_generator, Capital):
        with pytest.raises(TypeError, match=f"cannot decorate a.*: {function.__name__}\nhint: "):
            ask.use("decorated")(function)
    for name, options in [("", {}), ("capital", {"allow_failures": "no"})]:
        with pytest.raises(TypeError, match="invalid"):
            ask.use(name, **options)


def test_a_killed_command_removes_its_temporary_folder(project: Project) -> None:
    process = Process(Options(upstream=project.api.url))
    folder = Path(process.environment["SSL_CERT_FILE"]).parent
    assert folder.is_dir()
    process.kill()
    assert not folder.exists()


def test_a_block_that_fails_keeps_nothing_with_save_on_success(ask: Ask) -> None:
    with pytest.raises(ZeroDivisionError), ask.use("capital", save="on-success"):
        ask("Hello")
        _ = 1 / 0
    assert not list(Path().rglob("*.yaml"))
    with ask.use("capital", save="on-success"):
        ask("Hello")
    assert len(list(Path().rglob("*.yaml"))) == 1


def test_a_block_injects_faults(ask: Ask) -> None:
    with ask.use("faults"):
        assert ask("Hello") == "Hello!"
    for fault, answer in (("refusal", "I'm sorry, but I can't help with that."), ("length", "Hel"), ("empty", "")):
        with ask.use("faults", "strict", inject=fault) as session:
            assert ask("Hello") == answer
            assert session.verdict().outcomes == {"injected": 1}
    with pytest.raises(mistral_cassette.CassetteError, match="unknown fault"), ask.use("faults", inject="refuse"):
        pass


def test_a_test_case_of_unittest(ask: Ask) -> None:
    class TestCapital(unittest.TestCase):
        mode = "replay"

        def setUp(self) -> None:
            block = ask.use("unittest/" + self.id().rpartition(".")[2], self.mode)
            block.__enter__()
            self.addCleanup(block.__exit__, None, None, None)

        def test_hello(self) -> None:
            assert ask("Hello") == "Hello!"

    test = TestCapital("test_hello")
    assert test.run().wasSuccessful()  # type: ignore[union-attr]
    assert list(Path("cassettes/unittest/test_hello").rglob("*.yaml"))
    TestCapital.mode = "strict"
    assert test.run().wasSuccessful()  # type: ignore[union-attr]
    assert len(ask.api.requests) == 1
