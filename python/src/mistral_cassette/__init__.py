"""Record and replay Mistral API calls: the plugin for pytest, and `use` for everything else."""

from .blocks import use
from .command import find_command
from .errors import CassetteError, MissError, SetupError
from .runtime import Session
from .scope import scope_of
from .verdict import Connection, Failure, Request, Saved, Verdict

__all__ = [
    "CassetteError",
    "Connection",
    "Failure",
    "MissError",
    "Request",
    "Saved",
    "Session",
    "SetupError",
    "Verdict",
    "find_command",
    "scope_of",
    "use",
]
