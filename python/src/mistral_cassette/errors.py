"""The errors of this package."""

from __future__ import annotations


class CassetteError(Exception):
    """A session failed: a request failed, or a response was refused. Also the base class of all errors here.

    Attributes:
        kind: the kind of the error, for example `miss` or `settings`.
        hint: what to do, if that is known.
    """

    def __init__(self, text: str, *, kind: str = "internal", hint: str | None = None) -> None:
        """Creates an error with its complete text."""
        super().__init__(text)
        self.kind = kind
        self.hint = hint


class MissError(CassetteError):
    """A request is not recorded, and the mode does not allow to send it."""


class SetupError(CassetteError):
    """The command is missing, too old, or does not start with these options."""


# The names under which they are shown and imported.
for _error in (CassetteError, MissError, SetupError):
    _error.__module__ = "mistral_cassette"
