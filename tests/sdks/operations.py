"""Calls of the official Python client, each in a scope of its own, or with UNMODIFIED=1 by a client that knows nothing of
the proxy. Prints a line of JSON for each: what came back.

    mistral-cassette run -- python operations.py            all of them
    mistral-cassette run -- python operations.py NAME …     these
    python operations.py --worker                           those of each line `{"base": URL, "names": […]}` on stdin,
                                                            with an empty line after them
"""

import asyncio
import importlib.metadata
import inspect
import json
import os
import sys

from pydantic import BaseModel

MAJOR = int(importlib.metadata.version("mistralai").split(".")[0])
if MAJOR == 1:
    from mistralai import Mistral
    from mistralai.utils import BackoffStrategy, RetryConfig
else:
    from mistralai.client import Mistral
    from mistralai.client.utils import BackoffStrategy, RetryConfig

MODEL = "mistral-small-latest"
QUESTION = [{"role": "user", "content": "Où souffle le mistral ?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
TOOL_CHAT = [
    {"role": "user", "content": "What is the weather in Paris?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "D681PevKs", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}],
    },
    {"role": "tool", "name": "get_weather", "tool_call_id": "D681PevKs", "content": "sunny, 24 °C"},
]
CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["name", "population"],
    "additionalProperties": False,
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
WAVE = b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80>\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00"
FILE_ID = "6f9a3f6e-3f0e-4b0e-9a55-5b8a1c9d0e11"
JOB_ID = "0b84028a-1b1e-4d0c-8f31-2f0c9a7e1d22"
LIBRARY_ID = "7d5c1a9e-2c3f-4e7b-8a61-3e1d0b9c2f33"
DOCUMENT_ID = "9c1b7e5d-4a2f-4c8e-b071-4f2e1c0d3a44"
GROUP_ID = "5e2d8c4b-6f3a-4d9c-a182-5a3f2d1e4b55"

OPERATIONS = {}


class City(BaseModel):
    name: str
    population: int


def operation(name, since=1):
    """Registers a call under the name that every client has for it."""

    def register(call):
        if since <= MAJOR:
            OPERATIONS[name] = call
        return call

    return register


def shown(value):
    """What came back, as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, warnings=False)
    if isinstance(value, (list, tuple)):
        return [shown(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "__next__") or hasattr(value, "__enter__"):
        return [shown(one) for one in value]
    return value


# Chat, agents, fill in the middle


@operation("chat.complete")
def _(m):
    return m.chat.complete(model=MODEL, messages=QUESTION)


@operation("chat.complete, every parameter")
def _(m):
    return m.chat.complete(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, *QUESTION],
        temperature=0.0,
        top_p=1.0,
        max_tokens=100,
        stop=["\n\n"],
        random_seed=7,
        n=1,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        safe_prompt=True,
    )


@operation("chat.complete, tools")
def _(m):
    return m.chat.complete(
        model=MODEL, messages=TOOL_CHAT[:1], tools=TOOLS, tool_choice="any", parallel_tool_calls=False
    )


@operation("chat.complete, result of a tool")
def _(m):
    return m.chat.complete(model=MODEL, messages=TOOL_CHAT, tools=TOOLS)


@operation("chat.complete, image")
def _(m):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": PIXEL}]
    return m.chat.complete(model=MODEL, messages=[{"role": "user", "content": content}])


@operation("chat.complete, document")
def _(m):
    content = [{"type": "text", "text": "Sum it up."}, {"type": "document_url", "document_url": "https://example.com/a.pdf"}]
    return m.chat.complete(model=MODEL, messages=[{"role": "user", "content": content}])


@operation("chat.complete, JSON object")
def _(m):
    return m.chat.complete(model=MODEL, messages=QUESTION, response_format={"type": "json_object"})


@operation("chat.complete, JSON schema")
def _(m):
    schema = {"name": "city", "schema_definition": CITY_SCHEMA, "strict": True}
    return m.chat.complete(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe Paris as JSON."}],
        response_format={"type": "json_schema", "json_schema": schema},
    )


@operation("chat.parse")
def _(m):
    answer = m.chat.parse(City, model=MODEL, messages=[{"role": "user", "content": "Describe Paris as JSON."}])
    return answer.choices[0].message.parsed


@operation("chat.stream")
def _(m):
    return m.chat.stream(model=MODEL, messages=QUESTION)


@operation("chat.stream, tools")
def _(m):
    return m.chat.stream(model=MODEL, messages=TOOL_CHAT[:1], tools=TOOLS)


@operation("chat.complete, refused")
def _(m):
    return m.chat.complete(model="no-such-model", messages=QUESTION)


@operation("chat.complete, busy at first")
def _(m):
    retries = RetryConfig("backoff", BackoffStrategy(1, 10, 1.1, 10_000), False)
    busy = [{"role": "user", "content": "Are you busy?"}]
    return m.chat.complete(model=MODEL, messages=busy, retries=retries)


@operation("chat.complete, async")
async def _(m):
    return await m.chat.complete_async(model=MODEL, messages=[{"role": "user", "content": "And in winter?"}])


@operation("chat.stream, async")
async def _(m):
    stream = await m.chat.stream_async(model=MODEL, messages=[{"role": "user", "content": "And in winter?"}])
    return [event async for event in stream]


@operation("chat.complete, four at once")
async def _(m):
    asked = [
        m.chat.complete_async(model=MODEL, messages=[{"role": "user", "content": f"Question {number}"}])
        for number in range(4)
    ]
    return await asyncio.gather(*asked)


@operation("agents.complete")
def _(m):
    return m.agents.complete(agent_id="ag_0123456789", messages=QUESTION)


@operation("agents.stream")
def _(m):
    return m.agents.stream(agent_id="ag_0123456789", messages=QUESTION)


@operation("fim.complete")
def _(m):
    return m.fim.complete(model="codestral-latest", prompt="def add(a, b):", suffix="\nprint(add(1, 2))", temperature=0.2)


@operation("fim.stream")
def _(m):
    return m.fim.stream(model="codestral-latest", prompt="def add(a, b):", max_tokens=20)


# Embeddings, classifiers, OCR, audio


@operation("embeddings.create")
def _(m):
    return m.embeddings.create(model="mistral-embed", inputs="The mistral is a wind.")


@operation("embeddings.create, a list")
def _(m):
    return m.embeddings.create(model="codestral-embed", inputs=["one", "deux"], output_dimension=8, output_dtype="float")


@operation("classifiers.moderate")
def _(m):
    return m.classifiers.moderate(model="mistral-moderation-latest", inputs=["I like the wind."])


@operation("classifiers.moderate_chat")
def _(m):
    return m.classifiers.moderate_chat(model="mistral-moderation-latest", inputs=QUESTION)


@operation("classifiers.classify")
def _(m):
    return m.classifiers.classify(model="my-classifier", inputs=["I like the wind."])


@operation("classifiers.classify_chat")
def _(m):
    chats = [{"messages": QUESTION}]
    return m.classifiers.classify_chat(model="my-classifier", **{"inputs" if MAJOR == 1 else "input": chats})


@operation("ocr.process")
def _(m):
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    return m.ocr.process(model="mistral-ocr-latest", document=document, pages=[0, 1], include_image_base64=False)


@operation("ocr.process, image")
def _(m):
    return m.ocr.process(model="mistral-ocr-latest", document={"type": "image_url", "image_url": PIXEL})


@operation("audio.transcriptions.complete")
def _(m):
    file = {"file_name": "wind.wav", "content": WAVE}
    return m.audio.transcriptions.complete(model="voxtral-mini-latest", file=file, language="fr")


@operation("audio.transcriptions.stream")
def _(m):
    return m.audio.transcriptions.stream(model="voxtral-mini-latest", file={"file_name": "wind.wav", "content": WAVE})


@operation("audio.speech.complete", since=2)
def _(m):
    return m.audio.speech.complete(input="Bonjour", model="voxtral-tts-latest", voice_id="v1", response_format="wav")


@operation("audio.voices.list", since=2)
def _(m):
    return m.audio.voices.list()


# Models, files, batch jobs


@operation("models.list")
def _(m):
    return m.models.list()


@operation("models.retrieve")
def _(m):
    return m.models.retrieve(model_id=MODEL)


@operation("models.delete")
def _(m):
    return m.models.delete(model_id="ft:my-model:1")


@operation("models.update")
def _(m):
    return m.models.update(model_id="ft:my-model:1", name="winds", description="Knows the winds")


@operation("models.archive")
def _(m):
    return m.models.archive(model_id="ft:my-model:1")


@operation("models.unarchive")
def _(m):
    return m.models.unarchive(model_id="ft:my-model:1")


@operation("files.upload")
def _(m):
    return m.files.upload(file={"file_name": "batch.jsonl", "content": b'{"custom_id": "0"}\n'}, purpose="batch")


@operation("files.list")
def _(m):
    return m.files.list(page=0, page_size=10, purpose="batch")


@operation("files.retrieve")
def _(m):
    return m.files.retrieve(file_id=FILE_ID)


@operation("files.download")
def _(m):
    return m.files.download(file_id=FILE_ID).read()


@operation("files.get_signed_url")
def _(m):
    return m.files.get_signed_url(file_id=FILE_ID, expiry=12)


@operation("files.delete")
def _(m):
    return m.files.delete(file_id=FILE_ID)


@operation("batch.jobs.create")
def _(m):
    return m.batch.jobs.create(
        endpoint="/v1/chat/completions", model=MODEL, input_files=[FILE_ID], metadata={"suite": "winds"}, timeout_hours=2
    )


@operation("batch.jobs.list")
def _(m):
    return m.batch.jobs.list(page=0, page_size=10)


@operation("batch.jobs.get")
def _(m):
    return m.batch.jobs.get(job_id=JOB_ID)


@operation("batch.jobs.cancel")
def _(m):
    return m.batch.jobs.cancel(job_id=JOB_ID)


@operation("batch.jobs.delete", since=2)
def _(m):
    return m.batch.jobs.delete(job_id=JOB_ID)


# Agents, conversations


@operation("beta.agents.create")
def _(m):
    return m.beta.agents.create(
        model="mistral-medium-latest",
        name="winds",
        instructions="Speak of winds.",
        tools=[{"type": "web_search"}, *TOOLS],
        completion_args={"temperature": 0.3},
    )


@operation("beta.agents.list")
def _(m):
    return m.beta.agents.list(page=0, page_size=5)


@operation("beta.agents.get")
def _(m):
    return m.beta.agents.get(agent_id="ag_0123456789")


@operation("beta.agents.update")
def _(m):
    return m.beta.agents.update(agent_id="ag_0123456789", description="Knows the winds")


@operation("beta.agents.update_version")
def _(m):
    return m.beta.agents.update_version(agent_id="ag_0123456789", version=2)


@operation("beta.agents.list_versions")
def _(m):
    return m.beta.agents.list_versions(agent_id="ag_0123456789", page=0, page_size=5)


@operation("beta.agents.get_version")
def _(m):
    return m.beta.agents.get_version(agent_id="ag_0123456789", version="2")


@operation("beta.agents.delete")
def _(m):
    return m.beta.agents.delete(agent_id="ag_0123456789")


@operation("beta.conversations.start")
def _(m):
    return m.beta.conversations.start(
        model="mistral-medium-latest",
        inputs="Which wind is cold?",
        instructions="Be brief.",
        tools=[{"type": "web_search"}],
        completion_args={"temperature": 0.3},
        store=True,
    )


@operation("beta.conversations.start, entries")
def _(m):
    inputs = [{"type": "message.input", "role": "user", "content": "Which wind is cold?"}]
    return m.beta.conversations.start(agent_id="ag_0123456789", inputs=inputs)


@operation("beta.conversations.start_stream")
def _(m):
    return m.beta.conversations.start_stream(model="mistral-medium-latest", inputs="Which wind is cold?")


@operation("beta.conversations.append")
def _(m):
    return m.beta.conversations.append(conversation_id="conv_0123456789", inputs="And which is warm?")


@operation("beta.conversations.append_stream")
def _(m):
    return m.beta.conversations.append_stream(conversation_id="conv_0123456789", inputs="And which is warm?")


@operation("beta.conversations.restart")
def _(m):
    return m.beta.conversations.restart(conversation_id="conv_0123456789", from_entry_id="msg_1", inputs="And dry?")


@operation("beta.conversations.restart_stream")
def _(m):
    return m.beta.conversations.restart_stream(conversation_id="conv_0123456789", from_entry_id="msg_1", inputs="And dry?")


@operation("beta.conversations.list")
def _(m):
    return m.beta.conversations.list(page=0, page_size=5)


@operation("beta.conversations.get")
def _(m):
    return m.beta.conversations.get(conversation_id="conv_0123456789")


@operation("beta.conversations.get_history")
def _(m):
    return m.beta.conversations.get_history(conversation_id="conv_0123456789")


@operation("beta.conversations.get_messages")
def _(m):
    return m.beta.conversations.get_messages(conversation_id="conv_0123456789")


@operation("beta.conversations.delete", since=2)
def _(m):
    return m.beta.conversations.delete(conversation_id="conv_0123456789")


# Libraries


@operation("beta.libraries.create")
def _(m):
    return m.beta.libraries.create(name="winds", description="All winds")


@operation("beta.libraries.list")
def _(m):
    return m.beta.libraries.list()


@operation("beta.libraries.get")
def _(m):
    return m.beta.libraries.get(library_id=LIBRARY_ID)


@operation("beta.libraries.update")
def _(m):
    return m.beta.libraries.update(library_id=LIBRARY_ID, name="all winds")


@operation("beta.libraries.delete")
def _(m):
    return m.beta.libraries.delete(library_id=LIBRARY_ID)


@operation("beta.libraries.documents.upload")
def _(m):
    file = {"file_name": "winds.txt", "content": "Le mistral, la tramontane…".encode()}
    return m.beta.libraries.documents.upload(library_id=LIBRARY_ID, file=file)


@operation("beta.libraries.documents.list")
def _(m):
    return m.beta.libraries.documents.list(library_id=LIBRARY_ID, page=0, page_size=5)


@operation("beta.libraries.documents.get")
def _(m):
    return m.beta.libraries.documents.get(library_id=LIBRARY_ID, document_id=DOCUMENT_ID)


@operation("beta.libraries.documents.status")
def _(m):
    return m.beta.libraries.documents.status(library_id=LIBRARY_ID, document_id=DOCUMENT_ID)


@operation("beta.libraries.documents.text_content")
def _(m):
    return m.beta.libraries.documents.text_content(library_id=LIBRARY_ID, document_id=DOCUMENT_ID)


@operation("beta.libraries.documents.get_signed_url")
def _(m):
    return m.beta.libraries.documents.get_signed_url(library_id=LIBRARY_ID, document_id=DOCUMENT_ID)


@operation("beta.libraries.documents.delete")
def _(m):
    return m.beta.libraries.documents.delete(library_id=LIBRARY_ID, document_id=DOCUMENT_ID)


@operation("beta.libraries.accesses.list")
def _(m):
    return m.beta.libraries.accesses.list(library_id=LIBRARY_ID)


@operation("beta.libraries.accesses.update_or_create")
def _(m):
    return m.beta.libraries.accesses.update_or_create(
        library_id=LIBRARY_ID, level="Viewer", share_with_uuid=GROUP_ID, share_with_type="User"
    )


@operation("beta.libraries.accesses.delete")
def _(m):
    return m.beta.libraries.accesses.delete(library_id=LIBRARY_ID, share_with_uuid=GROUP_ID, share_with_type="User")


def run(base, names):
    # One client: a client reads the root certificates twice when it is made, which takes longer than all its calls.
    client, loop = Mistral(api_key=os.environ["MISTRAL_API_KEY"]), asyncio.new_event_loop()
    for name in names or OPERATIONS:
        call = OPERATIONS[name]
        scope = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name)
        if base:
            client.sdk_configuration.server_url = f"{base}/c/{scope}"
        try:
            answer = loop.run_until_complete(call(client)) if inspect.iscoroutinefunction(call) else call(client)
            answer = shown(answer)
        except Exception as error:
            answer = {"error": type(error).__name__, "status": getattr(error, "status_code", None), "body": getattr(error, "body", str(error))}
        print(json.dumps({"operation": name, "answer": answer}, ensure_ascii=False), flush=True)


if sys.argv[1:] == ["--worker"]:
    for line in sys.stdin:
        run(**json.loads(line))
        print(flush=True)
else:
    run(None if "UNMODIFIED" in os.environ else os.environ["MISTRAL_SERVER_URL"], sys.argv[1:])
