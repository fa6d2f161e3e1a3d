"""The suite that each tool records and replays: tests with five calls each, by the official client, unmodified."""

import os

import pytest
from mistralai.client import Mistral

TESTS = int(os.environ["TESTS"])
# What a developer changes in a prompt after recording.
CHANGED = os.environ.get("CHANGED", "")


@pytest.fixture(scope="session")
def client():
    # Tools that patch the client reach the stand-in by its address, the others by `--cassette-upstream`.
    return Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ.get("STAND_IN"))


def ask(client, test, call):
    context = f"Some words of context, as a prompt of a kilobyte has them, number {test}. " * 13
    messages = [
        {"role": "system", "content": context},
        {"role": "user", "content": f"Question {call} of test {test}?{CHANGED}"},
    ]
    answer = client.chat.complete(model="mistral-small-latest", messages=messages, temperature=0.2)
    return answer.choices[0].message.content


@pytest.mark.skipif("SWALLOWED" in os.environ, reason="one test is enough")
@pytest.mark.parametrize("test", range(TESTS))
def test_asks_five_times(client, test):
    for call in range(5):
        # A wrong answer is one to another question.
        expected = f"Question {call} of test {test}?" + os.environ.get("EXPECTED", CHANGED)
        assert ask(client, test, call).startswith(f"You asked: {expected} ")


@pytest.mark.skipif("SWALLOWED" not in os.environ, reason="for the error that the code handles")
def test_of_code_that_handles_all_errors(client):
    try:
        answer = ask(client, 0, 0)
    except Exception:
        answer = "Sorry, try again later"
    assert answer
