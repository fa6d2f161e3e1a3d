"""What happened in a test run, and its lines in the summary of pytest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from .bypass import is_provider
from .verdict import Saved, Verdict, in_words

# How many lines of a kind are shown.
_SHOWN = 5


@dataclass
class Totals:
    """Sums over all sessions; those of several processes can be added."""

    outcomes: Counter[str] = field(default_factory=Counter)
    saved: Saved = field(default_factory=Saved)
    not_recorded: list[str] = field(default_factory=list)
    not_kept: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    unmarked: int = 0
    refused: int = 0
    warnings: list[str] = field(default_factory=list)

    def add_verdict(self, name: str, verdict: Verdict, *, has_passed: bool, discarded: int) -> None:
        """Adds the final verdict of a test or fixture."""
        self.outcomes += verdict.outcomes
        self.saved += verdict.saved
        for request in verdict.requests:
            if request.outcome == "not_recorded":
                detail = f" ({request.detail})" if request.detail else ""
                self.not_recorded.append(f"{name}: {request.method} {request.path}{detail}")
        if discarded:
            self.not_kept.append(f"{name}: {discarded}")
        if has_passed and verdict.requests and not verdict.failures:
            self.unused += verdict.unused
        self.live += [f"{name}: {host}" for host in live_hosts(verdict)]

    def add(self, other: Totals) -> None:
        """Adds those of another process."""
        self.outcomes += other.outcomes
        self.saved += other.saved
        self.unmarked += other.unmarked
        self.refused += other.refused
        for name in ("not_recorded", "not_kept", "unused", "live", "warnings"):
            getattr(self, name).extend(getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, to send them to another process."""
        return {**asdict(self), "outcomes": dict(self.outcomes)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Totals:
        """Reads what `to_json` has returned."""
        return cls(**{**values, "outcomes": Counter(values["outcomes"]), "saved": Saved(**values["saved"])})

    def lines(self) -> Iterator[str]:
        """The lines of the summary; none if there was nothing to do."""
        if words := in_words(self.outcomes):
            yield f"{words}{_in_words(self.saved)}"
        yield from _some("not recorded, so mode strict will miss it", self.not_recorded)
        yield from _some("recorded and not kept, because a test failed", self.not_kept)
        yield from _some("went to an API and was not recorded", self.live)
        yield from _some("a cassette was not used", self.unused)
        if self.unmarked:
            yield f"requests outside of tests with the mark `cassette` went to the API: {self.unmarked}"
        if self.refused:
            yield f"requests outside of tests with the mark `cassette` were refused: {self.refused}"
        # Those of `not_recorded` are above.
        yield from _some("", [line for line in self.warnings if "not recorded: " not in line])


def live_hosts(verdict: Verdict) -> list[str]:
    """The hosts of model providers to which connections went that are not intercepted."""
    return [connection.host for connection in verdict.live if connection.opened and is_provider(connection.host)]


def _in_words(saved: Saved) -> str:
    """For example `; saved 120 tokens, $0.0012, 3.2 s`."""
    parts = [f"{saved.tokens} tokens"] if saved.tokens else []
    if saved.dollars:
        parts.append(f"${saved.dollars:.2f}" if saved.dollars >= 1 else f"${Decimal(f'{saved.dollars:.2g}'):f}")
    if saved.milliseconds:
        parts.append(f"{saved.milliseconds / 1000:.1f} s")
    return f"; saved {', '.join(parts)}" if parts else ""


def _some(what: str, lines: list[str]) -> Iterator[str]:
    """The first of some lines, and how many there are."""
    lines = list(dict.fromkeys(lines))
    before = f"{what}: " if what else ""
    for line in lines[:_SHOWN]:
        yield before + line
    if len(lines) > _SHOWN:
        yield f"{before}{len(lines) - _SHOWN} more"
