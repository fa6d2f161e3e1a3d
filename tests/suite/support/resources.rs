//! A stand-in for the parts of the API that store something: files with signed URLs, batch jobs, agents, conversations,
//! libraries. Ids and URLs differ in each server. What was deleted is gone, and only the newest URL of a file works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{Call, Reply, Server};

/// What the server stores.
#[derive(Default)]
struct Store {
    seed: u64,
    next: u64,
    /// Files in the order of their upload.
    files: Vec<(String, String)>,
    /// The file of each valid URL.
    urls: BTreeMap<String, String>,
    /// The input file of each batch job, how often its state was read, and its output file.
    jobs: BTreeMap<String, (String, u32, Option<String>)>,
    agents: Vec<String>,
    /// The entries of each conversation.
    conversations: BTreeMap<String, Vec<Value>>,
    /// The documents of each library, and how often the state of each was read.
    libraries: BTreeMap<String, BTreeMap<String, u32>>,
    /// The dollars that all requests cost, according to [`PRICES`].
    spent: u32,
}

/// What the server charges: a dollar for each token of the model `m`, and for each page of the model `ocr`.
pub const PRICES: &str = "date: '2030-01-01'\nsource: the server\nmodels:\n- { names: [m], input: 1000000, output: 1000000 }\n- { names: [ocr], page: 1 }\n";

/// Starts the server. Servers with different seeds have different ids, and their jobs take different times.
pub async fn start(seed: u64) -> Server {
    start_with_bill(seed).await.0
}

/// As [`start`], with a function that returns the dollars which all requests have cost.
pub async fn start_with_bill(seed: u64) -> (Server, impl Fn() -> u32) {
    let store = Arc::new(Mutex::new(Store {
        seed,
        ..Store::default()
    }));
    let bill = store.clone();
    let server = Server::start(move |_, call| store.lock().unwrap().answer(call)).await;
    (server, move || bill.lock().unwrap().spent)
}

fn missing() -> Reply {
    let body = json!({ "object": "error", "message": "not found", "type": "not_found" });
    Reply::new(404, "application/json", body.to_string())
}

fn ok(body: &Value) -> Reply {
    Reply::json(body.to_string())
}

fn created(body: &Value) -> Reply {
    Reply::new(201, "application/json", body.to_string())
}

fn described_job(id: &str, input: &str, status: &str, output: Option<&str>) -> Value {
    json!({
        "id": id, "object": "batch", "input_files": [input], "endpoint": "/v1/chat/completions", "model": "m", "errors": [],
        "status": status, "output_file": output, "created_at": 1, "total_requests": 1, "completed_requests": 1,
        "succeeded_requests": 1, "failed_requests": 0,
    })
}

fn described_library(id: &str) -> Value {
    json!({
        "id": id, "name": "ours", "created_at": TIME, "updated_at": TIME, "owner_id": null, "owner_type": "User",
        "total_size": 0, "nb_documents": 0, "chunk_size": null,
    })
}

fn described_document(id: &str, library: &str) -> Value {
    json!({
        "id": id, "library_id": library, "hash": null, "mime_type": null, "extension": null, "size": 1, "name": "a.txt",
        "created_at": TIME, "process_status": "in_progress", "processing_status": "Running", "uploaded_by_id": null,
        "uploaded_by_type": "User", "tokens_processing_total": 1,
    })
}

const TIME: &str = "2026-11-27T10:00:00Z";

impl Store {
    /// A random text: eight hexadecimal digits four times, as in a UUID without hyphens.
    fn id(&mut self) -> String {
        self.next += 1;
        let mut state = (self.seed << 32 | self.next).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut words = (0..4).map(|_| {
            state ^= state >> 29;
            state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            format!("{:08x}", state >> 32)
        });
        words.by_ref().collect()
    }

    fn answer(&mut self, call: &Call) -> Reply {
        if call.header("authorization").is_none_or(|key| key == "Bearer wrong") {
            return Reply::new(401, "application/json", r#"{"detail":"Unauthorized"}"#);
        }
        let path = call.target.split('?').next().unwrap().to_owned();
        let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let body = call.json();
        match (call.method.as_str(), segments.as_slice()) {
            (_, ["files", ..]) => self.file(&call.method, &segments[1..], call),
            (_, ["batch", "jobs", ..]) => self.job(&call.method, &segments[2..], &body),
            (_, ["libraries", ..]) => self.library(&call.method, &segments[1..]),
            (_, ["conversations", ..]) => self.conversation(&call.method, &segments[1..], &body),
            ("POST", ["agents"]) => {
                let id = format!("ag_{}", self.id());
                self.agents.push(id.clone());
                ok(&json!({
                    "id": id, "object": "agent", "name": body["name"], "model": body["model"], "version": 0, "versions": [0],
                    "created_at": TIME, "updated_at": TIME, "deployment_chat": false, "source": "api",
                }))
            }
            ("POST", ["ocr"]) => match self
                .urls
                .get(body["document"]["document_url"].as_str().unwrap_or_default())
            {
                Some(_) => self.charged(1, &json!({
                    "pages": [{ "index": 0, "markdown": "# A page", "images": [], "dimensions": null }], "model": body["model"],
                    "usage_info": { "pages_processed": 1 },
                })),
                None => Reply::new(
                    400,
                    "application/json",
                    r#"{"object":"error","message":"the URL has expired"}"#,
                ),
            },
            ("POST", ["chat", "completions"]) => self.chat(&body),
            _ => missing(),
        }
    }

    /// A response that costs this number of dollars.
    fn charged(&mut self, dollars: u32, body: &Value) -> Reply {
        self.spent += dollars;
        ok(body)
    }

    fn file(&mut self, method: &str, segments: &[&str], call: &Call) -> Reply {
        let described = |(id, text): &(String, String)| json!({ "id": id, "object": "file", "bytes": text.len(), "created_at": 1, "filename": "a.txt", "purpose": "ocr", "sample_type": "ocr_input", "source": "upload" });
        let find = |store: &Self, id: &str| store.files.iter().position(|(other, _)| other == id);
        match (method, segments) {
            ("POST", []) => {
                let file = (self.id(), String::from_utf8_lossy(&call.body).into_owned());
                self.files.push(file);
                ok(&described(self.files.last().unwrap()))
            }
            ("GET", []) => {
                // A page of two files, or all.
                let page = call.target.rsplit_once("page=").and_then(|(_, page)| page.parse().ok());
                let (skip, take) = page.map_or((0, usize::MAX), |page: usize| (2 * page, 2));
                let data: Vec<Value> = self.files.iter().rev().skip(skip).take(take).map(described).collect();
                ok(&json!({ "object": "list", "total": data.len(), "data": data }))
            }
            ("GET", [id]) => find(self, id).map_or_else(missing, |at| ok(&described(&self.files[at]))),
            ("GET", [id, "url"]) => {
                if find(self, id).is_none() {
                    return missing();
                }
                let url = format!("https://storage.example.com/{id}/download?signature={}", self.id());
                self.urls.retain(|_, file| file != id);
                self.urls.insert(url.clone(), (*id).to_owned());
                ok(&json!({ "url": url }))
            }
            ("GET", [id, "content"]) => match find(self, id) {
                Some(at) => Reply::new(200, "application/octet-stream", self.files[at].1.clone()),
                None => missing(),
            },
            ("DELETE", [id]) => match find(self, id) {
                Some(at) => {
                    self.files.remove(at);
                    self.urls.retain(|_, file| file != id);
                    ok(&json!({ "id": id, "object": "file", "deleted": true }))
                }
                None => missing(),
            },
            _ => missing(),
        }
    }

    fn job(&mut self, method: &str, segments: &[&str], body: &Value) -> Reply {
        let ends_after = 1 + u32::try_from(self.seed % 4).unwrap();
        match (method, segments) {
            ("POST", []) => {
                let input = body["input_files"][0].as_str().unwrap_or_default().to_owned();
                if !self.files.iter().any(|(id, _)| *id == input) {
                    return missing();
                }
                let id = self.id();
                self.jobs.insert(id.clone(), (input.clone(), 0, None));
                ok(&described_job(&id, &input, "QUEUED", None))
            }
            ("GET", [id]) => {
                let Some((input, reads, output)) = self.jobs.get(*id).cloned() else {
                    return missing();
                };
                let output = match output {
                    None if reads + 1 >= ends_after => {
                        let output = self.id();
                        self.files.push((output.clone(), "{\"custom_id\":\"1\"}\n".to_owned()));
                        Some(output)
                    }
                    output => output,
                };
                self.jobs
                    .insert((*id).to_owned(), (input.clone(), reads + 1, output.clone()));
                let status = if output.is_some() { "SUCCESS" } else { "RUNNING" };
                ok(&described_job(id, &input, status, output.as_deref()))
            }
            _ => missing(),
        }
    }

    fn library(&mut self, method: &str, segments: &[&str]) -> Reply {
        let new = self.id();
        if let ("POST", []) = (method, segments) {
            self.libraries.insert(new.clone(), BTreeMap::new());
            return created(&described_library(&new));
        }
        let library = segments.first().copied().unwrap_or_default();
        let Some(documents) = self.libraries.get_mut(library) else {
            return missing();
        };
        match (method, segments) {
            ("POST", [_, "documents"]) => {
                documents.insert(new.clone(), 0);
                created(&described_document(&new, library))
            }
            ("GET", [_, "documents"]) => {
                let data: Vec<Value> = documents.keys().map(|id| described_document(id, library)).collect();
                let pagination = json!({ "total_items": data.len(), "total_pages": 1, "current_page": 0, "page_size": 100, "has_more": false });
                ok(&json!({ "data": data, "pagination": pagination }))
            }
            ("GET", [_, "documents", id, "status"]) => match documents.get_mut(*id) {
                Some(reads) => {
                    *reads += 1;
                    let (process, processing) = match *reads > 2 {
                        true => ("done", "Completed"),
                        false => ("in_progress", "Running"),
                    };
                    ok(&json!({ "document_id": id, "process_status": process, "processing_status": processing }))
                }
                None => missing(),
            },
            ("DELETE", [_, "documents", id]) => match documents.remove(*id) {
                Some(_) => Reply::new(204, "application/json", ""),
                None => missing(),
            },
            ("DELETE", [_]) => {
                self.libraries.remove(library);
                ok(&described_library(library))
            }
            _ => missing(),
        }
    }

    fn conversation(&mut self, method: &str, segments: &[&str], body: &Value) -> Reply {
        let (new, entry) = (format!("conv_{}", self.id()), format!("msg_{}", self.id()));
        let number = self.next;
        let output = json!({ "object": "entry", "type": "message.output", "id": entry, "role": "assistant", "content": format!("answer {number}") });
        let answered = |id: &str| {
            let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
            ok(
                &json!({ "object": "conversation.response", "conversation_id": id, "outputs": [output], "usage": usage }),
            )
        };
        match (method, segments) {
            ("POST", []) => {
                if !self.agents.iter().any(|agent| body["agent_id"] == agent.as_str()) {
                    return missing();
                }
                self.conversations.insert(new.clone(), vec![output.clone()]);
                answered(&new)
            }
            ("POST", [id]) => match self.conversations.get_mut(*id) {
                Some(entries) => {
                    entries.push(output.clone());
                    answered(id)
                }
                None => missing(),
            },
            ("POST", [id, "restart"]) => match self.conversations.get(*id) {
                Some(entries) if entries.iter().any(|entry| entry["id"] == body["from_entry_id"]) => {
                    self.conversations.insert(new.clone(), vec![output.clone()]);
                    answered(&new)
                }
                _ => missing(),
            },
            ("GET", [id, "history"]) => match self.conversations.get(*id) {
                Some(entries) => {
                    ok(&json!({ "object": "conversation.history", "conversation_id": id, "entries": entries }))
                }
                None => missing(),
            },
            ("DELETE", [id]) => match self.conversations.remove(*id) {
                Some(_) => Reply::new(204, "application/json", ""),
                None => missing(),
            },
            _ => missing(),
        }
    }

    /// The first message asks for a tool, the others get words that differ in each server.
    fn chat(&mut self, body: &Value) -> Reply {
        let id = self.id();
        let is_first = body["messages"].as_array().is_some_and(|messages| messages.len() == 1);
        let message = if is_first && body["tools"].is_array() {
            let call = json!({ "id": &id[..9], "function": { "name": "look", "arguments": "{\"at\":\"it\"}" } });
            json!({ "role": "assistant", "content": "", "tool_calls": [call] })
        } else {
            json!({ "role": "assistant", "content": format!("It is {}.", self.seed % 3 + self.next % 2) })
        };
        self.charged(
            2,
            &json!({ "id": id, "object": "chat.completion", "created": 1, "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 }, "model": body["model"], "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }),
        )
    }
}
