"""Unmodified clients under the plugin."""

from __future__ import annotations

import pytest

from conftest import Project

pytest.importorskip("mistralai.client", reason="mistralai is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

CLIENTS = """
    import asyncio
    import os
    import ssl
    import urllib.request

    import aiohttp
    import certifi
    import pytest
    import requests
    from ask import ask
    from mistralai.client import Mistral

    pytestmark = pytest.mark.cassette

    ASKED = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
    HEADERS = {"authorization": "Bearer " + os.environ["MISTRAL_API_KEY"]}
    PATH = "/v1/chat/completions"
    URL = "https://api.mistral.ai" + PATH

    # Made when the module is imported.
    MISTRAL = Mistral(api_key=os.environ["MISTRAL_API_KEY"])
    SESSION = requests.Session()
    OPENER = urllib.request.build_opener(
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certifi.where())),
    )

    def test_mistralai():
        assert MISTRAL.chat.complete(**ASKED).choices[0].message.content == "Hello!"
        words = [event.data.choices[0].delta.content for event in MISTRAL.chat.stream(**ASKED)]
        assert "".join(words) == "Hello!"
        uploaded = MISTRAL.files.upload(file={"file_name": "a.jsonl", "content": b"{}"}, purpose="batch")
        assert uploaded.id

    def test_mistralai_asynchronous():
        async def answer():
            return await MISTRAL.chat.complete_async(**ASKED)

        assert asyncio.run(answer()).choices[0].message.content == "Hello!"

    def test_requests():
        assert SESSION.post(URL, json=ASKED, headers=HEADERS).json()["choices"]

    def test_certifi():
        request = urllib.request.Request(URL, b'{"messages": [{"content": "x"}], "model": "m"}', HEADERS)
        assert OPENER.open(request).status == 200

    async def post(url, **options):
        async with aiohttp.ClientSession(**options) as session:
            async with session.post(url, json=ASKED, headers=HEADERS) as response:
                return (await response.json())["choices"]

    def test_aiohttp():
        assert asyncio.run(post(URL, trust_env=True))

    def test_aiohttp_with_a_base_url(cassette_session):
        assert asyncio.run(post(cassette_session.base_url + PATH))
"""

# Both runs in one process, because the clients take seconds to load.
TWICE = """
    import sys, pytest
    recorded = pytest.main([*sys.argv[1:], "--cassette-mode=record"])
    del sys.modules["test_clients"]
    sys.exit(recorded or pytest.main([*sys.argv[1:], "--cassette-mode=strict"]))
"""


def test_clients_are_recorded_and_replayed_without_a_changed_line(project: Project) -> None:
    project.write("test_clients.py", CLIENTS)
    project.write("twice.py", TWICE)
    done = project.python("twice.py", "-v", "-W", "ignore", *project.options(None))
    assert done.outcomes() == {"passed": 6}, done.output
    assert done.output.count("PASSED [recorded 1]") == done.output.count("PASSED [replayed 1]") == 5, done.output
    assert "test_mistralai PASSED [replayed 3]" in done
    assert len(project.api.requests) == 8
