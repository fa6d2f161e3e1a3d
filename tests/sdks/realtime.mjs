// Realtime sessions by the official client and by `ws` alone; one JSON line for each.
import { createInterface } from "node:readline";
import { RealtimeTranscription } from "@mistralai/mistralai/extra/realtime";
import WebSocket from "ws";

const apiKey = process.env.MISTRAL_API_KEY;

const audio = (seed) => Buffer.from(Array.from({ length: 9600 }, (_, at) => (seed * 7 + at * at) % 251));

async function* pieces(sound, size) {
  for (let at = 0; at < sound.length; at += size) yield sound.subarray(at, at + size);
}

async function transcribe(base, seed, size) {
  const client = new RealtimeTranscription({ apiKey, ...(base && { serverURL: base }) });
  const audioFormat = { encoding: "pcm_s16le", sampleRate: 16000 };
  const events = [];
  for await (const event of client.transcribeStream(pieces(audio(seed), size), `voxtral-${seed}`, { audioFormat })) {
    events.push(event);
  }
  return events;
}

function bare(base, seed) {
  const url = `${(base ?? "https://api.mistral.ai").replace("http", "ws")}/v1/audio/speech/realtime?model=bare-${seed}`;
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${apiKey}` } });
  const answers = [];
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", (code) => resolve([...answers, code]));
    socket.on("open", () => {
      socket.send(`{ "type" : "input_text.append",  "text":"d\\u00e9j\\u00e0 ${seed}" }`);
      socket.send('{"type":"input_text.end"}');
    });
    socket.on("message", (data) => {
      answers.push(String(data));
      if (answers.at(-1).includes("speech.audio.done")) socket.close(1000);
    });
  });
}

const operations = {
  transcribe: (base, seed) => transcribe(base, seed, 1000),
  "transcribe, cut differently": (base, seed) => transcribe(base, seed, 777),
  bare,
};

async function run({ base, seed, names = [] }) {
  for (const operation of names.length ? names : Object.keys(operations)) {
    console.log(JSON.stringify({ operation, answer: await operations[operation](base, seed) }));
  }
}

const [, , seed] = process.argv;
if (seed === "--worker") {
  for await (const line of createInterface({ input: process.stdin })) {
    await run(JSON.parse(line)).catch((error) => {
      console.log(JSON.stringify({ operation: "failed", answer: String(error) }));
    });
    console.log();
  }
} else {
  await run({ base: null, seed: Number(seed) });
}
