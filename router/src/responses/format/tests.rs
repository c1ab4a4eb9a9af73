use secateur_proto::ErrorCode;
use serde_json::json;

use super::*;
use crate::{
    request::{FinishReason, ScoredToken},
    tools::CallPart,
};

fn writer() -> ResponseFormat {
    let reply = ReplyId { epoch: "e".into(), created: 7, model: "m".into() };
    ResponseFormat::new(reply, Map::from_iter([("metadata".to_owned(), json!({"a": "b"}))]))
}

fn text(text: &str) -> Piece {
    Piece { text: text.into(), ..Piece::default() }
}

fn thought(text: &str) -> Piece {
    Piece { reasoning: text.into(), ..Piece::default() }
}

fn part(index: usize, name: Option<&str>, arguments: &str) -> CallPart {
    CallPart { index, name: name.map(str::to_owned), arguments: arguments.into() }
}

fn calls(parts: impl IntoIterator<Item = CallPart>) -> Piece {
    Piece { calls: parts.into_iter().collect(), ..Piece::default() }
}

fn finish(finish: FinishReason) -> Piece {
    Piece { finish: Some(finish), ..Piece::default() }
}

/// What a client reads of these events.
fn read(events: Vec<Bytes>) -> Vec<Value> {
    let event = |event: Bytes| {
        let text = String::from_utf8(event.to_vec()).unwrap();
        let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    events.into_iter().map(event).collect()
}

fn again(piece: &Piece) -> Piece {
    Piece {
        text: piece.text.clone(),
        reasoning: piece.reasoning.clone(),
        calls: piece.calls.clone(),
        logprobs: piece.logprobs.clone(),
        finish: piece.finish,
        stop_text: piece.stop_text.clone(),
    }
}

/// The events of a stream of these pieces. The response that it ends with is checked against the whole one.
fn streamed(pieces: impl IntoIterator<Item = Piece>) -> Vec<Value> {
    let (mut format, mut content) = (writer(), Content::begin(None));
    let usage = Usage::new(5, 3, 2);
    let mut events = format.begun(0, None, usage);
    for piece in pieces {
        content.add(again(&piece));
        events.extend(format.piece(0, piece, usage));
    }
    events.extend(format.end(usage, Receipt::default()));
    let events = read(events);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let mut last = events.last().unwrap()["response"].clone();
    let whole = writer().whole(vec![content], usage, Receipt::default());
    let mut whole: Value = serde_json::from_slice(&whole).unwrap();
    for response in [&mut last, &mut whole] {
        let items = response["output"].as_array_mut().unwrap();
        items.iter_mut().filter(|item| item["type"] == "function_call").for_each(|item| item["call_id"] = "c".into());
    }
    assert_eq!(last, whole, "the whole reply is what a stream ends with");
    events
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
}

/// The output that a stream ends with: each item's type, status, and words or arguments.
fn output(events: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let item = |item: &Value| {
        let words = if item["type"] == "function_call" { &item["arguments"] } else { &item["content"][0]["text"] };
        (text(&item["type"]), text(&item["status"]), text(words))
    };
    events.last().unwrap()["response"]["output"].as_array().unwrap().iter().map(item).collect()
}

fn expected(items: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    items.iter().map(|(kind, status, text)| ((*kind).into(), (*status).into(), (*text).into())).collect()
}

#[test]
fn the_events_of_a_text() {
    let events = streamed([text("Hel"), text("lo"), text(""), finish(FinishReason::Stop)]);
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    let (created, last) = (&events[0]["response"], &events[9]["response"]);
    assert_eq!(
        (&created["status"], &created["output"], &created["usage"]),
        (&json!("in_progress"), &json!([]), &json!(null))
    );
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let item = |status: &str, content: Value| json!({"type": "message", "id": "msg_e_0", "status": status, "role": "assistant", "content": content});
    assert_eq!(events[2]["item"], item("in_progress", json!([])));
    assert_eq!(events[3]["part"], part(""));
    let place = json!({"item_id": "msg_e_0", "output_index": 0, "content_index": 0, "type": "response.output_text.delta",
        "sequence_number": 5, "delta": "lo", "logprobs": []});
    assert_eq!(events[5], place);
    assert_eq!((&events[6]["text"], &events[6]["logprobs"]), (&json!("Hello"), &json!([])));
    assert_eq!(events[7]["part"], part("Hello"));
    assert_eq!(
        (&events[8]["item"], &events[8]["output_index"]),
        (&item("completed", json!([part("Hello")])), &json!(0))
    );
    assert_eq!(last["output"], json!([item("completed", json!([part("Hello")]))]));
    assert_eq!((&last["id"], &last["object"], &last["model"]), (&json!("resp_e"), &json!("response"), &json!("m")));
    assert_eq!((&last["status"], &last["metadata"]), (&json!("completed"), &json!({"a": "b"})));
    let usage = json!({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8});
    assert_eq!(last["usage"], usage);
    assert!(last["secateur"]["transfer"].is_object());
    assert_eq!((&last["error"], &last["incomplete_details"]), (&json!(null), &json!(null)));
}

#[test]
fn the_events_of_calls() {
    let pieces = [
        text("\n"),
        text("So."),
        calls([part(0, Some("f"), "{")]),
        calls([part(0, None, "}"), part(1, Some("g"), "")]),
        calls([part(1, None, "{}")]),
        finish(FinishReason::ToolCalls),
    ];
    let events = streamed(pieces);
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(events[4]["delta"], "\nSo.");
    let indices: Vec<_> = events.iter().filter_map(|event| event["output_index"].as_u64()).collect();
    assert_eq!(indices, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    let begun = &events[8]["item"];
    assert_eq!((&begun["id"], &begun["name"], &begun["arguments"]), (&json!("fc_e_1"), &json!("f"), &json!("")));
    assert!(begun["call_id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(begun["call_id"], events[12]["item"]["call_id"]);
    let done = json!({"type": "response.function_call_arguments.done", "sequence_number": 11, "item_id": "fc_e_1",
        "output_index": 1, "name": "f", "arguments": "{}"});
    assert_eq!(events[11], done);
    assert_eq!(
        output(&events),
        expected(&[
            ("message", "completed", "\nSo."),
            ("function_call", "completed", "{}"),
            ("function_call", "completed", "{}")
        ])
    );
}

#[test]
fn white_space_before_a_call_is_no_message() {
    let events = streamed([text("\n\n"), calls([part(0, Some("f"), "{}")]), finish(FinishReason::ToolCalls)]);
    assert_eq!(output(&events), expected(&[("function_call", "completed", "{}")]));
    assert_eq!(
        output(&streamed([text("\n"), finish(FinishReason::Stop)])),
        expected(&[("message", "completed", "\n")])
    );
    assert_eq!(output(&streamed([finish(FinishReason::Stop)])), expected(&[("message", "completed", "")]));
}

#[test]
fn words_behind_a_call_are_a_message_of_their_own() {
    let last = Piece { text: " Done.".into(), ..calls([part(0, None, "}"), part(1, Some("g"), "{}")]) };
    let events = streamed([text("a"), calls([part(0, Some("f"), "{")]), last, text("b"), finish(FinishReason::Stop)]);
    assert_eq!(
        output(&events),
        expected(&[
            ("message", "completed", "a"),
            ("function_call", "completed", "{}"),
            ("message", "completed", " Done."),
            ("function_call", "completed", "{}"),
            ("message", "completed", "b"),
        ])
    );
}

#[test]
fn the_events_of_reasoning() {
    let both = Piece { text: "Yes".into(), ..thought("m") };
    let events = streamed([thought("h"), both, finish(FinishReason::Stop)]);
    assert_eq!(
        names(&events)[2..13],
        [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
        ]
    );
    let item = json!({"type": "reasoning", "id": "rs_e_0", "status": "completed", "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": null});
    assert_eq!(events[8]["item"], item);
    assert_eq!((&events[6]["text"], &events[9]["item"]["id"]), (&json!("hm"), &json!("msg_e_1")));
}

#[test]
fn an_answer_that_is_cut_off_is_incomplete() {
    for (pieces, items) in [
        (vec![text("So")], expected(&[("message", "incomplete", "So")])),
        (vec![thought("hm")], expected(&[("reasoning", "incomplete", "hm")])),
        (vec![], expected(&[("message", "incomplete", "")])),
        (
            vec![text("So"), calls([part(0, Some("f"), "{\"a")])],
            expected(&[("message", "completed", "So"), ("function_call", "incomplete", "{\"a")]),
        ),
    ] {
        let events = streamed(pieces.into_iter().chain([finish(FinishReason::Length)]));
        assert_eq!(output(&events), items);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(last["response"]["completed_at"], json!(null));
    }
}

#[test]
fn log_probabilities_stand_with_their_words() {
    let scored = |text: &str, tokens: &[&str], calls: Vec<CallPart>| {
        let entry = |token: &&str| TokenEntry {
            token: ScoredToken::new(token.as_bytes().to_vec(), -0.5),
            top_logprobs: Vec::new(),
        };
        let logprobs = Some(tokens.iter().map(entry).collect());
        Piece { text: text.into(), logprobs, calls, ..Piece::default() }
    };
    let pieces = [
        scored("", &[" "], vec![]),
        scored("ab", &["a", "b"], vec![]),
        scored("", &["<"], vec![part(0, Some("f"), "{}")]),
        scored("", &[">"], vec![]),
        scored("c", &["c"], vec![]),
        finish(FinishReason::Stop),
    ];
    let events = streamed(pieces);
    let tokens = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|entry| entry["token"].as_str().unwrap().to_owned()).collect()
    };
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(tokens(&output[0]["content"][0]["logprobs"]), [" ", "a", "b", "<"]);
    assert_eq!(tokens(&output[2]["content"][0]["logprobs"]), [">", "c"]);
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let said: Vec<_> =
        deltas.map(|event| (event["delta"].as_str().unwrap(), tokens(&event["logprobs"]).join(","))).collect();
    assert_eq!(said, [("ab", " ,a,b".to_owned()), ("", "<".to_owned()), ("c", ">,c".to_owned())]);
    assert_eq!(
        output[0]["content"][0]["logprobs"][1],
        json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []})
    );
}

#[test]
fn a_failure_ends_the_stream() {
    let mut format = writer();
    let usage = Usage::default();
    format.begun(0, None, usage);
    format.piece(0, text("So"), usage);
    let failure = ServiceError::new(ErrorCode::Unavailable, "no node is left");
    let events = read(format.failed(&failure));
    let error = json!({"type": "error", "sequence_number": 5, "code": "unavailable", "message": "no node is left", "param": null});
    assert_eq!(events[0], error);
    let response = &events[1]["response"];
    assert_eq!((&events[1]["type"], &response["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(response["error"], json!({"code": "server_error", "message": "no node is left"}));
    assert_eq!((&response["output"][0]["status"], events.len()), (&json!("incomplete"), 2));
}
