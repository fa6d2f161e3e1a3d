"""The scope of a test: the folder of its cassettes, from its node id in pytest."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator

# What a scope may be: `Scope::new` in src/key/scope.rs.
_LONGEST_SCOPE = 200
_LONGEST_FOLDER = 100
_RESERVED = re.compile(r"(bodies|.*\.yaml|(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?)", re.IGNORECASE)
_PORTABLE = re.compile(r"[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?")

_DIGITS = 10
_ENDS_IN_DIGITS = re.compile(rf"(^|.*-)[0-9a-f]{{{_DIGITS}}}")

# The scope of fixtures of the session.
_SESSION = "session"

# What pytest-xdist appends with `--dist loadgroup`.
_GROUP = re.compile(r"(?P<name>[^\[\]@]+(\[.*\])?)@[^\[\]]*")


def scope_of(node_id: str) -> str:
    """Returns the scope of a test, class, module or package from its node id.

    The scope is the node id with a folder for each of its parts:
    `tests/test_chat.py::TestA::test_x[case]` is in `tests/test_chat/TestA/test_x-case`. It depends only on the
    node id, and two tests never have the same scope: where a character is lost, ten digits of a hash follow. So
    they do after parameters with upper-case letters, because some file systems ignore case.

    Args:
        node_id: the node id of pytest, which is relative to the root directory; empty for the session.
    """
    node_id = unicodedata.normalize("NFC", node_id)
    path, _, names = node_id.partition("::")
    path = path.replace("\\", "/")
    folders = [*_path_folders(path, is_file=bool(names)), *_name_folders(names)]
    if not folders:
        return _SESSION
    if folders == [_SESSION]:
        return _with_digits(_SESSION, node_id)
    return _shortened(folders, f"{path}::{names}")


def _path_folders(path: str, *, is_file: bool) -> Iterator[str]:
    """A folder for each folder of a path, and one for the file."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if parts and parts[-1] == "__init__.py":
        parts.pop()
    for index, part in enumerate(parts):
        is_last = index + 1 == len(parts)
        stem = part.removesuffix(".py") if is_last else part
        # A stem with an upper-case letter first could be a class, and one with a dot a file of another kind.
        of_python = stem != part
        is_clear = not ("." in stem or stem[:1].isupper()) if of_python else "." in part or not (is_file and is_last)
        yield _folder(stem, part if is_last else f"{part}/", is_clear=is_clear)


def _name_folders(names: str) -> Iterator[str]:
    """A folder for each class, and one for the test with its parameters."""
    if not names:
        return
    names, bracket, parameters = names.partition("[")
    *classes, test = names.split("::")
    for name in classes:
        # Otherwise it could be a module in a folder that is called like this module.
        yield _folder(name, f"::{name}", is_clear=name[:1].isupper() and "-" not in name)
    whole = test + bracket + parameters
    if group := _GROUP.fullmatch(whole):
        whole = group["name"]
        test, bracket, parameters = whole.partition("[")
    is_clear = "-" not in test
    if bracket:
        parameters = parameters.removesuffix("]")
        is_clear = is_clear and whole.endswith("]") and parameters != "" and parameters == parameters.lower()
    yield _folder("-".join(filter(None, [test, parameters])), whole, is_clear=is_clear)


def _folder(name: str, whole: str, *, is_clear: bool) -> str:
    """A folder name. It is the name itself if that is allowed and is not the name of something else."""
    is_allowed = _PORTABLE.fullmatch(name) and not _RESERVED.fullmatch(name) and len(name) <= _LONGEST_FOLDER
    if is_clear and is_allowed and not _ENDS_IN_DIGITS.fullmatch(name):
        return name
    return _with_digits(name, whole)


def _with_digits(name: str, whole: str, longest: int = _LONGEST_FOLDER) -> str:
    """The readable part of a name, and digits of a hash of all of it."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # Windows reserves some names with any extension, so there is none.
    words = re.sub(r"[^A-Za-z0-9_]+", "-", letters).strip("-")[: longest - _DIGITS - 1].rstrip("-")
    digits = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{words}-{digits}" if words else digits


def _shortened(folders: list[str], node_id: str) -> str:
    """The folders as a scope. If it is too long, those in the middle are left out."""
    scope = "/".join(folders)
    if len(scope) <= _LONGEST_SCOPE:
        return scope
    last = _with_digits(folders[-1], node_id, longest=80)
    kept: list[str] = []
    for folder in folders[:-1]:
        if len("/".join([*kept, folder, last])) > _LONGEST_SCOPE:
            break
        kept.append(folder)
    return "/".join([*kept, last])
