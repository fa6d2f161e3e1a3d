"""The command that the package uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistral_cassette import SetupError, command


def test_the_variable_wins_over_the_installed_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, named = tmp_path / "bin" / command._NAME, tmp_path / "other"
    installed.parent.mkdir()
    installed.touch()
    named.touch()
    monkeypatch.setattr(command, "_script_folders", lambda: [installed.parent])
    monkeypatch.delenv(command.VARIABLE, raising=False)
    assert command.find_command() == installed
    monkeypatch.setenv(command.VARIABLE, str(named))
    assert command.find_command() == named
    monkeypatch.setenv(command.VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(SetupError, match="there is no command"):
        command.find_command()
