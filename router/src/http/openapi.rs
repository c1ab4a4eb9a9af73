//! `GET /openapi.json`: the API as an OpenAPI 3.1 document, written by hand beside the code that it describes.
//!
//! Tests send what its schemas allow (`tests/api/schema.py`) and accept no 5xx. So the field `timeout` and the header
//! `x-request-timeout` stand in descriptions alone: drawn at random, they make a 504 of any request. What a stream is
//! made of stands in a description too: OpenAPI 3.1 leaves open whether a schema is that of the stream or of one event.

use std::sync::LazyLock;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};

const SOURCE: &str = include_str!("openapi.json");
/// Placeholder in the source for the program's version.
const VERSION: &str = "\"VERSION\"";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    SOURCE.replacen(VERSION, &version, 1).into()
});

/// Answers with the OpenAPI document.
pub async fn show() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use secateur_proto::ErrorCode;
    use serde_json::Value;

    use super::*;
    use crate::{
        anthropic::MessagesJob,
        metrics::Metrics,
        openai::{chat, completion, embeddings},
        reply::{Content, ReplyId},
        request::{Limits, Usage, receipt::Receipt},
        responses::ResponsesJob,
    };

    fn document() -> Value {
        serde_json::from_slice(&DOCUMENT).unwrap()
    }

    fn keys(value: &Value) -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn it_names_this_version_and_every_error_code() {
        let document = document();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let codes = &document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"];
        let expected: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes, &serde_json::json!(expected));
    }

    #[test]
    fn the_code_takes_the_examples() {
        let limits = Limits { images_max: 1, image_bytes_max: 10, vocab: 300 };
        let paths = document()["paths"].clone();
        let examples =
            |path: &str| paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"].clone();
        for (name, example) in examples("/v1/chat/completions").as_object().unwrap() {
            chat::parse(&example["value"], &limits).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for (name, example) in examples("/v1/completions").as_object().unwrap() {
            completion::parse(&example["value"], &limits).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(path) = map.get("$ref").and_then(Value::as_str) {
                        assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
                    }
                    map.values().for_each(|value| check(document, value));
                }
                Value::Array(values) => values.iter().for_each(|value| check(document, value)),
                _ => {}
            }
        }
        check(&document(), &document());
    }

    /// Every bound that the document allows in a message's request is taken, and every null.
    #[test]
    fn the_code_takes_messages_within_their_bounds() {
        let limits = Limits { images_max: 1, image_bytes_max: 10, vocab: 300 };
        let schema = document()["components"]["schemas"]["MessagesRequest"].clone();
        let required: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        for (field, described) in schema["properties"].as_object().unwrap() {
            let bounds = ["minimum", "maximum"].iter().filter_map(|bound| described.get(*bound));
            let null = Some(&Value::Null).filter(|_| !required.contains(field));
            for value in bounds.chain(null) {
                let mut body = serde_json::json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 200});
                body[field] = value.clone();
                let read = MessagesJob::parse(&body, &limits);
                assert!(read.is_ok(), "{field} = {value}: {read:?}");
            }
        }
        for field in required {
            let mut body = serde_json::json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 200});
            body[&field] = Value::Null;
            assert_eq!(MessagesJob::parse(&body, &limits).unwrap_err().param, Some(field));
        }
    }

    /// The code accepts every bound of a request for a response, and writes the documented keys.
    #[test]
    fn the_code_agrees_on_responses() {
        let limits = Limits { images_max: 1, image_bytes_max: 10, vocab: 300 };
        let schemas = document()["components"]["schemas"].clone();
        for (field, schema) in schemas["ResponsesRequest"]["properties"].as_object().unwrap() {
            let bounds = ["minimum", "maximum"].iter().filter_map(|bound| schema.get(*bound));
            for value in bounds.chain([&Value::Null]).filter(|_| field != "input") {
                let mut body = serde_json::json!({"input": "hi", "max_output_tokens": 200});
                body[field] = value.clone();
                let read = ResponsesJob::parse(&body, &limits);
                assert!(read.is_ok(), "{field} = {value}: {read:?}");
            }
        }
        let job = ResponsesJob::parse(&serde_json::json!({"input": "hi"}), &limits).unwrap();
        let reply = ReplyId { epoch: "e".into(), created: 1, model: "m".into() };
        let response = job.format(reply).whole(vec![Content::begin(None)], Usage::default(), Receipt::default());
        let (mut found, mut written) = (keys(&response), keys(&schemas["Response"]["properties"]));
        found.sort();
        written.sort();
        assert_eq!(found, written);
    }

    /// The code accepts every bound that the document allows, and the receipt has the documented keys.
    #[test]
    fn the_code_agrees() {
        let limits = Limits { images_max: 1, image_bytes_max: 10, vocab: 300 };
        let schemas = document()["components"]["schemas"].clone();
        for (name, prompt) in [("ChatRequest", "messages"), ("CompletionRequest", "prompt")] {
            for (field, schema) in schemas[name]["properties"].as_object().unwrap() {
                let bounds = ["minimum", "maximum"].iter().filter_map(|bound| schema.get(*bound));
                for value in bounds.chain([&Value::Null]) {
                    let mut body = serde_json::json!({"messages": [{"role": "user", "content": "hi"}], "prompt": "hi",
                        "max_tokens": 200, "logprobs": prompt == "messages"});
                    if prompt == "prompt" {
                        body["logprobs"] = Value::Null;
                    }
                    if field != prompt {
                        body[field] = value.clone();
                    }
                    // An answer without tokens is one to a prompt that comes back.
                    body["echo"] = (prompt == "prompt" && field == "max_tokens").into();
                    if field == "logprobs" || (field == "top_logprobs" && value.is_null()) {
                        body["top_logprobs"] = Value::Null;
                    }
                    let read = match name {
                        "ChatRequest" => chat::parse(&body, &limits).map(|_| ()),
                        _ => completion::parse(&body, &limits).map(|_| ()),
                    };
                    assert!(read.is_ok(), "{name}.{field} = {value}: {read:?}");
                }
            }
        }
        for (field, schema) in schemas["EmbeddingRequest"]["properties"].as_object().unwrap() {
            for value in schema.get("minimum").into_iter().chain([&Value::Null]).filter(|_| field != "input") {
                let body = serde_json::json!({"input": "hi", field: value});
                assert!(embeddings::parse(&body, &limits).is_ok(), "EmbeddingRequest.{field} = {value}");
            }
        }
        let receipt = serde_json::to_value(Receipt::default()).unwrap();
        let documented = &schemas["Receipt"];
        let mut required: Vec<String> = serde_json::from_value(documented["required"].clone()).unwrap();
        required.sort();
        assert_eq!(required, {
            let mut keys = keys(&receipt);
            keys.sort();
            keys
        });
        for part in ["transfer", "decision", "timing"] {
            let (mut found, mut written) = (keys(&receipt[part]), keys(&documented["properties"][part]["properties"]));
            found.sort();
            written.sort();
            assert_eq!(found, written, "{part}");
        }
    }

    #[test]
    fn the_cluster_has_the_documented_keys() {
        let (metrics, schemas) = (Metrics::new("demo"), document()["components"]["schemas"].clone());
        let (totals, window) = (serde_json::to_value(metrics.totals()), serde_json::to_value(metrics.lately()));
        let (totals, window) = (totals.unwrap(), window.unwrap());
        let cluster = &schemas["Cluster"]["properties"];
        for (found, documented) in [
            (&totals, &cluster["totals"]),
            (&totals["bytes"], &schemas["KvBytes"]),
            (&window, &schemas["Window"]),
            (&window["errors"], &schemas["Window"]["properties"]["errors"]),
            (&window["slots"], &schemas["Window"]["properties"]["slots"]),
        ] {
            let (mut found, mut written) = (keys(found), keys(&documented["properties"]));
            found.sort();
            written.sort();
            assert_eq!(found, written);
        }
    }
}
