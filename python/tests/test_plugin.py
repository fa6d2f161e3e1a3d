"""The plugin for pytest: recording, replay, scopes and verdicts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import VERSION, Project

CHAT = """
    import os
    import subprocess
    import sys

    import pytest
    from ask import ask, post

    AT_IMPORT = (os.environ["HTTPS_PROXY"], __import__("ssl").create_default_context())

    @pytest.mark.cassette
    def test_x():
        assert ask("Hello") == "Hello!"
        assert "data:" in ask("Hello", stream=True)

    class TestA:
        @pytest.mark.cassette
        @pytest.mark.parametrize("case", ["one", "Two"])
        def test_x(self, case):
            assert post("/v1/embeddings", input=[case])

    @pytest.mark.cassette("named/scope", directory="other")
    def test_named():
        ask("Hello")

    @pytest.mark.cassette
    def test_child():
        program = "from ask import ask; print(ask('A child'))"
        assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "A child!"

    def test_without_requests():
        pass
"""


def test_marked_tests_are_recorded_and_replayed_without_the_api(project: Project) -> None:
    project.write("tests/test_chat.py", CHAT)
    recorded = project.pytest("-v")
    assert recorded.outcomes() == {"passed": 6}
    assert f"mistral-cassette: {VERSION}, mode replay, cassettes in cassettes" in recorded
    assert "tests/test_chat.py::test_x PASSED [recorded 2]" in recorded
    assert "mistral-cassette: recorded 6" in recorded
    scope = "tests/test_chat"
    assert project.cassettes() == [
        f"{scope}/TestA/test_x-Two-c6dfd9193d/embeddings",
        f"{scope}/TestA/test_x-one/embeddings",
        f"{scope}/test_child/chat-completions",
        *[f"{scope}/test_x/chat-completions"] * 2,
    ]
    assert (project.folder / "other/named/scope/chat-completions").is_dir()

    replayed = project.replays(f"--junitxml={project.folder}/junit.xml")
    assert "tests/test_chat.py::test_x PASSED [replayed 2]" in replayed
    assert "test_without_requests PASSED  " in replayed
    assert "mistral-cassette: replayed 6; saved 72 tokens, $" in replayed
    properties = ElementTree.parse(project.folder / "junit.xml").iter("property")
    assert [found.attrib["value"] for found in properties] == ["replayed 2", *["replayed 1"] * 4]

    # Node ids are relative to the root directory.
    inside = project.pytest("test_chat.py", "-q", mode="strict", folder="tests")
    assert inside.outcomes() == {"passed": 6}
    assert "PASSED" not in inside


def test_a_miss_fails_its_test_whatever_the_test_does_with_the_error(project: Project) -> None:
    project.write(
        "test_misses.py",
        """
        import pytest
        from ask import ask

        WORD = "{WORD}"

        def swallow():
            try:
                return ask("What is the capital of " + WORD)
            except OSError:
                return None

        pytestmark = pytest.mark.cassette

        def test_raises():
            ask("What is the capital of " + WORD)

        def test_swallows():
            swallow()

        @pytest.mark.xfail
        def test_is_expected_to_fail():
            ask("What is the capital of " + WORD)

        def test_skips():
            if not swallow():
                pytest.skip("the API is down")

        @pytest.fixture
        def late():
            yield
            swallow()

        def test_with_a_late_request(late):
            pass

        @pytest.fixture(scope="module")
        def shared():
            yield swallow()
            swallow()

        @pytest.mark.cassette(allow_failures=True)
        def test_allows_failures():
            swallow()

        def test_with_a_shared_fixture(shared):
            pass

        def test_after_it(shared):
            pass
        """,
    )
    path = project.folder / "test_misses.py"
    text = path.read_text()
    path.write_text(text.replace("{WORD}", "France"))
    assert project.pytest().outcomes() == {"passed": 7, "xpassed": 1}
    path.write_text(text.replace("{WORD}", "Spain"))
    missed = project.pytest("-v", "--show-capture=no", mode="strict")
    assert missed.outcomes() == {"failed": 4, "passed": 3, "error": 3}
    for test in ["test_raises", "test_swallows", "test_is_expected_to_fail", "test_skips"]:
        assert f"{test} FAILED [missed 1]" in missed, missed.output
        assert f"cassettes/test_misses/{test}/chat-completions/" in missed
    assert "FAILED test_misses.py::test_swallows - mistral_cassette.MissError: not recor" in missed
    assert "ERROR at teardown of test_with_a_late_request" in missed
    # Of the fixture of the module: where it is set up, and where it ends.
    assert "ERROR at setup of test_with_a_shared_fixture" in missed
    assert "ERROR at teardown of test_after_it" in missed
    assert missed.output.count("- What is the capital of France") >= 6
    assert missed.output.count("hint: to record it, run the ") >= 6


def test_requests_of_a_wider_fixture_belong_to_its_module_class_or_run(project: Project) -> None:
    fixtures = """
        import pytest
        from ask import ask

        @pytest.fixture(scope="{scope}")
        def {scope}_answer():
            yield ask("Set up of {scope}")
            ask("Teardown of {scope}")
    """
    project.write("conftest.py", fixtures.replace("{scope}", "session"))
    test_module = """
        import unittest

        @pytest.fixture(scope="class")
        def class_answer(module_answer):
            ask("In class")

        class TestA:
            pytestmark = pytest.mark.cassette

            def test_one(self, class_answer, session_answer):
                ask("One")

            def test_two(self, class_answer, module_answer, request):
                request.getfixturevalue("class_answer")
                ask("Two")

        @pytest.mark.cassette
        class TestUnit(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                ask("Class of unittest")

            def test_three(self):
                ask("Three")
    """
    project.write("tests/test_a.py", fixtures.replace("{scope}", "module") + test_module)
    assert project.pytest().outcomes() == {"passed": 3}
    assert project.cassettes() == [
        "session/chat-completions",
        "session/chat-completions",
        "tests/test_a/TestA/chat-completions",
        "tests/test_a/TestA/test_one/chat-completions",
        "tests/test_a/TestA/test_two/chat-completions",
        "tests/test_a/TestUnit/chat-completions",
        "tests/test_a/TestUnit/test_three/chat-completions",
        "tests/test_a/chat-completions",
        "tests/test_a/chat-completions",
    ]
    # Each test alone, although the fixtures were recorded with the first one.
    for test in ["test_two", "test_three"]:
        project.replays("-k", test)


def test_workers_of_xdist_add_up(project: Project) -> None:
    project.write(
        "test_many.py",
        """
        import pytest
        from ask import ask

        pytestmark = pytest.mark.cassette

        @pytest.fixture(scope="module")
        def shared():
            return ask("Shared")

        @pytest.mark.parametrize("number", range(4))
        def test_x(number, shared):
            assert ask(f"Number {number}") == f"Number {number}!"
        """,
    )
    assert project.pytest().outcomes() == {"passed": 4}
    before = len(project.api.requests)
    xdist = ["-m", "pytest", "-p", "xdist.plugin", "-n2", "-v", *project.options("strict")]
    done = project.python(*xdist)
    assert done.outcomes() == {"passed": 4}, done.output
    assert done.output.count("PASSED") == done.output.count("[replayed 1]") == 4
    assert "mistral-cassette: replayed 6; saved 72 tokens" in done, done.output
    assert len(project.api.requests) == before


def test_what_is_not_recorded_or_not_used_is_named(project: Project) -> None:
    project.api.errors = [429]
    project.write(
        "test_verdicts.py",
        """
        import pytest, socket, urllib.error
        from ask import ask

        @pytest.mark.cassette
        def test_transient():
            with pytest.raises(urllib.error.HTTPError):
                ask("Hello")

        @pytest.mark.cassette
        def test_bypasses():
            with pytest.raises(OSError):
                socket.create_connection(("api.mistral.ai", 443), timeout=0.1)

        @pytest.mark.cassette
        def test_less():
            [ask(question) for question in QUESTIONS]

        def test_unmarked():
            ask("Without a mark")

        QUESTIONS = ["Hello", "Goodbye"]
        """,
    )
    recorded = project.pytest("-v")
    assert recorded.outcomes() == {"passed": 4}
    assert "test_transient PASSED [not recorded 1]" in recorded
    assert "test_bypasses PASSED [live api.mistral.ai]" in recorded
    not_recorded = "not recorded, so mode strict will miss it: test_verdicts.py::test_transient: POST /v1/chat/compl"
    assert not_recorded in recorded
    assert "went to an API and was not recorded: test_verdicts.py::test_bypasses: api.mistral.ai" in recorded
    assert "requests outside of tests with the mark `cassette` went to the API: 1" in recorded
    assert project.cassettes() == ["test_verdicts/test_less/chat-completions"] * 2

    path = project.folder / "test_verdicts.py"
    path.write_text(path.read_text().replace(', "Goodbye"]', "]"))
    replayed = project.pytest("-v", mode="strict")
    assert replayed.outcomes() == {"failed": 3, "passed": 1}
    assert "test_less PASSED [replayed 1]" in replayed
    assert "a cassette was not used: test_less/chat-completions/goodbye" in replayed.output.replace(
        "test_verdicts/", ""
    )
    assert "a connection to api.mistral.ai that does not use the proxy of mistral-cassette" in replayed
    assert "requests outside of tests with the mark `cassette` are refused in mode strict" in replayed
    assert "requests outside of tests with the mark `cassette` were refused: 1" in replayed


def test_what_a_failing_test_has_recorded_is_not_kept_with_save_on_success(project: Project) -> None:
    project.write(
        "test_save.py",
        """
        import pytest
        from ask import ask

        pytestmark = pytest.mark.cassette

        def test_succeeds():
            ask("Hello")

        def test_fails():
            assert ask("Hello") == "Goodbye"

        @pytest.fixture
        def broken():
            yield
            raise ValueError

        def test_fails_late(broken):
            ask("Hello")

        @pytest.fixture(scope="module")
        def shared():
            ask("Shared")

        @pytest.fixture
        def broken_set_up(shared):
            raise ValueError

        def test_does_not_start(broken_set_up):
            pass

        def test_with_the_fixture(shared):
            pass

        @pytest.mark.cassette(save="always")
        def test_fails_and_keeps():
            assert ask("Hello") == "Goodbye"
        """,
    )
    done = project.pytest("-v", "--cassette-save=on-success")
    assert done.outcomes() == {"passed": 3, "failed": 2, "error": 2}
    assert "test_fails FAILED [recorded 1, not kept]" in done
    assert "test_fails_and_keeps FAILED [recorded 1]" in done
    for test in ["test_fails", "test_fails_late"]:
        assert f"recorded and not kept, because a test failed: test_save.py::{test}: 1" in done
    assert project.cassettes() == [
        "test_save/chat-completions",
        "test_save/test_fails_and_keeps/chat-completions",
        "test_save/test_succeeds/chat-completions",
    ]


def test_the_ini_file_has_the_same_options(project: Project) -> None:
    project.write(
        "pyproject.toml",
        f"""
        [tool.pytest.ini_options]
        cassette_auto = true
        cassette_mode = "record"
        cassette_dir = "recorded"
        cassette_upstream = "http://127.0.0.1:9"
        cassette_save = "on-success"
        cassette_intercept = ["api.example.com={project.api.url}"]
        cassette_block_network = true
        cassette_arguments = ["--save-errors"]
        """,
    )
    project.write(
        "test_ini.py",
        """
        import urllib.request
        import ask, pytest

        def test_other_host(monkeypatch):
            monkeypatch.setattr(ask, "HOST", "https://api.example.com")
            assert ask.ask("Hello") == "Hello!"

        def test_blocked():
            with pytest.raises(OSError):
                urllib.request.urlopen("https://pypi.example.com")
        """,
    )
    assert project.pytest("-v", mode=None).outcomes() == {"passed": 2}
    files = list((project.folder / "recorded/test_ini/test_other_host").rglob("*.yaml"))
    assert len(files) == 1
    assert "host: api.example.com" in files[0].read_text()


def test_an_error_of_the_set_up_is_one_message(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("test_a.py", "import pytest\n@pytest.mark.cassette\ndef test_a():\n    pass\n")
    wrong = project.pytest("--cassette-mode=sometimes")
    assert (wrong.status, wrong.output.count('unknown mode "sometimes"')) == (4, 1), wrong.output
    project.write("cassettes/settings.yaml", "no_such_setting: 1\n")
    broken = project.pytest()
    assert (broken.status, broken.output.count("no_such_setting")) == (4, 1), broken.output
    (project.folder / "cassettes/settings.yaml").unlink()

    monkeypatch.delenv("MISTRAL_API_KEY")
    project.upstream = None
    for workers in [[], ["-p", "xdist.plugin", "-n1"]]:
        no_key = project.pytest(*workers, mode="record")
        assert (no_key.status, no_key.output.count("mode record needs an API key")) == (4, 1), no_key.output

    for command, error in [
        ('#!/bin/sh\necho \'{"event": "ready", "protocol": 7}\'', "has protocol 7, and this package needs 1"),
        ("#!/bin/sh\necho \"error: unrecognized subcommand 'serve'\" >&2; exit 2", "is too old"),
        ("#!/bin/sh\nexit 3", "has ended with status 3"),
    ]:
        project.write("command", command)
        (project.folder / "command").chmod(0o755)
        monkeypatch.setenv("MISTRAL_CASSETTE_COMMAND", str(project.folder / "command"))
        old = project.pytest()
        assert old.status == 4
        assert f"ERROR: mistral-cassette: {project.folder}/command {error}" in old
    monkeypatch.setenv("MISTRAL_CASSETTE_COMMAND", "/nowhere")
    assert "there is no command: /nowhere (MISTRAL_CASSETTE_COMMAND)" in project.pytest()


def test_an_invalid_mark_or_scope_fails_only_its_test(project: Project) -> None:
    project.write(
        "test_marks.py",
        """
        import pytest

        @pytest.mark.cassette(colour="red")
        def test_unknown():
            pass

        @pytest.mark.cassette("../escape")
        def test_scope():
            pass

        @pytest.mark.cassette(mode="sometimes")
        def test_mode():
            pass

        @pytest.mark.cassette("")
        def test_name():
            pass

        @pytest.mark.cassette(allow_failures="no")
        def test_failures():
            pass

        @pytest.mark.cassette("same")
        def test_first():
            pass

        @pytest.mark.cassette("same", mode="record")
        def test_second():
            pass

        @pytest.mark.cassette(directory=__import__("pathlib").Path("other"))
        def test_path():
            pass

        @pytest.mark.cassette
        def test_valid(cassette_session):
            assert cassette_session.scope == "test_marks/test_valid"
        """,
    )
    done = project.pytest()
    assert done.outcomes() == {"passed": 3, "error": 6}
    assert "invalid name of a cassette: ''" in done
    assert "invalid value of allow_failures: 'no'" in done
    assert "the name 'same' of the mark cassette has other arguments than in test_marks.py::test_first" in done
    assert "unknown argument of the mark cassette: colour" in done
    assert "invalid scope" in done
    assert 'unknown mode "sometimes"' in done


def test_polling_and_uploads_replay(project: Project) -> None:
    project.write(
        "test_poll.py",
        """
        import json, os, urllib.request
        import pytest

        def get(path):
            headers = {"authorization": f"Bearer {os.environ['MISTRAL_API_KEY']}"}
            request = urllib.request.Request("https://api.mistral.ai" + path, headers=headers)
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        @pytest.mark.cassette
        def test_waits():
            states = []
            while "SUCCESS" not in states:
                states.append(get("/v1/batch/jobs/job")["status"])
            assert len(states) < 4
        """,
    )
    assert project.pytest().outcomes() == {"passed": 1}
    project.replays()
    assert json.dumps(project.api.requests).count("GET /v1/batch/jobs/job") == 3


def test_tests_with_one_name_have_one_session(project: Project) -> None:
    project.write(
        "test_named.py",
        """
        import pytest
        from ask import ask

        pytestmark = pytest.mark.cassette("all/in/one")

        @pytest.fixture(scope="module")
        def shared():
            yield ask("Same")
            ask("Late")

        def test_a(shared):
            assert [ask("Same"), ask("Same")] == ["Same!", "Same!"]

        def test_b(shared):
            ask("Same")
            ask("Only b")

        @pytest.mark.cassette("other")
        def test_c():
            ask("Same")
            assert not BROKEN

        @pytest.mark.cassette("other")
        def test_d():
            ask("Only d")

        BROKEN = False
        """,
    )
    project.api.secret = "1"
    path = project.folder / "test_named.py"
    text = path.read_text().replace('["Same!", "Same!"]', '["Same! 1", "Same! 1"]')
    path.write_text(text.replace("BROKEN = False", "BROKEN = True"))
    broken = project.pytest("-v", "--cassette-save=on-success")
    assert broken.outcomes() == {"passed": 3, "failed": 1}
    assert "recorded and not kept, because a test failed: test_named.py::test_c: 2" in broken
    assert set(project.cassettes()) == {"all/in/one/chat-completions"}

    path.write_text(text)
    assert project.pytest("--cassette-save=on-success").outcomes() == {"passed": 4}
    replayed = project.replays()
    assert "test_a PASSED [replayed 3]" in replayed
    assert "test_b PASSED [replayed 2]" in replayed
    assert "a cassette was not used" not in replayed
    assert "replayed 8; saved" in replayed


def test_a_mark_of_a_hook_and_paths_and_forks(project: Project) -> None:
    project.write(
        "conftest.py",
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.cassette)
        """,
    )
    project.write(
        "test_marked.py",
        """
        import os
        import mistral_cassette, pytest
        from ask import ask

        @pytest.fixture(scope="module")
        def shared():
            ask("Shared")

        def test_shared(shared):
            pass

        def test_paths(tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            with mistral_cassette.use("block", directory="recorded"):
                ask("Hello")
            assert list(tmp_path.glob("recorded/block/*/*.yaml"))

        def test_fork():
            child = os.fork()
            if child == 0:
                try:
                    mistral_cassette.use("block").__enter__()
                except mistral_cassette.SetupError as error:
                    os._exit("cannot be used in a forked process" in str(error))
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        """,
    )
    assert project.pytest().outcomes() == {"passed": 3}
    assert project.cassettes() == ["test_marked/chat-completions"]
