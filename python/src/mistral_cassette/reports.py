"""Changes the reports of pytest: verdicts of tests, and failures that the test has ignored."""

from __future__ import annotations

from typing import Any

import pytest

from .errors import CassetteError
from .totals import live_hosts
from .verdict import Verdict, in_words

# The name of the verdict in the properties of a report, which are in the JUnit file, too.
PROPERTY = "mistral_cassette"

_SECTION = "mistral-cassette"


def words_of(verdict: Verdict, *, is_kept: bool) -> str:
    """The verdict of a test in a few words; empty if it made no request."""
    words = [in_words(verdict.outcomes)]
    words += [f"live {host}" for host in live_hosts(verdict)]
    if verdict.outcomes["recorded"] and not is_kept:
        words.append("not kept")
    return ", ".join(filter(None, words))


def fail(report: pytest.TestReport, error: CassetteError) -> None:
    """Makes a report fail with an error, also if the test is expected to fail. A failed one gets a section more."""
    if report.outcome != "failed" or report.longrepr is None:
        report.outcome = "failed"
        report.longrepr = _representation(error)
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        return
    explain(report, str(error))


def explain(report: pytest.TestReport, text: str) -> None:
    """Adds a section to the report of a test that has failed."""
    longrepr: Any = report.longrepr
    if hasattr(longrepr, "addsection"):
        # `--show-capture` does not hide it.
        longrepr.addsection(_SECTION, text)
    else:
        report.sections.append((_SECTION, text))


def _representation(error: CassetteError) -> Any:
    """The text of an error without a traceback."""
    try:
        raise error
    except CassetteError:
        return pytest.ExceptionInfo.from_current().getrepr(style="value")


def with_verdict(report: Any, status: Any) -> Any:
    """Adds the verdict of a test to the word that `-v` shows."""
    words = dict(getattr(report, "user_properties", [])).get(PROPERTY)
    category, letter, word = status
    if not words or not word or report.when == "teardown":
        return status
    if isinstance(word, tuple):
        return category, letter, (f"{word[0]} [{words}]", *word[1:])
    return category, letter, f"{word} [{words}]"
