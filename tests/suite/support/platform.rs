//! The resources of the stand-in: models, files, batch jobs, agents, conversations, libraries, voices. It stores
//! nothing: each response has the form of the real one, with the requested ids.

use bytes::Bytes;
use serde_json::{Value, json};

use super::api::{created, id};
use super::server::{Call, Reply};

const DAY: &str = "2026-11-21T10:00:00Z";

/// The response, or `None` for an unknown path.
pub fn answer(number: usize, path: &str, call: &Call) -> Option<Reply> {
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    let request = call.json();
    let body = match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["models"]) => {
            json!({ "object": "list", "data": [model("mistral-small-latest"), model("mistral-embed")] })
        }
        ("GET", ["models", id]) => model(id),
        ("DELETE", ["models", id]) => json!({ "id": id, "object": "model", "deleted": true }),
        ("PATCH", ["fine_tuning", "models", id]) => fine_tuned(id, &request, number),
        (method @ ("POST" | "DELETE"), ["fine_tuning", "models", id, "archive"]) => {
            json!({ "id": id, "object": "model", "archived": method == "POST" })
        }

        ("POST", ["files"]) => {
            let uploaded = json!({ "id": id(number), "object": "file", "bytes": call.body.len(), "created_at": created(number), "filename": "upload", "purpose": "ocr", "sample_type": "ocr_input", "source": "upload" });
            return Some(Reply::new(200, "application/json; charset=utf-8", uploaded.to_string()));
        }
        ("GET", ["files"]) => json!({ "data": [file(&id(number), number)], "object": "list", "total": 1 }),
        ("GET", ["files", id]) => file(id, number),
        ("GET", ["files", _, "content"]) => {
            return Some(Reply::new(
                200,
                "application/octet-stream",
                Bytes::from_static(b"\x00\x01\x02 stand-in \xff"),
            ));
        }
        ("GET", ["files", name, "url"]) => {
            json!({ "url": format!("https://files.example/{name}?signature={}", id(number)) })
        }
        ("DELETE", ["files", id]) => json!({ "id": id, "object": "file", "deleted": true }),

        ("POST", ["batch", "jobs"]) => job(&id(number), "QUEUED", &request["input_files"], number),
        ("GET", ["batch", "jobs"]) => {
            json!({ "data": [job(&id(number), "RUNNING", &json!([]), number)], "object": "list", "total": 1 })
        }
        ("GET", ["batch", "jobs", id]) => job(id, "RUNNING", &json!([]), number),
        ("POST", ["batch", "jobs", id, "cancel"]) => job(id, "CANCELLATION_REQUESTED", &json!([]), number),
        ("DELETE", ["batch", "jobs", id]) => json!({ "id": id, "object": "batch", "deleted": true }),

        ("POST", ["agents"]) => agent(&format!("ag_{}", id(number)), &request, number),
        ("GET", ["agents"]) => json!([agent(&format!("ag_{}", id(number)), &Value::Null, number)]),
        ("GET", ["agents", id, "versions"]) => json!([agent(id, &Value::Null, number)]),
        ("GET", ["agents", id] | ["agents", id, "versions", _])
        | ("PATCH", ["agents", id] | ["agents", id, "version"]) => agent(id, &request, number),

        ("GET", ["conversations"]) => json!([conversation(&format!("conv_{}", id(number)))]),
        ("GET", ["conversations", id]) => conversation(id),
        ("GET", ["conversations", id, "history"]) => {
            json!({ "object": "conversation.history", "conversation_id": id, "entries": printed(number) })
        }
        ("GET", ["conversations", id, "messages"]) => {
            json!({ "object": "conversation.messages", "conversation_id": id, "messages": printed(number) })
        }

        ("GET", ["audio", "voices"]) => {
            let voice = json!({ "id": id(number), "name": "Marianne", "type": "preset", "created_at": DAY, "user_id": null, "languages": ["fr"] });
            json!({ "items": [voice], "total": 1, "page": 1, "page_size": 10, "total_pages": 1 })
        }

        ("POST", ["libraries"]) => {
            let library = library(&id(number), &request);
            return Some(Reply::new(201, "application/json", library.to_string()));
        }
        ("GET", ["libraries"]) => json!({ "data": [library(&id(number), &Value::Null)] }),
        ("GET" | "PATCH" | "PUT" | "DELETE", ["libraries", id]) => library(id, &request),
        ("POST", ["libraries", library, "documents"]) => {
            let uploaded = document(library, &id(number), number);
            return Some(Reply::new(201, "application/json", uploaded.to_string()));
        }
        ("GET", ["libraries", library, "documents"]) => {
            let pages =
                json!({ "total_items": 1, "total_pages": 1, "current_page": 0, "page_size": 5, "has_more": false });
            json!({ "pagination": pages, "data": [document(library, &id(number), number)] })
        }
        ("GET", ["libraries", library, "documents", id]) => document(library, id, number),
        ("GET", ["libraries", _, "documents", id, "status"]) => {
            json!({ "document_id": id, "process_status": "done", "processing_status": "Completed" })
        }
        ("GET", ["libraries", _, "documents", _, "text_content"]) => {
            json!({ "text": format!("The mistral blows for the {number}th time.") })
        }
        ("GET", ["libraries", _, "documents", name, "signed-url"]) => {
            json!(format!("https://files.example/{name}?signature={}", id(number)))
        }
        ("GET", ["libraries", id, "share"]) => json!({ "data": [sharing(id, &Value::Null)] }),
        ("PUT" | "DELETE", ["libraries", id, "share"]) => sharing(id, &request),

        ("DELETE", ["agents" | "conversations", _] | ["libraries", _, "documents", _]) => {
            return Some(Reply::new(204, "application/json", ""));
        }
        _ => return None,
    };
    Some(Reply::json(body.to_string()))
}

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 1_795_255_200, "owned_by": "mistralai", "capabilities": { "completion_chat": true }, "type": "base" })
}

fn fine_tuned(id: &str, request: &Value, number: usize) -> Value {
    json!({
        "id": id, "object": "model", "created": created(number), "owned_by": "mistralai", "workspace_id": self::id(9),
        "root": "open-mistral-7b", "root_version": "0.3", "archived": false, "name": request["name"],
        "description": request["description"], "capabilities": { "completion_chat": true }, "max_context_length": 32768,
        "aliases": [], "job": self::id(8), "model_type": "completion",
    })
}

fn file(id: &str, number: usize) -> Value {
    json!({ "id": id, "object": "file", "bytes": 19, "created_at": created(number), "filename": "batch.jsonl", "purpose": "batch", "sample_type": "batch_request", "source": "upload", "deleted": false, "num_lines": 1 })
}

fn job(id: &str, status: &str, input_files: &Value, number: usize) -> Value {
    // A job of inline requests has no files.
    let input_files = input_files.as_array().cloned().unwrap_or_default();
    json!({
        "id": id, "object": "batch", "input_files": input_files, "metadata": { "suite": "winds" },
        "endpoint": "/v1/chat/completions", "model": "mistral-small-latest", "errors": [], "status": status,
        "created_at": created(number), "total_requests": 1, "completed_requests": 0, "succeeded_requests": 0,
        "failed_requests": 0,
    })
}

fn agent(id: &str, request: &Value, number: usize) -> Value {
    let or = |name: &str, other: Value| match &request[name] {
        Value::Null => other,
        given => given.clone(),
    };
    json!({
        "object": "agent", "id": id, "name": or("name", json!("winds")), "model": or("model", json!("mistral-medium-latest")),
        "description": request["description"], "instructions": request["instructions"], "tools": or("tools", json!([])),
        "completion_args": or("completion_args", json!({})), "handoffs": null, "version": number, "versions": [0, number],
        "created_at": DAY, "updated_at": DAY, "deployment_chat": false, "source": "api",
    })
}

fn conversation(id: &str) -> Value {
    json!({ "object": "conversation", "id": id, "model": "mistral-medium-latest", "name": null, "description": null, "created_at": DAY, "updated_at": DAY })
}

fn printed(number: usize) -> Value {
    json!([
        { "object": "entry", "type": "message.input", "created_at": DAY, "id": "msg_1", "role": "user", "content": "Which wind is cold?" },
        { "object": "entry", "type": "message.output", "created_at": DAY, "completed_at": DAY, "id": format!("msg_{}", id(number)), "role": "assistant", "model": "mistral-medium-latest", "content": "The mistral." },
    ])
}

fn library(id: &str, request: &Value) -> Value {
    let name = request["name"].as_str().unwrap_or("winds");
    json!({ "id": id, "name": name, "description": request["description"], "created_at": DAY, "updated_at": DAY, "owner_id": self::id(9), "owner_type": "Workspace", "total_size": 27, "nb_documents": 1, "chunk_size": null })
}

fn document(library: &str, id: &str, number: usize) -> Value {
    json!({
        "id": id, "library_id": library, "hash": self::id(number + 3), "mime_type": "text/plain", "extension": "txt", "size": 27,
        "name": "winds.txt", "created_at": DAY, "process_status": "done", "processing_status": "Completed",
        "uploaded_by_id": self::id(9), "uploaded_by_type": "Workspace", "tokens_processing_total": 12,
    })
}

fn sharing(library: &str, request: &Value) -> Value {
    let level = request["level"].as_str().unwrap_or("Viewer");
    json!({ "library_id": library, "org_id": id(9), "role": level, "share_with_type": "User", "share_with_uuid": request["share_with_uuid"] })
}
