// JavaScript libraries on top of the Mistral API. None of them has the URL of the proxy. Prints a line of JSON for each
// call: what came back.

const model = "mistral-small-latest";

async function collected(stream) {
  const all = [];
  for await (const piece of stream) all.push(piece);
  return all;
}

async function* ai_sdk() {
  const { mistral } = await import("@ai-sdk/mistral");
  const { embed, generateObject, generateText, stepCountIs, streamText, tool } = await import("ai");
  const { z } = await import("zod");
  const prompt = "Where does the mistral blow?";
  yield ["chat", (await generateText({ model: mistral(model), prompt })).text];
  yield ["stream", await collected(streamText({ model: mistral(model), prompt }).textStream)];
  const get_weather = tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  });
  const weather = { prompt: "What is the weather in Paris?", tools: { get_weather }, stopWhen: stepCountIs(2) };
  yield ["tools", (await generateText({ model: mistral(model), ...weather })).text];
  const schema = z.object({ name: z.string(), population: z.number() });
  const described = await generateObject({ model: mistral(model), schema, prompt: "Describe Paris as JSON." });
  yield ["structured", described.object];
  const embedded = await embed({ model: mistral.textEmbeddingModel("mistral-embed"), value: "The mistral is a wind." });
  yield ["embeddings", embedded.embedding];
}

async function* langchain() {
  const { ChatMistralAI } = await import("@langchain/mistralai");
  const chat = new ChatMistralAI({ model });
  yield ["chat", (await chat.invoke("Where does the mistral blow?")).content];
  const pieces = await collected(await chat.stream("Where does the mistral blow?"));
  yield ["stream", pieces.map((piece) => piece.content)];
}

for await (const [operation, answer] of { ai_sdk, langchain }[process.argv[2]]()) {
  console.log(JSON.stringify({ operation, answer }));
}
