"""What the official client makes of injected faults; one JSON line for each."""

import json
import os
import sys

from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

client = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ["MISTRAL_SERVER_URL"])
retries = RetryConfig("backoff", BackoffStrategy(1, 10, 1.5, 60_000), True)
question = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


def said(wishes, **options):
    answer = client.chat.complete(**question, http_headers=wishes, **options)
    return answer.choices[0].message.content


def streamed(wishes):
    with client.chat.stream(**question, http_headers=wishes) as events:
        return "".join(event.data.choices[0].delta.content or "" for event in events)


OPERATIONS = {
    "plain": lambda: said({}),
    "streamed": lambda: streamed({}),
    "refused": lambda: said({"mistral-cassette-inject": "429"}),
    # The first ask is hit, and the retry is not.
    "retried": lambda: said({"mistral-cassette-inject": "429:0.5,seed:1"}, retries=retries),
    "reset": lambda: said({"mistral-cassette-inject": "reset"}),
    "cut": lambda: said({"mistral-cassette-inject": "cut"}),
    "cut stream": lambda: streamed({"mistral-cassette-inject": "cut"}),
    "malformed stream": lambda: streamed({"mistral-cassette-inject": "malformed"}),
    "torn stream": lambda: streamed({"mistral-cassette-fragment": "1,5,2,13"}),
    "wrong": lambda: said({"mistral-cassette-inject": "42"}, retries=retries),
}

for name in sys.argv[1:] or ["plain", "streamed"]:
    try:
        outcome = {"said": OPERATIONS[name]()}
    except Exception as error:
        outcome = {"error": type(error).__name__, "status": getattr(error, "status_code", None)}
    print(json.dumps({"operation": name, "answer": outcome}), flush=True)
