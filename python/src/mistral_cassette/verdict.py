"""What happened in a session, as the command says it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import CassetteError, MissError

# Outcomes of requests in the order in which they are named, and their words.
_WORDS = {
    "replayed": "replayed",
    "recorded": "recorded",
    "not_recorded": "not recorded",
    "passed_on": "live",
    "injected": "injected",
    "missed": "missed",
    "failed": "failed",
}


@dataclass(frozen=True)
class Failure:
    """A request that was not recorded, or failed. `text` is all of the message."""

    kind: str
    text: str
    hint: str | None = None

    def error(self) -> CassetteError:
        """Returns it as an exception."""
        of_kind = MissError if self.kind == "miss" else CassetteError
        return of_kind(self.text, kind=self.kind, hint=self.hint)


@dataclass(frozen=True)
class Request:
    """A request, and where its response came from: `outcome` is one of those in docs/control.md."""

    method: str
    path: str
    outcome: str
    status: int | None = None
    milliseconds: int | None = None
    detail: str | None = None
    cassette: str | None = None


@dataclass(frozen=True)
class Connection:
    """Connections to a host that is not intercepted."""

    host: str
    opened: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Saved:
    """What the replayed responses have used when they were recorded."""

    tokens: int = 0
    milliseconds: int = 0
    dollars: float = 0.0

    def __add__(self, other: Saved) -> Saved:
        """Returns the sum."""
        return Saved(
            self.tokens + other.tokens,
            self.milliseconds + other.milliseconds,
            self.dollars + other.dollars,
        )


@dataclass(frozen=True)
class Verdict:
    """What happened in a session since it was opened.

    Attributes:
        outcome: `none`, `replayed`, `recorded`, `partial`, `not_recorded`, `missed` or `failed`.
        failures: the errors, also those that the code under test has ignored.
        unused: the cassettes of the scope that no request has used.
        live: the connections to hosts that are not intercepted.
    """

    outcome: str
    failures: tuple[Failure, ...] = ()
    requests: tuple[Request, ...] = ()
    unused: tuple[str, ...] = ()
    live: tuple[Connection, ...] = ()
    saved: Saved = Saved()

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Verdict:
        """Reads the answer of the command."""
        return cls(
            outcome=answer["outcome"],
            failures=tuple(_members(Failure, failure) for failure in answer.get("failures", [])),
            requests=tuple(_members(Request, request) for request in answer.get("requests", [])),
            unused=tuple(answer.get("unused", [])),
            live=tuple(_members(Connection, connection) for connection in answer.get("live", [])),
            saved=_members(Saved, answer.get("saved", {})),
        )

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests have each outcome."""
        return Counter(request.outcome for request in self.requests)

    def since(self, before: Verdict) -> Verdict:
        """Returns this one with only those requests and connections that are not in an earlier one."""
        live = tuple(connection for connection in self.live if connection not in before.live)
        return dataclasses.replace(self, requests=self.requests[len(before.requests) :], live=live)

    def raise_for_failures(self) -> None:
        """Raises the first failure, with the texts of all of them.

        Raises:
            MissError: a request was not recorded, and not sent.
            CassetteError: a request failed, or its response was refused.
        """
        if self.failures:
            raise error_of(self.failures)


def error_of(failures: tuple[Failure, ...] | list[Failure]) -> CassetteError:
    """Returns one exception for some failures, at least one."""
    text = "\n\n".join(dict.fromkeys(failure.text for failure in failures))
    misses = [failure for failure in failures if failure.kind == "miss"]
    first = (misses or list(failures))[0]
    return Failure(first.kind, text, first.hint).error()


def in_words(outcomes: Mapping[str, int]) -> str:
    """Returns for example `replayed 2, recorded 1`; empty if there was no request."""
    named = [f"{words} {outcomes[outcome]}" for outcome, words in _WORDS.items() if outcomes.get(outcome)]
    return ", ".join(named)


def _members(of: type[Any], answer: Mapping[str, Any]) -> Any:
    """An object from the members that this version knows."""
    return of(**{name: answer[name] for name in of.__dataclass_fields__ if name in answer})
