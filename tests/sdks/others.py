"""Python libraries on top of the Mistral API. None of them has the URL of the proxy. Prints a line of JSON for each call:
what came back."""

import asyncio
import json
import os
import sys

from pydantic import BaseModel

MODEL = "mistral-small-latest"


class City(BaseModel):
    city: str


def langchain():
    from langchain_core.tools import tool
    from langchain_mistralai import ChatMistralAI, MistralAIEmbeddings

    @tool
    def get_weather(city: str) -> str:
        """The weather in a city"""
        return f"sunny in {city}"

    # Without the variable that `mistral-cassette run` sets, so that these requests are intercepted, too.
    del os.environ["MISTRAL_BASE_URL"]
    chat = ChatMistralAI(model=MODEL)
    yield "chat", chat.invoke("Where does the mistral blow?").content
    yield "stream", [chunk.content for chunk in chat.stream("Where does the mistral blow?")]
    wanted = chat.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    yield "tools", [call["args"] for call in wanted.tool_calls]
    yield "async", asyncio.run(chat.ainvoke("And in winter?")).content
    embeddings = MistralAIEmbeddings()
    yield "embeddings", embeddings.embed_query("The mistral is a wind.")


def pydantic_ai():
    from pydantic_ai import Agent

    model = f"mistral:{MODEL}"
    yield "chat", Agent(model).run_sync("Where does the mistral blow?").output

    weather = Agent(model)

    @weather.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city"""
        return f"sunny in {city}"

    yield "tools", weather.run_sync("What is the weather in Paris?").output

    async def stream():
        async with Agent(model).run_stream("And in winter?") as answer:
            return [text async for text in answer.stream_text(delta=True)]

    yield "stream", asyncio.run(stream())


def litellm():
    import litellm

    del os.environ["MISTRAL_AZURE_API_BASE"]
    asked = [{"role": "user", "content": "Where does the mistral blow?"}]
    answer = litellm.completion(model=f"mistral/{MODEL}", messages=asked)
    yield "chat", answer.choices[0].message.content
    stream = litellm.completion(model=f"mistral/{MODEL}", messages=asked, stream=True)
    yield "stream", [chunk.choices[0].delta.content for chunk in stream]
    embedded = litellm.embedding(model="mistral/mistral-embed", input=["The mistral is a wind."])
    yield "embeddings", embedded.data[0]["embedding"]


def instructor():
    import instructor

    client = instructor.from_provider(f"mistral/{MODEL}")
    asked = [{"role": "user", "content": "Which city is in France?"}]
    yield "structured", client.create(messages=asked, response_model=City).model_dump()


def main():
    library = sys.argv[1]
    for call, answer in globals()[library]():
        print(json.dumps({"operation": call, "answer": answer}, ensure_ascii=False), flush=True)


main()
