"""Finds the command `mistral-cassette`."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from .errors import SetupError

VARIABLE = "MISTRAL_CASSETTE_COMMAND"

_NAME = "mistral-cassette.exe" if os.name == "nt" else "mistral-cassette"


def find_command() -> Path:
    """Returns the path of the command.

    The first of these: the one in the variable `MISTRAL_CASSETTE_COMMAND`, the one that was installed
    with this package, the one in `PATH`.

    Raises:
        SetupError: there is none.
    """
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_file():
            raise SetupError(f"there is no command: {named} ({VARIABLE})", kind="settings")
        return Path(named)
    for folder in _script_folders():
        if (folder / _NAME).is_file():
            return folder / _NAME
    if found := shutil.which("mistral-cassette"):
        return Path(found)
    hint = f"install the package mistral-cassette again, or set {VARIABLE} to the path of the command"
    raise SetupError(f"the command mistral-cassette was not found\nhint: {hint}", kind="settings", hint=hint)


def _script_folders() -> list[Path]:
    """Where installers put the commands of packages: of this environment, and of the user."""
    schemes = [sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")]
    folders = [Path(sysconfig.get_path("scripts", scheme)) for scheme in schemes]
    folders.insert(1, Path(sys.executable).parent)
    return list(dict.fromkeys(folders))
