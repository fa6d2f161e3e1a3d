//! A stand-in for the Mistral API: responses in the form of the real ones, with ids, times and padding that differ
//! between calls. It has answers for a few conversations and echoes the others.

use std::collections::HashSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::platform;
use super::server::{Call, Reply, Server};

/// Starts the stand-in. Its base URL contains `stand-in`, so that cassettes show where they come from.
pub async fn start() -> Server {
    named(Server::start(handler()).await)
}

/// Starts the stand-in with answers of a test in front of its own.
pub async fn start_with(first: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let own = handler();
    named(Server::start(move |number, call| first(call).unwrap_or_else(|| own(number, call))).await)
}

/// Starts the stand-in with TLS.
pub async fn start_tls(tls: std::sync::Arc<rustls::ServerConfig>) -> Server {
    named(Server::start_tls(tls, handler()).await)
}

fn named(mut server: Server) -> Server {
    server.url.push_str("/stand-in");
    server
}

fn handler() -> impl Fn(usize, &Call) -> Reply {
    let refused = Mutex::new(HashSet::new());
    move |number, call| {
        // The first request that asks for a busy server is refused.
        if call.body.windows(4).any(|word| word == b"busy") && refused.lock().unwrap().insert(call.body.clone()) {
            return busy();
        }
        route(number, call)
    }
}

fn route(number: usize, call: &Call) -> Reply {
    let target = call.target.strip_prefix("/stand-in").unwrap_or(&call.target);
    let path = target.split('?').next().unwrap_or(target);
    if !call
        .header("authorization")
        .is_some_and(|value| value.starts_with("Bearer ") && value.len() > "Bearer ".len())
    {
        return Reply::new(401, "application/json", r#"{"detail":"Unauthorized"}"#);
    }
    let request = call.json();
    let reply = match (call.method.as_str(), path) {
        ("POST", "/v1/chat/completions" | "/v1/agents/completions" | "/v1/fim/completions")
            if request["stream"] == true =>
        {
            chat_stream(number, &request)
        }
        ("POST", "/v1/chat/completions" | "/v1/agents/completions") => chat(number, &request),
        ("POST", "/v1/fim/completions") => fim(number, &request),
        ("POST", "/v1/embeddings") => embeddings(number, &request),
        ("POST", "/v1/moderations" | "/v1/chat/moderations") => moderation(number, &request),
        ("POST", "/v1/classifications" | "/v1/chat/classifications") => classification(number, &request),
        ("POST", "/v1/audio/transcriptions") => transcription(number, call),
        ("POST", "/v1/audio/speech") => speech(number, &request),
        ("POST", "/v1/ocr") => ocr(number, &request),
        ("POST", path) if path.starts_with("/v1/conversations") => conversation(number, path, &request),
        _ => platform::answer(number, path, call)
            .unwrap_or_else(|| error(404, "invalid_request_error", "no Route matched with those values")),
    };
    let id = format!("019f0000-0000-7000-8000-{number:012}");
    reply
        .header("date", "Sat, 21 Nov 2026 10:00:00 GMT")
        .header("server", "stand-in")
        .header("mistral-correlation-id", &id)
        .header("x-kong-request-id", &id)
        .header("x-kong-upstream-latency", "211")
        .header("x-ratelimit-limit-req-minute", "60")
        .header("x-ratelimit-remaining-req-minute", &(59 - number % 60).to_string())
        .header("set-cookie", "__cf_bm=stand-in-cookie-value; path=/; HttpOnly; Secure")
        .header("set-cookie", "_cfuvid=stand-in-visitor-value; path=/; HttpOnly; Secure")
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let body = json!({ "object": "error", "message": message, "type": kind, "param": null, "code": "1500", "raw_status_code": status });
    Reply::new(status, "application/json", body.to_string())
}

fn busy() -> Reply {
    let body = json!({ "object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": null, "code": "1300", "raw_status_code": 429 });
    Reply::new(429, "application/json", body.to_string())
}

/// 32 unique hexadecimal digits.
pub fn id(number: usize) -> String {
    format!(
        "{:016x}{:016x}",
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        (number as u64 + 7).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
    )
}

pub fn created(number: usize) -> u64 {
    1_795_255_200 + number as u64
}

fn tokens(text: &str) -> usize {
    text.split_whitespace().count().max(1) * 4 / 3
}

fn usage(request: &Value, answer: &str) -> Value {
    let (prompt, completion) = (tokens(&request["messages"].to_string()), tokens(answer));
    json!({
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "num_cached_tokens": 0,
        "prompt_tokens_details": { "cached_tokens": 0 },
    })
}

/// The text of a message: a string, or chunks.
fn text_of(content: &Value) -> String {
    match content {
        Value::Array(chunks) => chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// The text of the model: a known answer, or an echo with the number of the call.
fn printed(number: usize, request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages
        .last()
        .map(|message| text_of(&message["content"]))
        .unwrap_or_default();
    let last = last.as_str();
    match last {
        "What is the capital of France?" => "The capital of France is **Paris**.".to_owned(),
        "Tell me about the mistral." => {
            "The mistral is a strong, cold wind.\n\n- It blows from the north-west.\n- It's felt in the Rhône valley, down to Marseille.".to_owned()
        }
        "Describe Paris as JSON." => r#"{"name": "Paris", "population": 2133111}"#.to_owned(),
        _ if messages.last().is_some_and(|message| message["role"] == "tool") => format!("The tool says: {last}"),
        other => format!("Answer {number} to: {other}"),
    }
}

fn wants_tool(request: &Value) -> Option<Value> {
    let is_answered = request["messages"]
        .as_array()
        .is_some_and(|messages| messages.iter().any(|message| message["role"] == "tool"));
    let tool = &request["tools"][0]["function"]["name"];
    (tool.is_string() && !is_answered).then(|| tool.clone())
}

/// The model: that of the request, or that of an agent.
fn model(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("mistral-medium-latest")
}

fn chat(number: usize, request: &Value) -> Reply {
    if let Some(unknown) = request["model"].as_str().filter(|model| model.starts_with("no-such")) {
        return error(400, "invalid_model", &format!("Invalid model: {unknown}"));
    }
    let (message, reason, answer) = match wants_tool(request) {
        Some(name) => {
            let call = json!({ "id": &id(number)[..9], "function": { "name": name, "arguments": "{\"city\": \"Paris\"}" }, "index": 0 });
            (
                json!({ "role": "assistant", "tool_calls": [call], "content": "" }),
                "tool_calls",
                String::new(),
            )
        }
        None => {
            let answer = printed(number, request);
            (
                json!({ "role": "assistant", "tool_calls": null, "content": answer }),
                "stop",
                answer,
            )
        }
    };
    let body = json!({
        "id": id(number),
        "created": created(number),
        "model": model(request),
        "usage": usage(request, &answer),
        "object": "chat.completion",
        "choices": [{ "index": 0, "finish_reason": reason, "message": message }],
    });
    Reply::json(body.to_string())
}

fn chat_stream(number: usize, request: &Value) -> Reply {
    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    let (reason, answer) = match wants_tool(request) {
        Some(name) => {
            let call = json!({ "id": &id(number)[..9], "function": { "name": name, "arguments": "{\"city\": \"Paris\"}" }, "index": 0 });
            deltas.push(json!({ "content": "", "tool_calls": [call] }));
            ("tool_calls", String::new())
        }
        None => {
            let answer = printed(number, request);
            deltas.extend(answer.split_inclusive(' ').map(|word| json!({ "content": word })));
            deltas.push(json!({ "content": "" }));
            ("stop", answer)
        }
    };
    let mut stream = String::new();
    let last = deltas.len() - 1;
    for (at, delta) in deltas.into_iter().enumerate() {
        let mut chunk = json!({
            "id": id(number),
            "object": "chat.completion.chunk",
            "created": created(number),
            "model": model(request),
            "choices": [{ "index": 0, "delta": delta, "finish_reason": if at == last { json!(reason) } else { Value::Null } }],
        });
        if at == last {
            chunk["usage"] = usage(request, &answer);
        } else {
            // The real API pads its chunks with text of random length.
            chunk["p"] = json!(&"abcdefghijklmnopqrstuvwxyz0123456789"[..(number * 7 + at * 5) % 36]);
        }
        stream.push_str(&format!("data: {chunk}\n\n"));
    }
    stream.push_str("data: [DONE]\n\n");
    Reply::events(stream)
}

fn fim(number: usize, request: &Value) -> Reply {
    let body = json!({
        "id": id(number), "object": "chat.completion", "created": created(number), "model": request["model"],
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "    return a + b\n" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17 },
    });
    Reply::json(body.to_string())
}

fn embeddings(number: usize, request: &Value) -> Reply {
    let inputs = match &request["input"] {
        Value::Array(inputs) => inputs.clone(),
        one => vec![one.clone()],
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let seed = input
                .as_str()
                .unwrap_or_default()
                .bytes()
                .fold(1u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            let vector: Vec<f64> = (0..8)
                .map(|at| f64::from(seed.rotate_left(at * 4) % 4096) / 32768.0 - 0.0625)
                .collect();
            json!({ "object": "embedding", "embedding": vector, "index": index })
        })
        .collect();
    let body = json!({ "id": id(number), "object": "list", "data": data, "model": request["model"], "usage": { "prompt_tokens": 6, "total_tokens": 6, "completion_tokens": 0 } });
    Reply::json(body.to_string())
}

/// With floats in the form of a Python server, like the real API.
fn moderation(number: usize, request: &Value) -> Reply {
    let body = format!(
        r#"{{"id":"{}","model":{},"results":[{{"categories":{{"sexual":false,"pii":false}},"category_scores":{{"sexual":1.1984e-05,"pii":0.00021}}}}]}}"#,
        id(number),
        request["model"]
    );
    Reply::json(body)
}

fn speech(number: usize, request: &Value) -> Reply {
    let audio = "AAECAwQFBgc"[..4 + number % 2 * 4].to_owned();
    if request["stream"] == true {
        return Reply::events(format!(
            "event: speech.audio.delta\ndata: {}\n\nevent: speech.audio.done\ndata: {}\n\n",
            json!({ "type": "speech.audio.delta", "audio_data": audio }),
            json!({ "type": "speech.audio.done", "usage": { "prompt_tokens": 3, "total_tokens": 9, "completion_tokens": 6 } })
        ));
    }
    Reply::json(json!({ "audio_data": audio }).to_string())
}

fn ocr(number: usize, request: &Value) -> Reply {
    let page = |index: usize| json!({ "index": index, "markdown": format!("# Page {index} of answer {number}"), "images": [], "dimensions": { "dpi": 200, "height": 2200, "width": 1700 }, "tables": [], "header": null, "footer": null });
    let body = json!({ "pages": [page(0), page(1)], "model": request["model"], "document_annotation": null, "usage_info": { "pages_processed": 2, "doc_size_bytes": 18810 } });
    Reply::json(body.to_string())
}

fn conversation(number: usize, path: &str, request: &Value) -> Reply {
    let printed = format!("Answer {number} to: {}", request["inputs"]);
    let conversation = match path.split('/').nth(3) {
        Some(id) => id.to_owned(),
        None => format!("conv_{}", id(number)),
    };
    let message = format!("msg_{}", id(number + 1));
    let usage = json!({ "prompt_tokens": 16, "completion_tokens": 2, "total_tokens": 18 });
    if request["stream"] == true {
        let delta = |text: &str| json!({ "type": "message.output.delta", "created_at": "2026-11-21T10:00:01Z", "output_index": 0, "id": message, "content_index": 0, "model": request["model"], "role": "assistant", "content": text });
        let mut events = vec![
            json!({ "type": "conversation.response.started", "created_at": "2026-11-21T10:00:00Z", "conversation_id": conversation }),
        ];
        events.extend(printed.split_inclusive(' ').map(delta));
        events.push(
            json!({ "type": "conversation.response.done", "created_at": "2026-11-21T10:00:02Z", "usage": usage }),
        );
        let named = events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        return Reply::events(named.collect::<String>());
    }
    let entry = json!({ "object": "entry", "type": "message.output", "created_at": "2026-11-21T10:00:00Z", "completed_at": "2026-11-21T10:00:02Z", "model": request["model"], "id": message, "role": "assistant", "content": printed });
    let body = json!({ "object": "conversation.response", "conversation_id": conversation, "outputs": [entry], "usage": usage, "guardrails": null });
    Reply::json(body.to_string())
}

fn classification(number: usize, request: &Value) -> Reply {
    let scores = json!({ "wind": { "scores": { "mistral": 0.75, "tramontane": 0.25 } } });
    Reply::json(json!({ "id": id(number), "model": request["model"], "results": [scores] }).to_string())
}

fn transcription(number: usize, call: &Call) -> Reply {
    let usage = json!({ "prompt_audio_seconds": 3, "prompt_tokens": 4, "total_tokens": 40, "completion_tokens": 5 });
    let text = format!("Transcript {number}.");
    let streams = b"name=\"stream\"\r\n\r\ntrue";
    if call.body.windows(streams.len()).any(|part| part == streams) {
        let events = [
            json!({ "type": "transcription.language", "audio_language": "fr" }),
            json!({ "type": "transcription.text.delta", "text": text }),
            json!({ "type": "transcription.done", "model": "voxtral-mini-latest", "text": text, "language": "fr", "segments": [], "usage": usage }),
        ];
        let named = events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        return Reply::events(named.collect::<String>());
    }
    let body =
        json!({ "model": "voxtral-mini-latest", "text": text, "language": null, "segments": [], "usage": usage });
    Reply::json(body.to_string())
}
