//! Reads mappings that WireMock has recorded, with the bodies in its folder `__files`.
//!
//! A mapping can match many requests, and can make its response at run time. Only one that names a complete request and
//! a complete response is imported.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::body;
use super::body_files::BodyFiles;
use super::fields::{can_have_body, check_members, check_no_pattern, headers, required_text, status};
use super::interaction::{Headers, Interaction, SourceEntry, Timing, Turn, header};

const MAPPING: [&str; 14] = [
    "id",
    "uuid",
    "name",
    "request",
    "response",
    "priority",
    "persistent",
    "scenarioName",
    "requiredScenarioState",
    "newScenarioState",
    "insertionIndex",
    "metadata",
    "postServeActions",
    "serveEventListeners",
];
const REQUEST: [&str; 11] = [
    "method",
    "url",
    "urlPath",
    "queryParameters",
    "headers",
    "cookies",
    "bodyPatterns",
    "basicAuthCredentials",
    "scheme",
    "host",
    "port",
];
const RESPONSE: [&str; 9] = [
    "status",
    "statusMessage",
    "headers",
    "body",
    "base64Body",
    "bodyFileName",
    "fixedDelayMilliseconds",
    "delayDistribution",
    "chunkedDribbleDelay",
];
/// Members of a response that WireMock makes at run time.
const AT_RUN_TIME: [&str; 4] = ["proxyBaseUrl", "fault", "transformers", "transformerParameters"];
/// Members that no JSON line has: of a mapping, of its request and of its response.
const ONLY_HERE: [&[&str]; 3] = [
    &[
        "uuid",
        "name",
        "priority",
        "persistent",
        "scenarioName",
        "requiredScenarioState",
        "newScenarioState",
        "insertionIndex",
        "metadata",
        "postServeActions",
    ],
    &[
        "urlPath",
        "urlPattern",
        "urlPathPattern",
        "urlPathTemplate",
        "queryParameters",
        "cookies",
        "bodyPatterns",
        "multipartPatterns",
        "formParameters",
        "basicAuthCredentials",
    ],
    &[
        "jsonBody",
        "base64Body",
        "bodyFileName",
        "statusMessage",
        "fixedDelayMilliseconds",
        "proxyBaseUrl",
        "fault",
        "transformers",
    ],
];
/// Options of a pattern: the text is still that of the recorded request.
const PATTERN_OPTIONS: [&str; 3] = ["ignoreArrayOrder", "ignoreExtraElements", "caseInsensitive"];
const FIRST_STATE: &str = "Started";

/// Whether a JSON document is a mapping or a list of mappings, and no JSON line.
pub(super) fn is_mapping(document: &Value) -> bool {
    if let Some(mappings) = document["mappings"].as_array() {
        return mappings.iter().all(|mapping| mapping["request"].is_object());
    }
    let has_any = |object: &Value, names: &[&str]| names.iter().any(|name| object.get(*name).is_some());
    let has_patterns = document["request"]["headers"].as_object().into_iter().flatten();
    let sides = [document, &document["request"], &document["response"]];
    document["request"].is_object()
        && (sides
            .into_iter()
            .zip(ONLY_HERE)
            .any(|(object, names)| has_any(object, names))
            || has_patterns.into_iter().any(|(_, pattern)| pattern.is_object()))
}

pub(super) fn read(document: &Value, files: BodyFiles<'_>) -> Vec<SourceEntry> {
    let mappings = match document["mappings"].as_array() {
        Some(mappings) => mappings.as_slice(),
        None => std::slice::from_ref(document),
    };
    let entry = |(at, mapping): (usize, &Value)| {
        let request = &mapping["request"];
        let url = ["url", "urlPath", "urlPattern", "urlPathPattern"].map(|name| &request[name]);
        let url = url.into_iter().find(|url| url.is_string()).unwrap_or(&Value::Null);
        let (turn, interaction) = match turn(mapping) {
            Ok(turn) => (turn, read_mapping(mapping, files)),
            Err(problem) => (None, Err(problem)),
        };
        let mut entry = SourceEntry::new("mapping", at + 1, [&request["method"], url], interaction);
        entry.turn = turn;
        entry
    };
    mappings.iter().enumerate().map(entry).collect()
}

fn read_mapping(mapping: &Value, files: BodyFiles<'_>) -> Result<Interaction, String> {
    let (request, response) = (&mapping["request"], &mapping["response"]);
    check_members(mapping, &MAPPING, "the mapping")?;
    check_no_pattern(request, &REQUEST)?;
    if !response["jsonBody"].is_null() {
        return Err(
            "the response body is in jsonBody, without its bytes: recordings have body or bodyFileName".to_owned(),
        );
    }
    if let Some(name) = AT_RUN_TIME.into_iter().find(|name| has_value(&response[*name])) {
        return Err(format!("the response is made at run time, by {name}"));
    }
    check_members(response, &[&RESPONSE[..], &AT_RUN_TIME].concat(), "the response")?;
    let method = required_text(&request["method"], "method")?;
    if method == "ANY" {
        return Err("the mapping matches requests with any method".to_owned());
    }
    let request_headers = request_headers(&request["headers"])?;
    let request_body = request_body(request, &method, &request_headers)?;
    let status = status(&response["status"])?;
    let response_body = match response_body(response, files)? {
        Some(body) => body,
        None if can_have_body(status, &method) => return Err("the response has no body".to_owned()),
        None => Bytes::new(),
    };
    Ok(Interaction {
        url: url(request)?,
        method,
        request_headers,
        request_body,
        status,
        response_headers: headers(&response["headers"])?,
        response_body,
        timing: response["fixedDelayMilliseconds"]
            .as_u64()
            .map_or(Timing::Unknown, Timing::Total),
        ..Interaction::default()
    })
}

/// Whether a member is present and not empty.
fn has_value(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// `url`, or `urlPath` with `queryParameters`, after the origin if the mapping has it.
fn url(request: &Value) -> Result<String, String> {
    let member = if request["url"].is_string() { "url" } else { "urlPath" };
    let target = required_text(&request[member], "URL")?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, pattern) in request["queryParameters"].as_object().into_iter().flatten() {
        let patterns = match pattern["hasExactly"].as_array() {
            Some(patterns) => patterns.as_slice(),
            None => std::slice::from_ref(pattern),
        };
        for pattern in patterns {
            let value = exact(pattern).ok_or_else(|| format!("the query parameter {name} is a pattern"))?;
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    let separator = match (query.is_empty(), target.contains('?')) {
        (true, _) => "",
        (false, false) => "?",
        (false, true) => return Err("the query of the request is in two members".to_owned()),
    };
    let origin = match exact(&request["host"]) {
        Some(host) => {
            let port = request["port"]
                .as_u64()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!("{}://{host}{port}", request["scheme"].as_str().unwrap_or("https"))
        }
        None => String::new(),
    };
    Ok(format!("{origin}{target}{separator}{query}"))
}

/// The text of a pattern that matches nothing else.
fn exact(pattern: &Value) -> Option<String> {
    let members = pattern.as_object()?;
    let has_options = |members: &Map<String, Value>| {
        let is_option = |name: &String| name == "equalTo" || PATTERN_OPTIONS.contains(&name.as_str());
        members.keys().all(is_option)
    };
    members
        .get("equalTo")
        .filter(|_| has_options(members))
        .and_then(body::text_of_scalar)
}

/// The headers with an exact value. The type of the body takes part in the key, so it cannot be a pattern.
fn request_headers(patterns: &Value) -> Result<Headers, String> {
    let mut headers = Headers::new();
    for (name, pattern) in patterns.as_object().into_iter().flatten() {
        match exact(pattern) {
            Some(value) => headers.push((name.clone(), value)),
            None if name.eq_ignore_ascii_case("content-type") => {
                return Err("the content-type of the request is a pattern".to_owned());
            }
            None => {}
        }
    }
    Ok(headers)
}

/// The body in `bodyPatterns`: one pattern, with the complete body.
fn request_body(request: &Value, method: &str, headers: &Headers) -> Result<Bytes, String> {
    let patterns = request["bodyPatterns"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let pattern = match patterns {
        [] if matches!(method, "POST" | "PUT" | "PATCH") && header(headers, "content-length") != Some("0") => {
            return Err("the mapping matches any request body, so that of the request is not in the file".to_owned());
        }
        [] => return Ok(Bytes::new()),
        [pattern] => pattern,
        _ => return Err("the request body is several patterns".to_owned()),
    };
    if let Some(text) = exact(pattern) {
        return Ok(text.into());
    }
    if let Some(base64) = pattern["binaryEqualTo"].as_str() {
        return body::from_base64(base64);
    }
    match (&pattern["equalToJson"], &pattern["equalToXml"]) {
        (Value::Null, Value::String(text)) | (Value::String(text), _) => Ok(text.clone().into()),
        (Value::Null, _) => {
            let name = pattern.as_object().and_then(|members| members.keys().next());
            let name = name.map_or("unknown", String::as_str);
            Err(format!("the request body is a pattern: {name}"))
        }
        (value, _) => body::json(value),
    }
}

/// The body, or `None` if the mapping has none.
fn response_body(response: &Value, files: BodyFiles<'_>) -> Result<Option<Bytes>, String> {
    if let Some(name) = response["bodyFileName"].as_str() {
        return files.of_wiremock(name).map(Some);
    }
    if let Some(base64) = response["base64Body"].as_str() {
        return body::from_base64(base64).map(Some);
    }
    let text = response["body"].as_str();
    Ok(text.map(|text| text.to_owned().into()))
}

/// The position of a mapping in its scenario: WireMock records repeated requests as one, with a number in each state.
fn turn(mapping: &Value) -> Result<Option<Turn>, String> {
    let Some(scenario) = mapping["scenarioName"].as_str() else {
        return Ok(None);
    };
    let state = mapping["requiredScenarioState"].as_str().unwrap_or(FIRST_STATE);
    let number = match state.rsplit_once('-') {
        _ if state == FIRST_STATE => Some(1),
        Some((_, number)) => number.parse().ok(),
        None => None,
    };
    let number = number.ok_or_else(|| format!("the place of the state {state:?} in its scenario is not known"))?;
    Ok(Some(Turn {
        sequence: scenario.to_owned(),
        number,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(request: Value, response: Value) -> Value {
        let mut mapping =
            json!({ "uuid": "x", "request": { "method": "POST", "url": "/v1/x" }, "response": { "status": 200 } });
        for (side, members) in [("request", request), ("response", response)] {
            for (name, value) in members.as_object().unwrap() {
                mapping[side][name] = value.clone();
            }
        }
        mapping
    }

    fn read_one(request: Value, response: Value) -> Result<Interaction, String> {
        let mapping = mapping(request, response);
        assert!(is_mapping(&mapping));
        read(&mapping, BodyFiles(None)).remove(0).interaction
    }

    #[test]
    fn a_complete_exchange_is_read() {
        for (pattern, body) in [
            (
                json!({ "equalToJson": "{\"model\":\"m\"}", "ignoreArrayOrder": true, "ignoreExtraElements": true }),
                &br#"{"model":"m"}"#[..],
            ),
            (json!({ "equalToJson": { "model": "m" } }), br#"{"model":"m"}"#),
            (json!({ "equalTo": "a=b", "caseInsensitive": false }), b"a=b"),
            (json!({ "binaryEqualTo": "AP8=" }), b"\x00\xff"),
        ] {
            let response = json!({ "base64Body": "AP8=", "fixedDelayMilliseconds": 12 });
            let read = read_one(json!({ "bodyPatterns": [pattern] }), response).unwrap();
            assert_eq!(read.request_body, body);
            assert_eq!(
                (read.response_body, read.timing),
                (Bytes::from_static(b"\x00\xff"), Timing::Total(12))
            );
        }
        let get = json!({
            "method": "GET", "url": null, "urlPath": "/v1/files",
            "queryParameters": { "page": { "equalTo": "0" }, "q": { "hasExactly": [{ "equalTo": "a b" }] } },
        });
        assert_eq!(
            read_one(get, json!({ "body": "x" })).unwrap().url,
            "/v1/files?page=0&q=a+b"
        );
        let delete = read_one(json!({ "method": "DELETE" }), json!({ "status": 204 })).unwrap();
        assert_eq!((delete.status, delete.response_body), (204, Bytes::new()));
    }

    #[test]
    fn patterns_and_responses_made_at_run_time_are_errors() {
        let body = json!([{ "equalTo": "x" }]);
        let complete = || json!({ "body": "x" });
        for (request, response, reported) in [
            (json!({ "bodyPatterns": body }), json!({ "jsonBody": {} }), "jsonBody"),
            (json!({ "bodyPatterns": body }), json!({}), "no body"),
            (
                json!({ "bodyPatterns": body }),
                json!({ "bodyFileName": "a.json" }),
                "a.json",
            ),
            (
                json!({ "bodyPatterns": body }),
                json!({ "body": "x", "transformers": ["response-template"] }),
                "transformers",
            ),
            (
                json!({ "bodyPatterns": body }),
                json!({ "proxyBaseUrl": "https://a.example" }),
                "proxyBaseUrl",
            ),
            (json!({ "bodyPatterns": body }), json!({ "bdy": "x" }), "bdy"),
            (json!({}), complete(), "any request body"),
            (
                json!({ "bodyPatterns": [{ "matchesJsonPath": "$.model" }] }),
                complete(),
                "matchesJsonPath",
            ),
            (
                json!({ "bodyPatterns": [{ "equalTo": "a" }, { "contains": "b" }] }),
                complete(),
                "several",
            ),
            (
                json!({ "method": "GET", "url": null, "urlPattern": "/v1/.*" }),
                complete(),
                "urlPattern",
            ),
            (json!({ "method": "ANY" }), complete(), "any method"),
            (
                json!({ "method": "GET", "queryParameters": { "a": { "matches": "." } } }),
                complete(),
                "query parameter a",
            ),
            (
                json!({ "bodyPatterns": body, "headers": { "Content-Type": { "contains": "json" } } }),
                complete(),
                "content-type",
            ),
        ] {
            let problem = read_one(request.clone(), response).unwrap_err();
            assert!(problem.contains(reported), "{request}: {problem}");
        }
    }

    #[test]
    fn the_states_of_a_scenario_are_in_order() {
        let turn = |state: Value| turn(&json!({ "scenarioName": "s", "requiredScenarioState": state }));
        let at = |number| {
            Ok(Some(Turn {
                sequence: "s".to_owned(),
                number,
            }))
        };
        assert_eq!(turn(json!("Started")), at(1));
        assert_eq!(turn(json!("scenario-1-v1-models-12")), at(12));
        assert!(turn(json!("shipped")).is_err());
    }

    #[test]
    fn a_json_line_is_no_mapping() {
        let line = json!({ "request": { "method": "GET", "url": "/v1/x", "headers": { "a": "b" } }, "response": { "status": 200, "body": "x" } });
        assert!(!is_mapping(&line));
        let mut with_pattern = line;
        with_pattern["request"]["headers"]["a"] = json!({ "equalTo": "b" });
        assert!(is_mapping(&with_pattern));
        assert!(is_mapping(&json!({ "mappings": [] })));
    }
}
