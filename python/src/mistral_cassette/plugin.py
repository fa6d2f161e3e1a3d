"""The plugin for pytest: docs/python.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import pytest

from . import blocks
from .environment import is_under_run
from .errors import SetupError
from .options import MARK_HELP, PluginOptions, add_options, missing_key
from .reports import with_verdict
from .runner import Runner
from .runtime import Runtime
from .totals import Totals

_UNDER_RUN = "off under `mistral-cassette run`, which does not find its recordings: start pytest directly"
_PLUGIN = "mistral_cassette_run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Starts the command before a `conftest.py` or a test can make a client."""
    _start(early_config, early_config.known_args_namespace)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Starts the command if the plugin was loaded by a `conftest.py`."""
    config.addinivalue_line("markers", MARK_HELP)
    _start(config, config.option)


def _start(config: pytest.Config, given: Any) -> None:
    if config.pluginmanager.has_plugin(_PLUGIN) or given.help or given.version:
        return
    if is_under_run():
        run = Run(_UNDER_RUN)
    else:
        options = PluginOptions.of(config, given)
        try:
            runtime = Runtime(options.process, config.rootpath)
        except SetupError as error:
            raise pytest.UsageError(f"mistral-cassette: {error}") from None
        run = _run(config, runtime, options, is_controller=_is_controller(given))
    config.pluginmanager.register(run, _PLUGIN)


def _is_controller(given: Any) -> bool:
    """Whether the tests run in workers of pytest-xdist."""
    if _is_worker() or getattr(given, "usepdb", False):
        return False
    distributes = getattr(given, "tx", None) and getattr(given, "dist", "no") != "no"
    return bool(getattr(given, "numprocesses", None) or distributes)


def _is_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _run(config: pytest.Config, runtime: Runtime, options: PluginOptions, *, is_controller: bool) -> Run:
    process = runtime.process
    directory = options.process.directory or "cassettes"
    header = f"{process.version}, mode {process.mode}, cassettes in {directory}"
    if is_controller:
        # Each worker has its own process. This one has only shown that it starts.
        runtime.close()
        return Run(header, error=lambda: missing_key(process.mode, options.process))
    runtime.connect()
    blocks.plugin_runtime = runtime
    runner = Runner(runtime, options, is_worker=_is_worker())
    config.pluginmanager.register(runner)
    return Run(header, runner)


class Run:
    """The hooks of a run, in a worker, in the controller of workers, or in the only process."""

    def __init__(
        self, header: str, runner: Runner | None = None, error: Callable[[], str | None] = lambda: None
    ) -> None:
        """Takes the line for the header, the tests of this process, and what finds an error of the set-up."""
        self._error = error
        self._header = header
        self._runner = runner
        self._totals = Totals()
        self._has_ended = False
        self._is_interrupted = False

    def pytest_sessionstart(self) -> None:
        """Ends the run before workers start, if it cannot succeed."""
        if text := self._error():
            raise pytest.UsageError(f"mistral-cassette: {text}")

    def pytest_report_header(self) -> str:
        """Names the mode."""
        return f"mistral-cassette: {self._header}"

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """Shows the verdict of a test with `-v`, but not in the list of failures."""
        status = yield
        return status if self._has_ended else with_verdict(report, status)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Collects the totals; a worker sends them to its controller."""
        if self._runner is None:
            return
        self._totals = self._runner.finish()
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output[_PLUGIN] = self._totals.to_json()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Adds the totals of a worker of pytest-xdist."""
        if totals := getattr(node, "workeroutput", {}).get(_PLUGIN):
            self._totals.add(Totals.from_json(totals))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Prints the totals."""
        self._has_ended = True
        for line in self._totals.lines():
            terminalreporter.write_line(f"mistral-cassette: {line}")

    def pytest_keyboard_interrupt(self) -> None:
        """Does not wait for requests that are in progress."""
        self._is_interrupted = True

    def pytest_unconfigure(self) -> None:
        """Ends the process."""
        if self._runner is not None:
            runtime, self._runner = self._runner.runtime, None
            blocks.plugin_runtime = None
            runtime.disconnect()
            if self._is_interrupted:
                runtime.process.kill()
            else:
                runtime.close()
