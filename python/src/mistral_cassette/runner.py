"""The sessions of the tests of one process."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import pytest

from .errors import CassetteError, SetupError
from .options import Mark, PluginOptions, missing_key
from .reports import PROPERTY, explain, fail, words_of
from .runtime import Runtime, Session
from .scope import scope_of
from .totals import Totals
from .verdict import Failure, Verdict, error_of

_Node: TypeAlias = pytest.Item | pytest.Collector

# How long a test waits after its call for requests that are in progress. A fixture may keep a stream open, so the
# complete wait is after the teardown.
_WAIT = 0.25


@dataclass(eq=False)
class _Tracked:
    """A session of a test, of the fixtures of a module, a class or the run, or of all tests with one name."""

    session: Session
    name: str
    # Of the session of fixtures: whether it was the current one since the last report.
    is_touched: bool = False
    has_failed: bool = False
    seen: int = 0
    # The mark with its name, if it has one: then it is open until the end of the run.
    mark: Mark | None = None
    # The verdicts of the last report, and of the last one before the running test.
    last: Verdict = field(default_factory=lambda: Verdict("none"))
    before: Verdict = field(default_factory=lambda: Verdict("none"))

    def news(self, verdict: Verdict) -> list[Failure]:
        """The failures since the last report."""
        news = list(verdict.failures[self.seen :])
        self.seen = len(verdict.failures)
        self.last = verdict
        if self.session.allow_failures:
            return []
        self.has_failed = self.has_failed or bool(news)
        return news


class Runner:
    """The hooks that run with the tests."""

    def __init__(self, runtime: Runtime, options: PluginOptions, *, is_worker: bool) -> None:
        """Takes a runtime that is connected. The workers of pytest-xdist cannot end the run."""
        self._is_worker = is_worker
        self.runtime = runtime
        self.options = options
        self.totals = Totals()
        self._active: set[object] = set()
        self._tests: dict[pytest.Item, _Tracked] = {}
        self._tokens: dict[pytest.Item, object] = {}
        self._of_fixtures: dict[_Node, _Tracked] = {}
        self._named: dict[str, _Tracked] = {}
        self._next: pytest.Item | None = None
        self._unmarked = self._open_unmarked()
        self._refused = 0

    def _open_unmarked(self) -> Session | None:
        """The session of tests without the mark: their requests go to the API as without the plugin.

        In mode strict there is none, and they get an error.
        """
        if self.runtime.process.mode == "strict":
            return None
        session = self.runtime.open("unmarked", mode="live")
        self.runtime.enter(session)
        return session

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Allows to replay without a key. Until here, a plugin or a `conftest.py` may have set one."""
        if self.runtime.process.mode == "replay":
            self.runtime.allow_no_key()

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Finds the modules and classes with tests that are recorded, also those that a `conftest.py` has marked.

        Ends a run that cannot record anything, because there is no API key.
        """
        for item in session.items:
            if self._is_active(item):
                self._active.update(item.listchain())
        text = missing_key(self.runtime.process.mode, self.options.process)
        if text and self._active and not self._is_worker:
            _exit(text)

    def _is_active(self, node: _Node) -> bool:
        return self.options.is_auto or node.get_closest_marker("cassette") is not None

    def _open(self, node: _Node) -> _Tracked:
        """Opens the session of a test or of fixtures. If that is impossible, the test fails."""
        try:
            return self._opened(node)
        except SetupError as error:
            text, is_end = str(error), True
        except (CassetteError, TypeError, ValueError) as error:
            text, is_end = str(error), False
        if is_end and not self._is_worker:
            _exit(text)
        pytest.fail(text, pytrace=False)

    def _opened(self, node: _Node) -> _Tracked:
        mark = Mark.of(node) or Mark()
        if mark.name is not None and (named := self._named.get(mark.name)):
            if mark != named.mark:
                raise ValueError(
                    f"the name {mark.name!r} of the mark cassette has other arguments than in {named.name}\n"
                    "hint: use the same arguments, or another name"
                )
            return named
        session = self.runtime.open(
            scope_of(node.nodeid) if mark.name is None else mark.name,
            save=mark.save or self.options.save,
            allow_failures=mark.allow_failures,
            test=node.nodeid or "session",
            mode=mark.mode,
            directory=mark.directory,
            settings=mark.settings,
            pace=mark.pace,
            inject=mark.inject,
        )
        tracked = _Tracked(session, node.nodeid or "session")
        if mark.name is not None:
            tracked.mark = mark
            self._named[mark.name] = tracked
        return tracked

    # It comes after the hook of pytest that skips tests.
    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Starts the session of a test."""
        session = self._unmarked
        if self._is_active(item):
            test = self._tests[item] = self._open(item)
            test.before = test.last
            session = test.session
        self._tokens[item] = self.runtime.enter(session)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Gives the setup and the teardown of a fixture of a module, class or the run the session of that."""
        node = request.node
        if fixturedef.scope == "function" or not (self.options.is_auto or node in self._active):
            return (yield)
        if node not in self._of_fixtures:
            self._of_fixtures[node] = self._open(node)
        tracked = self._of_fixtures[node]
        tokens: list[object] = []

        def enter() -> None:
            tracked.is_touched = True
            tokens.append(self.runtime.enter(tracked.session))

        def leave() -> None:
            if tokens:
                self.runtime.leave(tokens.pop())

        # Finalizers run in reverse order: those of the fixture itself are between the two.
        fixturedef.addfinalizer(leave)
        enter()
        try:
            return (yield)
        except pytest.skip.Exception:
            raise
        except BaseException:
            tracked.has_failed = True
            raise
        finally:
            leave()
            fixturedef.addfinalizer(enter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """Notes which sessions of fixtures end with this test."""
        self._next = nextitem

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Adds the verdict to the report of each phase of a test."""
        report = yield
        try:
            failures = self._judge(item, call.when, report)
        except SetupError as error:
            if not self._is_worker:
                _exit(str(error))
            failures = [Failure(error.kind, str(error))]
        if failures:
            fail(report, error_of(failures))
        elif report.failed and item not in self._active and self._has_refused():
            explain(report, "requests outside of tests with the mark `cassette` are refused in mode strict")
        return report

    def _has_refused(self) -> bool:
        """Whether a request was refused since the last call."""
        before, self._refused = self._refused, self.runtime.refused()
        return self._refused > before

    def _judge(self, item: pytest.Item, when: str, report: pytest.TestReport) -> list[Failure]:
        """The failures of a phase."""
        failures: list[Failure] = []
        touched = [tracked for tracked in self._of_fixtures.values() if tracked.is_touched]
        for tracked in touched:
            tracked.is_touched = False
            # In the set-up, another fixture may have failed.
            tracked.has_failed = tracked.has_failed or (report.failed and when == "teardown")
            failures += tracked.news(tracked.session.verdict(wait=_WAIT))
        if test := self._tests.get(item):
            test.has_failed = test.has_failed or report.failed
            if when == "teardown":
                failures += self._end(item, test, report)
            elif when == "call" or not report.passed:
                verdict = test.session.verdict(wait=_WAIT)
                failures += test.news(verdict)
                _add_property(report, test)
        if when == "teardown":
            if item in self._tokens:
                self.runtime.leave(self._tokens.pop(item))
            failures += self._end_fixtures()
        return failures

    def _end(self, item: pytest.Item, test: _Tracked, report: pytest.TestReport) -> list[Failure]:
        """Closes the session of a test, if no other test can have it."""
        del self._tests[item]
        if test.mark is None:
            news = self._close(test)
        else:
            is_of_fixtures = test in self._of_fixtures.values()
            news = test.news(test.session.verdict(wait=_WAIT) if is_of_fixtures else test.session.verdict())
        _add_property(report, test)
        return news

    def _close(self, tracked: _Tracked) -> list[Failure]:
        """Closes a session, and returns the failures since the last report."""
        session = tracked.session
        verdict = session.close(success=not tracked.has_failed)
        news = tracked.news(verdict)
        self.totals.add_verdict(tracked.name, verdict, has_passed=not tracked.has_failed, discarded=session.discarded)
        return news

    def _end_fixtures(self) -> list[Failure]:
        """Closes the sessions of fixtures that the next test does not need."""
        needed = set(self._next.listchain()) if self._next is not None else set()
        failures: list[Failure] = []
        for node in [node for node in self._of_fixtures if node not in needed]:
            tracked = self._of_fixtures.pop(node)
            if tracked.mark is None:
                failures += self._close(tracked)
        while self._next is None and self._named:
            failures += self._close(self._named.popitem()[1])
        return failures

    def finish(self) -> Totals:
        """Returns the totals at the end of the run."""
        try:
            # A run that was ended early.
            while self._named:
                self._close(self._named.popitem()[1])
            if self._unmarked is not None:
                self.totals.unmarked = len(self._unmarked.verdict(wait=_WAIT).requests)
            self.totals.refused = self.runtime.refused()
            self.totals.warnings = self.runtime.process.warnings().splitlines()
        except CassetteError as error:
            self.totals.warnings.append(str(error))
        return self.totals

    @pytest.fixture
    def cassette_session(self, request: pytest.FixtureRequest) -> Session:
        """The session of this test, with its base URL."""
        if test := self._tests.get(request.node):
            return test.session
        pytest.fail("the fixture cassette_session needs a test with the mark `cassette`", pytrace=False)


def _exit(text: str) -> NoReturn:
    """Ends the run."""
    pytest.exit(f"mistral-cassette: {text}", returncode=int(pytest.ExitCode.USAGE_ERROR))


def _add_property(report: pytest.TestReport, test: _Tracked) -> None:
    is_kept = not (test.session.saves_on_success and test.has_failed)
    if words := words_of(test.last.since(test.before), is_kept=is_kept):
        report.user_properties.append((PROPERTY, words))
