"""Realtime sessions by the official client and by `websockets` alone; one JSON line for each."""

import asyncio
import json
import os
import sys

import websockets
from mistralai.client import Mistral
from mistralai.client.models import AudioFormat

KEY = os.environ["MISTRAL_API_KEY"]
# One client: a client reads the root certificates twice when it is made, which takes longer than all its calls.
CLIENT = Mistral(api_key=KEY)


def audio(seed):
    return bytes((seed * 7 + at * at) % 251 for at in range(9600))


async def each(items):
    for item in items:
        yield item


async def transcribe(base, seed, size):
    sound = audio(seed)
    pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
    format = AudioFormat(encoding="pcm_s16le", sample_rate=16000)
    events = CLIENT.audio.realtime.transcribe_stream(each(pieces), f"voxtral-{seed}", audio_format=format)
    return [event.model_dump(mode="json") async for event in events]


async def speak(base, seed):
    texts = each(["Bonjour ", "tout le monde, ", f"numéro {seed}."])
    events = CLIENT.audio.realtime_speech.speak_stream(texts, f"voxtral-tts-{seed}", voice_id="fr_marie_neutral")
    return [event.model_dump(mode="json") async for event in events]


async def bare(base, seed):
    url = (base or "https://api.mistral.ai").replace("http", "ws", 1) + f"/v1/audio/speech/realtime?model=bare-{seed}"
    answers = []
    async with websockets.connect(url, additional_headers={"authorization": f"Bearer {KEY}"}) as socket:
        await socket.send('{ "type" : "input_text.append",  "text":"d\\u00e9j\\u00e0 ' + str(seed) + '" }')
        # In two fragments.
        await socket.send(['{"type":"input_', 'text.end"}'])
        async for answer in socket:
            answers.append(answer)
            if "speech.audio.done" in answer:
                break
    return answers


OPERATIONS = {
    "transcribe": lambda base, seed: transcribe(base, seed, 1000),
    "transcribe, cut differently": lambda base, seed: transcribe(base, seed, 777),
    "speak": speak,
    "bare": bare,
}


def run(base, seed, names=()):
    if base:
        CLIENT.sdk_configuration.server_url = base
    for name in names or OPERATIONS:
        answer = asyncio.run(OPERATIONS[name](base, seed))
        print(json.dumps({"operation": name, "answer": answer}), flush=True)


if sys.argv[1:] == ["--worker"]:
    for line in sys.stdin:
        try:
            run(**json.loads(line))
        except Exception as error:
            print(json.dumps({"operation": "failed", "answer": repr(error)}), flush=True)
        print(flush=True)
else:
    run(None, int(sys.argv[1]))
