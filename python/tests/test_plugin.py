"""The plugin for pytest."""

from __future__ import annotations

from conftest import Project


def test_a_marked_test_is_recorded_and_replayed_without_the_api(project: Project) -> None:
    project.write(
        "tests/test_chat.py",
        """
        import pytest
        from ask import ask, post

        @pytest.mark.cassette
        def test_x():
            assert ask("Hello") == "Hello!"
            assert "data:" in ask("Hello", stream=True)

        class TestA:
            @pytest.mark.cassette
            @pytest.mark.parametrize("case", ["one", "Two"])
            def test_x(self, case):
                assert post("/v1/embeddings", input=[case])
        """,
    )
    recorded = project.pytest("-v")
    print(recorded.output)
    assert recorded.outcomes() == {"passed": 3}
    replayed = project.pytest("-v", mode="strict")
    print(replayed.output)
    assert 0
