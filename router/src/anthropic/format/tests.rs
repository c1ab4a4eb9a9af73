//! Replies and the events of streams, exactly.

use secateur_proto::ErrorCode;
use serde_json::{Value, json};

use super::*;
use crate::tools::CallPart;

fn format(eager: &[&str]) -> MessageFormat {
    let reply = ReplyId { epoch: "e1".into(), created: 1, model: "tiny".into() };
    MessageFormat::new(reply, eager.iter().map(|name| (*name).to_owned()).collect())
}

fn text(text: &str) -> Piece {
    Piece { text: text.into(), ..Piece::default() }
}

fn part(index: usize, name: Option<&str>, arguments: &str) -> CallPart {
    CallPart { index, name: name.map(str::to_owned), arguments: arguments.into() }
}

fn calls(calls: &[CallPart]) -> Piece {
    Piece { calls: calls.to_vec(), ..Piece::default() }
}

fn ends(piece: Piece, finish: FinishReason) -> Piece {
    Piece { finish: Some(finish), ..piece }
}

/// The events between the begin and the end of a stream of these pieces; ids of calls are replaced by `ID`. Begin and
/// end are checked, and `stop` is how the message ended.
fn streamed(mut format: MessageFormat, pieces: Vec<Piece>, stop: (&str, Value)) -> Vec<Value> {
    let mut events = format.begun(0, None, Usage::new(9, 0, 4));
    for piece in pieces {
        events.extend(format.piece(0, piece, Usage::new(9, 1, 4)));
    }
    events.extend(format.end(Usage::new(9, 5, 4), Receipt::default()));
    let mut events: Vec<Value> = events.iter().map(read).collect();
    assert_eq!(events.pop(), Some(json!({"type": "message_stop"})));
    let mut end = events.pop().unwrap();
    let receipt = end.as_object_mut().unwrap().remove("secateur").unwrap();
    assert_eq!(receipt, serde_json::to_value(Receipt::default()).unwrap());
    let usage = |output: u32| json!({"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": output});
    let delta = json!({"stop_reason": stop.0, "stop_sequence": stop.1});
    assert_eq!(end, json!({"type": "message_delta", "delta": delta, "usage": usage(5)}));
    let begin = json!({
        "id": "msg_e1", "type": "message", "role": "assistant", "model": "tiny", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage(0),
    });
    assert_eq!(events.remove(0), json!({"type": "message_start", "message": begin}));
    events
}

/// The data of an event, which is named as it is.
fn read(event: &Bytes) -> Value {
    let text = std::str::from_utf8(event).unwrap();
    let (name, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
    let mut data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
    if let Some(id) = data.pointer_mut("/content_block/id") {
        assert!(id.as_str().unwrap().starts_with("toolu_"));
        *id = "ID".into();
    }
    data
}

fn start(index: usize, content_block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": content_block})
}

fn delta(index: usize, kind: &str, key: &str, value: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, key: value}})
}

fn stop(index: usize) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn said(index: usize, text: &str) -> Value {
    delta(index, "text_delta", "text", text)
}

fn argued(index: usize, json: &str) -> Value {
    delta(index, "input_json_delta", "partial_json", json)
}

fn empty_text() -> Value {
    json!({"type": "text", "text": ""})
}

fn tool(name: &str) -> Value {
    json!({"type": "tool_use", "id": "ID", "name": name, "input": {}})
}

#[test]
fn text_is_one_block() {
    let pieces = vec![text("Hel"), Piece::default(), text("lo"), ends(Piece::default(), FinishReason::Stop)];
    let expected = [start(0, empty_text()), said(0, "Hel"), said(0, "lo"), stop(0)];
    assert_eq!(streamed(format(&[]), pieces, ("end_turn", Value::Null)), expected);
    let nothing = vec![ends(Piece::default(), FinishReason::Stop)];
    assert_eq!(streamed(format(&[]), nothing, ("end_turn", Value::Null)), [] as [Value; 0]);
}

#[test]
fn thoughts_come_first() {
    let think = |reasoning: &str, text: &str| Piece { reasoning: reasoning.into(), ..self::text(text) };
    let pieces = vec![think("Let", ""), think(" me.", "It"), ends(text(" is."), FinishReason::Length)];
    let expected = [
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, "thinking_delta", "thinking", "Let"),
        delta(0, "thinking_delta", "thinking", " me."),
        stop(0),
        start(1, empty_text()),
        said(1, "It"),
        said(1, " is."),
        stop(1),
    ];
    assert_eq!(streamed(format(&[]), pieces, ("max_tokens", Value::Null)), expected);
}

#[test]
fn inputs_of_tools_are_sent_when_they_are_complete() {
    let pieces = vec![
        Piece { text: "See. ".into(), ..calls(&[part(0, Some("f"), "{\"x")]) },
        calls(&[part(0, None, "\": 1")]),
        calls(&[part(0, None, "}"), part(1, Some("g"), "{oops")]),
        ends(Piece::default(), FinishReason::ToolCalls),
    ];
    let expected = [
        start(0, empty_text()),
        said(0, "See. "),
        stop(0),
        start(1, tool("f")),
        argued(1, "{\"x\":1}"),
        stop(1),
        start(2, tool("g")),
        argued(2, "{\"INVALID_JSON\":\"{oops\"}"),
        stop(2),
    ];
    assert_eq!(streamed(format(&[]), pieces, ("tool_use", Value::Null)), expected);
}

#[test]
fn inputs_of_eager_tools_are_sent_as_they_are_written() {
    let pieces = vec![
        calls(&[part(0, Some("f"), "")]),
        calls(&[part(0, None, "{\"x")]),
        // The end of one call, words, and another call in one piece.
        Piece { text: " And".into(), ..calls(&[part(0, None, "\":1}"), part(1, Some("g"), "{}")]) },
        ends(Piece::default(), FinishReason::ToolCalls),
    ];
    let expected = [
        start(0, tool("f")),
        argued(0, "{\"x"),
        argued(0, "\":1}"),
        stop(0),
        start(1, empty_text()),
        said(1, " And"),
        stop(1),
        start(2, tool("g")),
        argued(2, "{}"),
        stop(2),
    ];
    assert_eq!(streamed(format(&["f"]), pieces, ("tool_use", Value::Null)), expected);
}

#[test]
fn long_inputs_are_announced() {
    let mut pieces = vec![calls(&[part(0, Some("f"), "[")])];
    pieces.extend((0..70).map(|_| calls(&[part(0, None, " ")])));
    pieces.push(ends(calls(&[part(0, None, "]")]), FinishReason::ToolCalls));
    let events = streamed(format(&[]), pieces, ("tool_use", Value::Null));
    let pings = events.iter().filter(|event| **event == json!({"type": "ping"})).count();
    assert_eq!((pings, events.len()), (2, 5));
}

#[test]
fn a_stop_text_is_named() {
    let last = Piece { stop_text: Some("END".into()), ..ends(text("b"), FinishReason::Stop) };
    let expected = [start(0, empty_text()), said(0, "a"), said(0, "b"), stop(0)];
    assert_eq!(streamed(format(&[]), vec![text("a"), last], ("stop_sequence", json!("END"))), expected);
}

#[test]
fn a_failure_is_an_event_of_its_own() {
    let failure = ServiceError::new(ErrorCode::Unavailable, "a node was lost");
    let events = format(&[]).failed(&failure);
    let inner = json!({"type": "overloaded_error", "message": "a node was lost", "param": null, "code": "unavailable"});
    assert_eq!(events.iter().map(read).collect::<Vec<_>>(), [json!({"type": "error", "error": inner})]);
}

fn whole(content: Content, usage: Usage) -> Value {
    serde_json::from_slice(&format(&[]).whole(vec![content], usage, Receipt::default())).unwrap()
}

#[test]
fn a_whole_reply_has_every_block() {
    let mut content = Content::begin(None);
    content.add(Piece { reasoning: "hm".into(), ..text("Let me see. ") });
    content.add(calls(&[part(0, Some("f"), "{\"b\": 1, \"a\": 2}")]));
    content.add(Piece { text: "Ünd ".into(), ..calls(&[part(1, Some("g"), "{\"cut")]) });
    content.add(ends(text("."), FinishReason::Length));
    let mut reply = whole(content, Usage::new(9, 5, 4));
    for index in [2, 4] {
        let id = reply["content"][index]["id"].take();
        assert!(id.as_str().unwrap().starts_with("toolu_"));
    }
    let expected = json!({
        "id": "msg_e1", "type": "message", "role": "assistant", "model": "tiny",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Let me see. "},
            {"type": "tool_use", "id": null, "name": "f", "input": {"b": 1, "a": 2}},
            {"type": "text", "text": "Ünd "},
            {"type": "tool_use", "id": null, "name": "g", "input": {"INVALID_JSON": "{\"cut"}},
            {"type": "text", "text": "."},
        ],
        "stop_reason": "max_tokens", "stop_sequence": null,
        "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 5},
        "secateur": serde_json::to_value(Receipt::default()).unwrap(),
    });
    assert_eq!(reply, expected);
    let empty = whole(Content::begin(None), Usage::new(1, 0, 0));
    assert_eq!((&empty["content"], &empty["stop_reason"]), (&json!([]), &json!("end_turn")));
}
