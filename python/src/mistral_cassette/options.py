"""The options of the plugin: command line, ini file, and the mark of a test."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import pytest

from .control import Options
from .environment import API_KEY
from .runtime import SAVE, check_members

MARK = "cassette"

MARK_HELP = (
    "cassette(name, mode, directory, settings, save, pace, inject, allow_failures): record or replay the requests of "
    "this test to the Mistral API"
)

_MODE_VARIABLE = "MISTRAL_CASSETTE_MODE"


def add_options(parser: pytest.Parser) -> None:
    """Adds the options to the command line, and the same ones to the ini file."""
    group = parser.getgroup("mistral-cassette", "recorded calls of the Mistral API")
    texts = {
        "mode": "record, replay, strict or live",
        "dir": "the cassette directory, cassettes by default",
        "upstream": "the URL of the real API",
    }
    for name, text in texts.items():
        group.addoption(f"--cassette-{name}", metavar=name.upper(), help=text)
        parser.addini(f"cassette_{name}", text, default=None)
    save = "save recordings always, or only on success of their test"
    group.addoption("--cassette-save", choices=list(SAVE), help=save)
    parser.addini("cassette_save", save, default=None)
    block = "refuse connections to hosts that are not intercepted"
    group.addoption("--cassette-block-network", action="store_true", default=None, help=block)
    parser.addini("cassette_block_network", block, type="bool", default=False)
    intercept = "intercept another host, too"
    group.addoption("--cassette-intercept", metavar="HOST[=URL]", action="append", default=[], help=intercept)
    parser.addini("cassette_intercept", intercept, type="linelist", default=[])
    parser.addini(
        "cassette_auto", "record or replay all tests, not only those with the mark", type="bool", default=False
    )
    parser.addini("cassette_arguments", "more options of mistral-cassette proxy", type="args", default=[])


@dataclass(frozen=True)
class PluginOptions:
    """The options of a run."""

    process: Options
    save: str
    is_auto: bool

    @classmethod
    def of(cls, config: pytest.Config, given: Any) -> PluginOptions:
        """Reads them: the command line overrides the ini file.

        Args:
            config: the configuration.
            given: the options of the command line.
        """

        def value(name: str) -> Any:
            on_line = getattr(given, f"cassette_{name}", None)
            return on_line if on_line is not None else config.getini(f"cassette_{name}") or None

        mode = value("mode")
        if given.cassette_mode is None and os.environ.get(_MODE_VARIABLE):
            # The command reads it.
            mode = None
        save = value("save") or "always"
        if save not in SAVE:
            raise pytest.UsageError(f"invalid cassette_save: {save!r}\nhint: use one of {', '.join(SAVE)}")
        process = Options(
            mode=mode,
            directory=value("dir"),
            upstream=value("upstream"),
            intercept=(*config.getini("cassette_intercept"), *given.cassette_intercept),
            block_network=bool(value("block_network")),
            arguments=tuple(config.getini("cassette_arguments")),
        )
        return cls(process, save, bool(config.getini("cassette_auto")))


def missing_key(mode: str, options: Options) -> str | None:
    """Returns an error if nothing can be recorded because there is no API key."""
    # Another upstream, for example on this machine, may need none.
    if mode not in ("record", "live") or options.upstream is not None or os.environ.get(API_KEY):
        return None
    return f"mode {mode} needs an API key\nhint: set {API_KEY}, or replay with --cassette-mode=strict"


@dataclass(frozen=True)
class Mark:
    """The arguments of `@pytest.mark.cassette`; those of a test override those of its class and module."""

    name: str | None = None
    mode: str | None = None
    directory: str | os.PathLike[str] | None = None
    settings: str | os.PathLike[str] | None = None
    save: str | None = None
    pace: str | None = None
    inject: str | None = None
    allow_failures: bool = False

    @classmethod
    def of(cls, node: pytest.Item | pytest.Collector) -> Mark | None:
        """Reads the marks of a test or collector.

        Raises:
            ValueError: an argument is unknown.
            TypeError: an argument has a wrong type.
        """
        marks = list(node.iter_markers(MARK))
        arguments: dict[str, Any] = {}
        for mark in reversed(marks):
            if len(mark.args) > 1:
                raise ValueError(f"the mark {MARK} takes only the name without a keyword")
            arguments.update({"name": mark.args[0]} if mark.args else {})
            arguments.update(mark.kwargs)
        known = [field.name for field in fields(cls)]
        if unknown := sorted(arguments.keys() - set(known)):
            raise ValueError(
                f"unknown argument of the mark {MARK}: {', '.join(unknown)}\nhint: it takes {', '.join(known)}"
            )
        if not marks:
            return None
        found = cls(**arguments)
        check_members("default" if found.name is None else found.name, found.allow_failures)
        for path in (found.directory, found.settings):
            if path is not None:
                os.fspath(path)
        return found
