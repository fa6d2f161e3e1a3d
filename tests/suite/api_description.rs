//! `verify --api`: recordings compared with a description of the API, the built-in one or that of a file.

use serde_json::{Value, json};

use crate::support::api;
use crate::support::corpus::corpus;
use crate::support::project::{Done, Project, done};
use crate::support::server::{Call, Reply};
use crate::support::skip::is_left_out;

/// Records the requests of a shell script. `ask PATH [curl arguments]` sends one.
async fn record(project: &Project, answer: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static, script: &str) {
    let server = api::start_with(answer).await;
    let script = format!(
        "ask() {{ path=$1; shift; curl --silent --show-error --fail-with-body --output answer.json \
         --header \"authorization: Bearer $MISTRAL_API_KEY\" \"$@\" \"$MISTRAL_SERVER_URL$path\" || cat answer.json; }}\n{script}"
    );
    let mut command = project.command(&["run", "--mode", "record", "--upstream", &server.url]);
    let done = done(command.args(["--", "sh", "-ec", &script]));
    assert_eq!((done.code(), done.stdout.as_str()), (0, ""), "{}", done.stderr);
}

/// The output, without the digits of keys.
fn printed(done: &Done) -> String {
    format!("exit status {}\n{}{}", done.code(), done.stdout, done.stderr)
}

fn without_keys() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("-[0-9a-f]{16}", "-[key]");
    settings.bind_to_scope()
}

fn chat(name: &str, more: &str) -> String {
    let messages = format!(r#"[{{"role":"user","content":"{name}"}}]"#);
    format!(r#"ask /v1/chat/completions -d '{{"model":"mistral-small-latest","messages":{messages}{more}}}'"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_in_the_form_of_the_api_agree_with_the_built_in_description() {
    let project = Project::new();
    let script = format!(
        "{}\n{}\nask /v1/embeddings -d '{{\"model\":\"mistral-embed\",\"input\":[\"a\"]}}'\nask '/v1/models?x=1'\n\
         echo '{{}}' | ask /v1/files -F purpose=batch -F file=@-\nask /v1/files/1/content\n",
        chat("one", ""),
        chat("two", r#","stream":true,"temperature":0.5"#),
    );
    record(&project, |_| None, &script).await;
    let _redacted = without_keys();
    insta::assert_snapshot!(printed(&project.run(&["verify", "--api"])));
    // Without the flag, nothing is compared.
    assert_eq!(project.run(&["verify"]).stdout, "6 cassettes, 0 problems\n");
}

/// A chat response of which one thing is wrong.
fn changed(name: &str) -> Option<Reply> {
    let mut body = json!({
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        "choices": [
            { "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "Yes." } },
            { "index": 1, "finish_reason": "stop", "message": { "role": "assistant", "content": "No." } },
        ],
    });
    match name {
        "type" => body["choices"][1]["message"]["content"] = 5.into(),
        "chunk" => body["choices"][0]["message"]["content"] = json!([{ "type": "text", "text": 5 }]),
        "new chunk" => body["choices"][0]["message"]["content"] = json!([{ "type": "smell", "smell": "sea" }]),
        "missing" => drop(body["choices"][1].as_object_mut()?.remove("finish_reason")),
        "unknown" => body["choices"][0]["message"]["mood"] = "good".into(),
        "value" => body["choices"][0]["finish_reason"] = "tired".into(),
        "stream" => {
            let event = |delta: Value, reason: Value| {
                let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
                format!(
                    "data: {}\n\n",
                    json!({ "id": "1", "model": "m", "choices": [choice], "p": "abc" })
                )
            };
            let events = [
                event(json!({ "content": "" }), Value::Null),
                event(json!({ "content": true }), Value::Null),
                event(json!({ "content": "" }), "stop".into()),
            ];
            return Some(Reply::events(events.concat() + "data: [DONE]\n\n"));
        }
        _ => return None,
    }
    Some(Reply::json(body.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_disagreement_is_reported_once_for_its_endpoint() {
    let project = Project::new();
    let answer = |call: &Call| match call.target.as_str() {
        "/stand-in/v1/chat/completions" => changed(call.json()["messages"][0]["content"].as_str()?),
        "/stand-in/v1/winds" => Some(Reply::json("{}")),
        "/stand-in/v1/embeddings" => Some(Reply::new(202, "application/json", "{}")),
        "/stand-in/v1/moderations" => Some(Reply::new(200, "text/html", "<p>Hello.")),
        _ => None,
    };
    let mut script = ["type", "chunk", "new chunk", "missing", "unknown", "value"]
        .map(|name| chat(name, ""))
        .join("\n");
    for line in [
        &*chat("type", r#","n":2"#),
        &chat("stream", r#","stream":true"#),
        &chat("one", r#","temprature":0.1,"max_tokens":"9","tool_choice":"perhaps""#),
        r#"ask /v1/chat/completions -d '{"messages":[{"content":"two"}]}'"#,
        "ask /v1/winds",
        "ask /v1/embeddings -X DELETE || true",
        r#"ask /v1/embeddings -d '{"model":"mistral-embed","input":"a"}'"#,
        r#"ask /v1/moderations -d '{"model":"m","input":"a"}'"#,
        "ask '/v1/files?page=one&page_size=5&colour=blue'",
        "echo '{}' | ask /v1/files -F purpose=swim -F depth=3 -F file=@-",
    ] {
        script.push('\n');
        script.push_str(line);
    }
    record(&project, answer, &script).await;
    let done = project.run(&["verify", "--api"]);
    let _redacted = without_keys();
    insta::assert_snapshot!(printed(&done));
    // The same for programs.
    let json = project.run(&["verify", "--api", "--format", "json"]);
    assert_eq!(json.code(), 1);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let endpoints = json["api"]["endpoints"].as_array().unwrap();
    let chat = endpoints
        .iter()
        .find(|found| found["endpoint"] == "POST /v1/chat/completions")
        .unwrap();
    let first = &chat["disagreements"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!(chat["compared"], 10);
    let kinds = endpoints
        .iter()
        .flat_map(|found| found["disagreements"].as_array().unwrap());
    let errors = kinds.filter(|kind| kind["severity"] == "error").count();
    assert!(done.stdout.contains(&format!("{errors} errors")), "{}", done.stdout);
    assert_eq!(json["api"]["description"]["date"], "2026-08-21");
}

/// A description in OpenAPI 3.0 with the keywords that the built-in one does not have.
const WINDS: &str = r##"
openapi: 3.0.3
info: { title: Winds, version: '2' }
servers: [{ url: 'https://winds.example/v1' }]
paths:
  /winds/{name}:
    parameters:
    - $ref: '#/components/parameters/Unit'
    - $ref: '#/components/parameters/Filter'
    get:
      responses:
        200: { $ref: '#/components/responses/Wind' }
    put:
      requestBody:
        required: true
        content:
          application/json:
            schema: { $ref: '#/components/schemas/Wind' }
      responses:
        2XX: { description: nothing }
  /gusts:
    get:
      responses:
        default:
          description: gusts
          content:
            text/event-stream:
              schema:
                oneOf: [{ $ref: '#/components/schemas/Gust' }, { $ref: '#/components/schemas/Calm' }]
                discriminator: { propertyName: kind }
components:
  parameters:
    Filter: { name: filter, in: query, style: deepObject, schema: { type: object } }
    Unit: { name: unit, in: query, required: true, schema: { type: array, items: { enum: [knots, km/h] } } }
  responses:
    Wind:
      description: a wind
      content:
        application/json:
          schema: { $ref: '#/components/schemas/Wind' }
  schemas:
    Named:
      type: object
      required: [name, id]
      properties: { name: { type: string }, id: { type: string, readOnly: true } }
    Wind:
      allOf:
      - $ref: '#/components/schemas/Named'
      - properties:
          speed: { type: number, nullable: true, minimum: 0, exclusiveMinimum: true }
          next: { $ref: '#/components/schemas/Wind' }
    Gust:
      properties: { kind: { type: string }, speed: { type: integer } }
      required: [kind, speed]
    Calm:
      properties: { kind: { type: string } }
"##;

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_a_file_replaces_the_built_in_one() {
    let project = Project::new();
    let answer = |call: &Call| match call.target.strip_prefix("/stand-in/v1/")?.split('?').next()? {
        "winds/mistral" if call.method == "PUT" => Some(Reply::new(204, "text/plain", "")),
        "winds/mistral" => Some(Reply::json(
            r#"{"name":"mistral","id":"1","speed":null,"next":{"name":"tramontane","speed":0}}"#,
        )),
        "gusts" => Some(Reply::events(
            "data: {\"kind\":\"Gust\",\"speed\":40}\n\ndata: {\"kind\":\"Calm\",\"speed\":0}\n\ndata: {\"kind\":\"Storm\"}\n\n",
        )),
        _ => None,
    };
    let script = "
        ask '/v1/winds/mistral?unit=knots&unit=km/h&filter%5Bmonth%5D=5'
        ask '/v1/winds/mistral?unit=mph'
        ask /v1/winds/mistral
        ask '/v1/winds/mistral?unit=knots' -X PUT -d '{\"name\":\"mistral\",\"speed\":3.5}'
        ask '/v1/winds/mistral?unit=km/h' -X PUT
        ask /v1/gusts
    ";
    record(&project, answer, script).await;
    project.write("winds.yaml", WINDS);
    let _redacted = without_keys();
    let compared = project.run(&["verify", "--api=winds.yaml"]);
    insta::assert_snapshot!(printed(&compared));
    // As JSON, it is the same.
    let document: Value = serde_yaml::from_str(WINDS).unwrap();
    project.write("winds.json", document.to_string());
    let json = project.run(&["verify", "--api=winds.json"]);
    assert_eq!(printed(&json), printed(&compared).replace("winds.yaml", "winds.json"));
}

#[test]
fn a_file_that_is_no_usable_description_is_an_error() {
    let project = Project::new();
    let cassette = concat!(env!("CARGO_MANIFEST_DIR"), "/cassettes/embeddings");
    let cassette = std::fs::read_dir(cassette).unwrap().next().unwrap().unwrap();
    project.write("cassettes/embeddings/a.yaml", std::fs::read(cassette.path()).unwrap());
    let file = cassette.file_name().into_string().unwrap();
    std::fs::rename(
        project.cassettes().join("embeddings/a.yaml"),
        project.cassettes().join("embeddings").join(file),
    )
    .unwrap();
    let mut all = String::new();
    for (name, text) in [
        ("empty.yaml", ""),
        ("list.yaml", "- a\n"),
        ("broken.yaml", "openapi: 3.1.0\npaths: {\n"),
        ("broken.json", "{\"openapi\": \"3.1.0\","),
        ("swagger.yaml", "swagger: '2.0'\npaths: { /a: {} }\n"),
        ("paths.yaml", "openapi: 3.1.0\n"),
        (
            "reference.yaml",
            "openapi: 3.1.0\npaths: { /a: { get: { $ref: '#/components/A' } } }\n",
        ),
        (
            "remote.yaml",
            "openapi: 3.1.0\npaths: { /a: { $ref: 'http://127.0.0.1:9/a.yaml' } }\n",
        ),
        (
            "pattern.yaml",
            "openapi: 3.1.0\npaths: { /v1/embeddings: { post: { requestBody: { content: { application/json: { schema: { properties: { model: { pattern: '(' } } } } } } } } }\n",
        ),
    ] {
        project.write(name, text);
        let done = project.run(&["verify", &format!("--api={name}")]);
        all.push_str(&format!("{name}: {}\n", printed(&done)));
    }
    all.push_str(&printed(&project.run(&["verify", "--api=absent.yaml"])));
    insta::assert_snapshot!(all);
}

/// Requests for most of what the stand-in answers.
const ALL: &str = r#"
    ask /v1/models; ask /v1/models/m; ask /v1/models/m -X DELETE
    ask /v1/fine_tuning/models/m -X PATCH -d '{"name":"n","description":"d"}'
    ask /v1/fine_tuning/models/m/archive -X POST; ask /v1/fine_tuning/models/m/archive -X DELETE
    chat='"messages":[{"role":"user","content":"Hello?"}]'
    tools='"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]'
    for stream in false true; do
        ask /v1/chat/completions -d "{\"model\":\"m\",\"stream\":$stream,$chat}"
        ask /v1/chat/completions -d "{\"model\":\"m\",\"stream\":$stream,$tools,$chat}"
        ask /v1/fim/completions -d "{\"model\":\"m\",\"stream\":$stream,\"prompt\":\"def\"}"
        ask /v1/conversations -d "{\"model\":\"m\",\"stream\":$stream,\"inputs\":\"a\"}"
        ask /v1/conversations/conv_1 -d "{\"stream\":$stream,\"inputs\":\"a\"}"
        ask /v1/audio/speech -d "{\"model\":\"m\",\"stream\":$stream,\"input\":\"a\"}"
        ask /v1/audio/transcriptions -F model=m -F stream=$stream -F file=@answer.json
    done
    ask /v1/agents/completions -d "{\"agent_id\":\"a\",$chat}"
    ask /v1/embeddings -d '{"model":"m","input":["a","b"]}'
    ask /v1/moderations -d '{"model":"m","input":"a"}'; ask /v1/chat/moderations -d '{"model":"m","input":[]}'
    ask /v1/classifications -d '{"model":"m","input":"a"}'; ask /v1/chat/classifications -d '{"model":"m","input":[]}'
    ask /v1/ocr -d '{"model":"m","document":{"type":"document_url","document_url":"https://a.example"}}'
    ask /v1/files -F purpose=ocr -F file=@answer.json; ask /v1/files; ask /v1/files/1; ask /v1/files/1/content
    ask '/v1/files/1/url?expiry=1'; ask /v1/files/1 -X DELETE
    ask /v1/batch/jobs -d '{"model":"m","endpoint":"/v1/chat/completions","input_files":["1"]}'
    ask /v1/batch/jobs -d '{"model":"m","endpoint":"/v1/chat/completions","requests":[{"body":{}}]}'
    ask /v1/batch/jobs; ask /v1/batch/jobs/1; ask /v1/batch/jobs/1/cancel -X POST; ask /v1/batch/jobs/1 -X DELETE
    ask /v1/agents -d '{"model":"m","name":"n"}'; ask /v1/agents; ask /v1/agents/a; ask /v1/agents/a -X DELETE
    ask /v1/agents/a/versions; ask /v1/agents/a -X PATCH -d '{"name":"n"}'; ask '/v1/agents/a/version?version=1' -X PATCH
    ask /v1/conversations; ask /v1/conversations/c; ask /v1/conversations/c/history; ask /v1/conversations/c/messages
    ask /v1/conversations/c -X DELETE; ask /v1/audio/voices
    ask /v1/libraries -d '{"name":"n"}'; ask /v1/libraries; ask /v1/libraries/l; ask /v1/libraries/l -X DELETE
    ask /v1/libraries/l/documents -F file=@answer.json; ask /v1/libraries/l/documents; ask /v1/libraries/l/documents/d
    ask /v1/libraries/l/documents/d/status; ask /v1/libraries/l/documents/d/text_content
    ask /v1/libraries/l/documents/d/signed-url; ask /v1/libraries/l/documents/d -X DELETE; ask /v1/libraries/l/share
    ask /v1/libraries/l/share -X PUT -d '{"level":"Viewer","share_with_uuid":"u","share_with_type":"User"}'
"#;

/// The stand-in of these tests answers in the form of the API, with additions that the real one has too.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_answers_in_the_form_of_the_api() {
    let project = Project::new();
    record(&project, |_| None, ALL).await;
    let done = project.run(&["verify", "--api", "--format", "json"]);
    let done: Value = serde_json::from_str(&done.stdout).unwrap();
    let mut found = String::new();
    for endpoint in done["api"]["endpoints"].as_array().unwrap() {
        for kind in endpoint["disagreements"].as_array().unwrap() {
            if kind["severity"] != "info" {
                let [name, part, path, message] =
                    [&endpoint["endpoint"], &kind["part"], &kind["path"], &kind["message"]];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                found.push_str(&format!(
                    "{}: {} {}: {}\n",
                    text(name),
                    text(part),
                    text(path),
                    text(message)
                ));
            }
        }
    }
    assert!(
        done["api"]["compared"].as_u64() > Some(60),
        "{}",
        done["api"]["compared"]
    );
    assert_eq!(found, "");
}

#[test]
fn the_committed_cassettes_agree_with_the_built_in_description() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/cassettes");
    let done = Project::new().run(&["verify", "--api", "--dir", directory]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let last: Vec<&str> = done.stdout.lines().rev().take(2).collect();
    assert_eq!(
        last,
        [
            "7 cassettes, 0 problems",
            "7 of 7 recordings agree with Mistral AI API 1.0.0 of 2026-08-21 (built in): 0 errors, 0 warnings, 5 infos"
        ]
    );
}

/// The figures of docs/drift.md.
#[test]
fn recordings_of_real_traffic_agree_with_the_built_in_description() {
    if is_left_out() {
        return;
    }
    let Some(corpus) = corpus() else { return };
    let project = Project::new();
    assert_eq!(project.run(&["import", corpus.to_str().unwrap()]).code(), 1);
    let done = project.run(&["verify", "--api"]);
    let last: Vec<&str> = done.stdout.lines().rev().take(3).collect();
    assert_eq!(
        last,
        [
            "430 cassettes, 7 problems, 1 warning",
            "not compared: 15 error responses without a description",
            "419 of 430 recordings agree with Mistral AI API 1.0.0 of 2026-08-21 (built in): 7 errors, 1 warning, 22 infos",
        ]
    );
}
