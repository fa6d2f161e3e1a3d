"""The scopes of tests."""

from __future__ import annotations

import re

import pytest

from mistral_cassette import scope_of

LONG = "x" * 150


@pytest.mark.parametrize(
    ("node_id", "scope"),
    [
        ("tests/test_chat.py::test_x", "tests/test_chat/test_x"),
        ("tests/test_chat.py::TestA::test_x", "tests/test_chat/TestA/test_x"),
        ("tests/test_chat.py::TestA::TestB::test_x[case]", "tests/test_chat/TestA/TestB/test_x-case"),
        ("tests/test_chat.py::test_x[1.5-two]", "tests/test_chat/test_x-1.5-two"),
        ("test_a.py::test_x", "test_a/test_x"),
        ("tests\\unit\\test_chat.py::test_x", "tests/unit/test_chat/test_x"),
        ("tests/test_chat.py::test_x[case]@group", "tests/test_chat/test_x-case"),
        ("tests/test_chat.py::test_x@group", "tests/test_chat/test_x"),
        ("tests/test_chat.py", "tests/test_chat"),
        ("tests/test_chat.py::TestA", "tests/test_chat/TestA"),
        ("tests/unit/__init__.py", "tests/unit"),
        ("tests/unit", "tests/unit"),
        ("", "session"),
        (".", "session"),
    ],
)
def test_the_scope_is_the_node_id_with_folders(node_id: str, scope: str) -> None:
    assert scope_of(node_id) == scope


@pytest.mark.parametrize(
    ("node_id", "words"),
    [
        ("t.py::test_x[Paris]", "t/test_x-Paris"),
        ("t.py::test_x[What is it?]", "t/test_x-What-is-it"),
        ("t.py::test_x[a/b::c]", "t/test_x-a-b-c"),
        ("t.py::test_größe", "t/test_groe"),
        ("t.py::test_x[\\u98a8]", "t/test_x-u98a8"),
        ("t.py::test_x[]", "t/test_x"),
        ("t.py::test_x[a.]", "t/test_x-a"),
        ("t.py::風", "t/"),
        ("my tests/t.py::test_x", "my-tests"),
        ("../t.py::test_x", ""),
        ("con/t.py::test_x", "con"),
        ("bodies/t.py::test_x", "bodies"),
        ("a.yaml::one", "a-yaml"),
        (f"t.py::test_{LONG}", "t/test_xxx"),
        (f"t.py::test_x[{LONG}]", "t/test_x-xxx"),
        ("session", "session"),
    ],
)
def test_digits_follow_where_characters_are_lost(node_id: str, words: str) -> None:
    scope = scope_of(node_id)
    assert re.match(rf"{re.escape(words)}.*[0-9a-f]{{10}}(/|$)", scope), scope


PARTS = [
    "a",
    "A",
    "a.py",
    "A.py",
    "a.b.py",
    "a.b",
    "B",
    "a-b",
    "a b",
    "a_b",
    "é",
    "e\u0301x",
    "con",
    "..",
    "0123456789",
]
PARAMETERS = ["", "[]", "[a]", "[A]", "[a-b]", "[a b]", "[a::b]", "[a[b]]", "[a-0123456789]", "[é]", "[e]", "[风]"]
DEEP = "/".join(["folder_of_tests"] * 15)


def ids() -> list[str]:
    """Node ids that are alike."""
    paths = [*PARTS, *(f"{folder}/{file}" for folder in PARTS for file in PARTS), f"{DEEP}/a.py", f"{DEEP}/b/a.py"]
    classes = ["", "A::", "a::", "B::A::", "A::b::"]
    return [f"{path}::{name}test{parameters}" for path in paths for name in classes for parameters in PARAMETERS]


def test_no_two_tests_have_the_same_scope() -> None:
    scopes: dict[str, str] = {}
    for node_id in ids():
        scope = scope_of(node_id)
        assert scope not in scopes, (node_id, scopes[scope], scope)
        scopes[scope] = node_id
    parameters = {scope_of(f"t.py::test{parameters}").lower() for parameters in PARAMETERS}
    assert len(parameters) == len(PARAMETERS)


def test_every_scope_is_a_valid_one() -> None:
    long = [f"{DEEP}/a.py::A::test[{LONG}]", f"{LONG}/{LONG}.py::{LONG}::test", "\ud800.py::x"]
    for node_id in [*ids(), *long]:
        scope = scope_of(node_id)
        assert len(scope) <= 200, scope
        for folder in scope.split("/"):
            assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", folder), scope
            assert not folder.endswith((".", ".yaml")), scope
            assert folder.lower() not in ("bodies", "con"), scope
