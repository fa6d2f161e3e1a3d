//! The calls of `operations.py`, made with the client of this crate.

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mistral_cassette::Result;
use mistral_cassette::client::*;
use serde::Serialize;
use serde_json::{Value, json};

const MODEL: &str = "mistral-small-latest";
const QUESTION: &str = "Où souffle le mistral ?";
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";
const WAVE: &[u8] = b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80>\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00";
const FILE_ID: &str = "6f9a3f6e-3f0e-4b0e-9a55-5b8a1c9d0e11";
const JOB_ID: &str = "0b84028a-1b1e-4d0c-8f31-2f0c9a7e1d22";
const AGENT: &str = "ag_0123456789";
const CONVERSATION: &str = "conv_0123456789";

#[derive(serde::Deserialize, Serialize, schemars::JsonSchema)]
struct City {
    name: String,
    population: u32,
}

fn shown(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

async fn stream<T: serde::de::DeserializeOwned + Serialize>(opened: Result<EventStream<T>>) -> Result<Value> {
    opened?.try_collect::<Vec<T>>().await.map(shown)
}

fn question() -> ChatRequest {
    ChatRequest::new(MODEL).user(QUESTION)
}

fn winter() -> ChatRequest {
    ChatRequest::new(MODEL).user("And in winter?")
}

fn weather() -> Tool {
    let city = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    Tool::with_parameters("get_weather", "The weather in a city", city)
}

fn asks_for_the_weather() -> ChatRequest {
    ChatRequest::new(MODEL).user("What is the weather in Paris?")
}

fn wants_the_weather() -> ChatMessage {
    let call =
        json!({ "id": "D681PevKs", "function": { "name": "get_weather", "arguments": "{\"city\": \"Paris\"}" } });
    serde_json::from_value(json!({ "role": "assistant", "content": "", "tool_calls": [call] })).unwrap()
}

fn starts() -> ConversationRequest {
    ConversationRequest::with_model("mistral-medium-latest", "Which wind is cold?")
}

/// The operations that the typed client has; `None` for the others.
pub async fn call(operation: &str, m: &Client) -> Option<Result<Value>> {
    Some(match operation {
        "chat.complete" => m.chat(question()).await.map(shown),
        "chat.complete, every parameter" => {
            let request = ChatRequest::new(MODEL)
                .system("Be brief.")
                .user(QUESTION)
                .temperature(0.0)
                .top_p(1.0)
                .max_tokens(100)
                .random_seed(7)
                .set("stop", ["\n\n"].as_slice())
                .set("n", 1)
                .set("presence_penalty", 0.5)
                .set("frequency_penalty", 0.25)
                .set("safe_prompt", true);
            m.chat(request).await.map(shown)
        }
        "chat.complete, tools" => {
            let request = asks_for_the_weather()
                .with_tool(weather())
                .tool_choice("any")
                .set("parallel_tool_calls", false);
            m.chat(request).await.map(shown)
        }
        "chat.complete, result of a tool" => {
            let request = asks_for_the_weather()
                .message(wants_the_weather())
                .tool("D681PevKs", "get_weather", "sunny, 24 °C")
                .with_tool(weather());
            m.chat(request).await.map(shown)
        }
        "chat.complete, image" => {
            let content = [ContentChunk::text("What is this?"), ContentChunk::image(PIXEL)];
            m.chat(ChatRequest::new(MODEL).user(content)).await.map(shown)
        }
        "chat.complete, document" => {
            let document = ContentChunk::document("https://example.com/a.pdf");
            let request = ChatRequest::new(MODEL).user([ContentChunk::text("Sum it up."), document]);
            m.chat(request).await.map(shown)
        }
        "chat.complete, JSON object" => {
            let request = question().set("response_format", json!({ "type": "json_object" }));
            m.chat(request).await.map(shown)
        }
        "chat.complete, JSON schema" => {
            let schema = json!({
                "type": "object",
                "properties": { "name": { "type": "string" }, "population": { "type": "integer" } },
                "required": ["name", "population"],
                "additionalProperties": false,
            });
            let format =
                json!({ "type": "json_schema", "json_schema": { "name": "city", "schema": schema, "strict": true } });
            let request = ChatRequest::new(MODEL)
                .user("Describe Paris as JSON.")
                .set("response_format", format);
            m.chat(request).await.map(shown)
        }
        "chat.parse" => {
            let request = ChatRequest::new(MODEL)
                .user("Describe Paris as JSON.")
                .json_schema::<City>("City");
            m.chat(request)
                .await
                .and_then(|answer| answer.parse::<City>())
                .map(shown)
        }
        "chat.stream" => stream(m.chat_stream(question()).await).await,
        "chat.stream, tools" => stream(m.chat_stream(asks_for_the_weather().with_tool(weather())).await).await,
        "chat.complete, refused" => m
            .chat(ChatRequest::new("no-such-model").user(QUESTION))
            .await
            .map(shown),
        "chat.complete, busy at first" => m.chat(ChatRequest::new(MODEL).user("Are you busy?")).await.map(shown),
        "chat.complete, async" => m.chat(winter()).await.map(shown),
        "chat.stream, async" => stream(m.chat_stream(winter()).await).await,
        "chat.complete, four at once" => {
            let requested = (0..4).map(|number| m.chat(ChatRequest::new(MODEL).user(format!("Question {number}"))));
            try_join_all(requested).await.map(shown)
        }
        "agents.complete" => m
            .agent_chat(AgentChatRequest::new(AGENT).user(QUESTION))
            .await
            .map(shown),
        "agents.stream" => stream(m.agent_chat_stream(AgentChatRequest::new(AGENT).user(QUESTION)).await).await,
        "fim.complete" => {
            let request = FimRequest::new("codestral-latest", "def add(a, b):")
                .suffix("\nprint(add(1, 2))")
                .temperature(0.2);
            m.fim(request).await.map(shown)
        }
        "fim.stream" => {
            let request = FimRequest::new("codestral-latest", "def add(a, b):").max_tokens(20);
            stream(m.fim_stream(request).await).await
        }

        "embeddings.create" => {
            let request = EmbeddingsRequest::new("mistral-embed", "The mistral is a wind.");
            m.embeddings(request).await.map(shown)
        }
        "embeddings.create, a list" => {
            let request = EmbeddingsRequest::new("codestral-embed", ["one", "deux"])
                .output_dimension(8)
                .output_dtype("float");
            m.embeddings(request).await.map(shown)
        }
        "classifiers.moderate" => {
            let request = ModerationRequest::new("mistral-moderation-latest", ["I like the wind."]);
            m.moderate(request).await.map(shown)
        }
        "classifiers.moderate_chat" => {
            let chat = [ChatMessage::new("user", QUESTION)];
            let request = ChatModerationRequest::new("mistral-moderation-latest", chat);
            m.moderate_chat(request).await.map(shown)
        }
        "classifiers.classify" => {
            let request = ClassificationRequest::new("my-classifier", ["I like the wind."]);
            m.classify(request).await.map(shown)
        }
        "classifiers.classify_chat" => {
            let chats = [[ChatMessage::new("user", QUESTION)]];
            m.classify_chat(ChatClassificationRequest::new("my-classifier", chats))
                .await
                .map(shown)
        }
        "ocr.process" => {
            let request = OcrRequest::new(
                "mistral-ocr-latest",
                ContentChunk::document("https://example.com/a.pdf"),
            )
            .pages([0, 1])
            .set("include_image_base64", false);
            m.ocr(request).await.map(shown)
        }
        "ocr.process, image" => {
            let request = OcrRequest::new("mistral-ocr-latest", ContentChunk::image(PIXEL));
            m.ocr(request).await.map(shown)
        }
        "audio.transcriptions.complete" => {
            let request = TranscriptionRequest::new("voxtral-mini-latest")
                .file("wind.wav", WAVE)
                .language("fr");
            m.transcribe(request).await.map(shown)
        }
        "audio.transcriptions.stream" => {
            let request = TranscriptionRequest::new("voxtral-mini-latest").file("wind.wav", WAVE);
            stream(m.transcribe_stream(request).await).await
        }
        "audio.speech.complete" => {
            let request = SpeechRequest::new("Bonjour")
                .set("model", "voxtral-tts-latest")
                .set("voice_id", "v1")
                .set("response_format", "wav");
            m.speech(request).await.map(shown)
        }

        "models.list" => m.models().await.map(shown),
        "models.retrieve" => m.model(MODEL).await.map(shown),
        "models.delete" => m.delete_model("ft:my-model:1").await.map(shown),
        "files.upload" => {
            let upload = FileUpload::new("batch.jsonl", "{\"custom_id\": \"0\"}\n").purpose("batch");
            m.upload_file(upload).await.map(shown)
        }
        "files.list" => {
            let query = ListQuery::new().page(0).page_size(10).set("purpose", "batch");
            m.files(query).await.map(shown)
        }
        "files.retrieve" => m.file(FILE_ID).await.map(shown),
        "files.download" => m.file_content(FILE_ID).await.map(|content| shown(content.as_ref())),
        "files.get_signed_url" => m.file_url(FILE_ID, 12).await.map(shown),
        "files.delete" => m.delete_file(FILE_ID).await.map(shown),
        "batch.jobs.create" => {
            let request = BatchRequest::new("/v1/chat/completions")
                .input_files([FILE_ID])
                .set("model", MODEL)
                .set("metadata", json!({ "suite": "winds" }))
                .set("timeout_hours", 2);
            m.create_batch_job(request).await.map(shown)
        }
        "batch.jobs.list" => m.batch_jobs(ListQuery::new().page(0).page_size(10)).await.map(shown),
        "batch.jobs.get" => m.batch_job(JOB_ID).await.map(shown),
        "batch.jobs.cancel" => m.cancel_batch_job(JOB_ID).await.map(shown),

        "beta.agents.create" => {
            let request = AgentRequest::new("mistral-medium-latest", "winds")
                .set("instructions", "Speak of winds.")
                .tools([Tool::built_in("web_search"), weather()])
                .set("completion_args", json!({ "temperature": 0.3 }));
            m.create_agent(request).await.map(shown)
        }
        "beta.agents.list" => m.agents(ListQuery::new().page(0).page_size(5)).await.map(shown),
        "beta.agents.get" => m.agent(AGENT).await.map(shown),
        "beta.agents.update" => {
            let change = AgentRequest::change().set("description", "Knows the winds");
            m.update_agent(AGENT, change).await.map(shown)
        }
        "beta.agents.update_version" => m.update_agent_version(AGENT, 2).await.map(shown),
        "beta.agents.delete" => m.delete_agent(AGENT).await.map(shown),
        "beta.conversations.start" => {
            let request = starts()
                .instructions("Be brief.")
                .tools([Tool::built_in("web_search")])
                .set("completion_args", json!({ "temperature": 0.3 }))
                .store(true);
            m.start_conversation(request).await.map(shown)
        }
        "beta.conversations.start, entries" => {
            let inputs = [ConversationEntry::message("user", "Which wind is cold?")];
            m.start_conversation(ConversationRequest::with_agent(AGENT, inputs))
                .await
                .map(shown)
        }
        "beta.conversations.start_stream" => stream(m.start_conversation_stream(starts()).await).await,
        "beta.conversations.append" => {
            let request = AppendRequest::new("And which is warm?");
            m.append_to_conversation(CONVERSATION, request).await.map(shown)
        }
        "beta.conversations.append_stream" => {
            let request = AppendRequest::new("And which is warm?");
            stream(m.append_to_conversation_stream(CONVERSATION, request).await).await
        }
        "beta.conversations.restart" => {
            let request = RestartRequest::new("msg_1").inputs("And dry?");
            m.restart_conversation(CONVERSATION, request).await.map(shown)
        }
        "beta.conversations.restart_stream" => {
            let request = RestartRequest::new("msg_1").inputs("And dry?");
            stream(m.restart_conversation_stream(CONVERSATION, request).await).await
        }
        "beta.conversations.list" => m.conversations(ListQuery::new().page(0).page_size(5)).await.map(shown),
        "beta.conversations.get" => m.conversation(CONVERSATION).await.map(shown),
        "beta.conversations.get_history" => m.conversation_history(CONVERSATION).await.map(shown),
        "beta.conversations.get_messages" => m.conversation_messages(CONVERSATION).await.map(shown),
        "beta.conversations.delete" => m.delete_conversation(CONVERSATION).await.map(shown),
        _ => return None,
    })
}
