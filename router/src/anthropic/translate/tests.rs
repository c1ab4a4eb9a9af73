//! Bodies of Anthropic's API and what they become, and errors by the client's own fields.

use secateur_proto::ErrorCode;
use serde_json::{Value, json};

use super::translate;
use crate::{
    anthropic::MessagesJob,
    request::{Limits, Part},
};

const LIMITS: Limits = Limits { images_max: 2, image_bytes_max: 100, vocab: 300 };
/// The eight bytes that every PNG starts with.
const DATA: &str = "iVBORw0KGgo=";

fn body(extra: Value) -> Value {
    let mut body = json!({"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn translated(extra: Value) -> Value {
    translate(&body(extra)).unwrap().body
}

fn messages(messages: Value) -> Value {
    translated(json!({"messages": messages}))["messages"].clone()
}

fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn plain_parameters_keep_their_names_and_others_get_openais() {
    let found = translated(json!({
        "model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stream": true, "stop_sequences": ["a", "b"],
        "secateur": {"transfer": {"policy": "dense"}}, "metadata": {"user_id": "u"}, "service_tier": "auto",
        "whatever": 1, "n": 1, "timeout": 9.5, "priority": -1, "system": null, "thinking": null, "tools": null, "tool_choice": null,
        "cache_control": {"type": "ephemeral"}, "output_config": {"effort": "high"}, "output_format": null,
    }));
    let expected = json!({
        "model": "m", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stream": true,
        "secateur": {"transfer": {"policy": "dense"}}, "timeout": 9.5, "priority": -1,
        "messages": [{"role": "user", "content": "hi"}], "stop": ["a", "b"],
    });
    assert_eq!(found, expected);
}

#[test]
fn what_switches_thinking_and_the_form_of_the_answer() {
    for (extra, field, expected) in [
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
            "chat_template_kwargs",
            json!({"enable_thinking": true}),
        ),
        (json!({"thinking": {"type": "adaptive"}}), "chat_template_kwargs", json!({"enable_thinking": true})),
        (json!({"thinking": {"type": "disabled"}}), "chat_template_kwargs", json!({"enable_thinking": false})),
        (json!({"thinking": {"type": "enabled", "display": "omitted"}}), "include_reasoning", json!(false)),
        (json!({"output_config": {"effort": "low"}}), "reasoning_effort", json!("low")),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            "response_format",
            json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
        ),
        (
            json!({"output_format": {"type": "json_schema", "schema": {}}}),
            "response_format",
            json!({"type": "json_schema", "json_schema": {"schema": {}}}),
        ),
    ] {
        assert_eq!(translated(extra.clone())[field], expected, "{extra}");
    }
}

#[test]
fn the_system_prompt_is_the_first_message() {
    for (system, expected) in [
        (json!("Be brief."), json!("Be brief.")),
        (json!([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]), json!("Be brief.")),
        (json!([text("a"), text("b")]), json!([text("a"), text("b")])),
    ] {
        let found = translated(json!({"system": system}))["messages"].clone();
        assert_eq!(found, json!([{"role": "system", "content": expected}, {"role": "user", "content": "hi"}]));
    }
    for nothing in [json!(""), json!([]), json!([text("")])] {
        assert_eq!(translated(json!({"system": nothing}))["messages"].as_array().unwrap().len(), 1);
    }
    let later = messages(json!([
        {"role": "user", "content": "a"}, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "b"},
    ]));
    assert_eq!(later[1], json!({"role": "system", "content": "Be brief."}));
}

#[test]
fn pictures_become_data_uris_or_stay_addresses() {
    let url = json!({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}});
    let found = messages(json!([{"role": "user", "content": [text("see"), image(), url]}]));
    let part = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let expected = json!([text("see"), part("data:image/png;base64,iVBORw0KGgo="), part("https://x.test/a.png")]);
    assert_eq!(found, json!([{"role": "user", "content": expected}]));
}

#[test]
fn tools_and_their_results_become_messages_of_their_own() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"z": 1, "a": [2]}});
    let found = messages(json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "redacted_thinking", "data": "x"},
            text("b"), call("c1"), call("c2"),
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "c2", "is_error": true, "content": [text("broken"), image()]},
            text("So?"),
        ]},
        {"role": "assistant", "content": [call("c3")]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c3"}]},
    ]));
    let called = |id: &str| {
        let function = json!({"name": "f", "arguments": "{\"z\":1,\"a\":[2]}"});
        json!({"id": id, "type": "function", "function": function})
    };
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let expected = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm", "tool_calls": [called("c1"), called("c2")]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": [text("Error: broken"), picture], "tool_call_id": "c2"},
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": null, "tool_calls": [called("c3")]},
        {"role": "tool", "content": "", "tool_call_id": "c3"},
    ]);
    assert_eq!(found, expected);
}

#[test]
fn messages_of_one_role_become_one() {
    let found = messages(json!([
        {"role": "user", "content": "a"}, {"role": "user", "content": [text("b"), text("c")]},
        {"role": "assistant", "content": "d"}, {"role": "assistant", "content": []},
    ]));
    let expected = json!([
        {"role": "user", "content": [text("a"), text("\nb"), text("c")]}, {"role": "assistant", "content": "d"},
    ]);
    assert_eq!(found, expected);
}

#[test]
fn a_last_message_of_the_assistant_begins_the_answer() {
    let begun =
        translated(json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}));
    assert_eq!((&begun["continue_final_message"], &begun["add_generation_prompt"]), (&json!(true), &json!(false)));
    for messages in [
        json!([{"role": "user", "content": "a"}]),
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]),
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": []}]),
    ] {
        let fresh = translated(json!({"messages": messages}));
        assert!(fresh.get("continue_final_message").is_none(), "{messages}");
        assert_eq!(fresh["messages"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn errors_name_the_clients_own_field() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let answered = |content: Value| json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}, {"role": "user", "content": "b"}]});
    let source = |source: Value| json!({"system": "s", "messages": [{"role": "user", "content": [text("a"), {"type": "image", "source": source}]}]});
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    use ErrorCode::{InvalidImage, InvalidRequest, UnsupportedParameter};
    for (extra, param, code) in [
        (json!({"max_tokens": null}), "max_tokens", InvalidRequest),
        (json!({"max_tokens": 0}), "max_tokens", InvalidRequest),
        (json!({"temperature": 1.5}), "temperature", InvalidRequest),
        (json!({"top_p": 2}), "top_p", InvalidRequest),
        (json!({"stop_sequences": "x"}), "stop_sequences", InvalidRequest),
        (json!({"stop_sequences": ["x", ""]}), "stop_sequences[1]", InvalidRequest),
        (json!({"messages": null}), "messages", InvalidRequest),
        (json!({"messages": []}), "messages", InvalidRequest),
        (json!({"messages": [5]}), "messages[0]", InvalidRequest),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role", InvalidRequest),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content", InvalidRequest),
        (said(json!([])), "messages[0].content", InvalidRequest),
        (said(json!(5)), "messages[0].content", InvalidRequest),
        (said(json!(["x"])), "messages[0].content[0]", InvalidRequest),
        (said(json!([{"text": "x"}])), "messages[0].content[0].type", InvalidRequest),
        (said(json!([{"type": "text"}])), "messages[0].content[0].text", InvalidRequest),
        (said(json!([{"type": "hologram"}])), "messages[0].content[0].type", InvalidRequest),
        (said(json!([{"type": "document"}])), "messages[0].content[0].type", UnsupportedParameter),
        (said(json!([{"type": "tool_use"}])), "messages[0].content[0].type", InvalidRequest),
        (said(json!([{"type": "tool_result"}])), "messages[0].content[0].tool_use_id", InvalidRequest),
        (
            said(json!([{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "search_result"}]}])),
            "messages[0].content[0].content[0].type",
            UnsupportedParameter,
        ),
        (answered(json!([])), "messages[1].content", InvalidRequest),
        (
            answered(json!([{"type": "tool_use", "id": "c", "name": "f"}])),
            "messages[1].content[0].input",
            InvalidRequest,
        ),
        (source(json!({"type": "file", "file_id": "f"})), "messages[0].content[1].source.type", UnsupportedParameter),
        (source(json!({"type": "base64", "data": DATA})), "messages[0].content[1].source.media_type", InvalidRequest),
        (
            source(json!({"type": "base64", "media_type": "image/png,", "data": DATA})),
            "messages[0].content[1].source.media_type",
            InvalidRequest,
        ),
        (
            source(json!({"type": "base64", "media_type": "image/png", "data": "!"})),
            "messages[0].content[1].source.data",
            InvalidImage,
        ),
        (said(json!([image(), image(), image()])), "messages[0].content[2].source", InvalidImage),
        (json!({"system": 5}), "system", InvalidRequest),
        (json!({"system": [image()]}), "system[0].type", InvalidRequest),
        (json!({"tools": [tool("a b")]}), "tools[0].name", InvalidRequest),
        (json!({"tools": [tool("f"), tool("f")]}), "tools[1].name", InvalidRequest),
        (
            json!({"tools": [tool("f")], "tool_choice": {"type": "tool", "name": "g"}}),
            "tool_choice.name",
            InvalidRequest,
        ),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice", InvalidRequest),
        (json!({"thinking": {}}), "thinking.type", InvalidRequest),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 0}}), "thinking.budget_tokens", InvalidRequest),
        (json!({"thinking": {"type": "enabled", "display": "some"}}), "thinking.display", InvalidRequest),
        (json!({"thinking": {"type": "between_tools"}}), "thinking.type", UnsupportedParameter),
        (json!({"mcp_servers": [{}]}), "mcp_servers", UnsupportedParameter),
        (json!({"output_config": {"effort": 5}}), "output_config.effort", InvalidRequest),
        (json!({"output_format": {"type": "json_schema", "schema": 5}}), "output_format.schema", InvalidRequest),
        (json!({"output_config": {"format": {"type": "json_schema"}}}), "output_config.format.schema", InvalidRequest),
        (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format.type", UnsupportedParameter),
        (json!({"secateur": {"x": 1}}), "secateur.x", InvalidRequest),
        (
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}]}),
            "messages[0].content",
            InvalidRequest,
        ),
        (
            json!({"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}]}),
            "messages[0].content",
            InvalidRequest,
        ),
    ] {
        let error = MessagesJob::parse(&body(extra.clone()), &LIMITS).unwrap_err();
        assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{extra}: {error}");
        let names_another = ["image_url", "messages[1].content[1]", "function", "response_format", "stop["];
        assert!(!names_another.iter().any(|name| error.message.contains(name)), "{extra}: {error}");
    }
}

#[test]
fn a_job_has_the_clients_names_for_what_is_checked_later() {
    let job = MessagesJob::parse(
        &body(json!({
            "system": "s",
            "thinking": {"type": "enabled"},
            "output_format": {"type": "json_schema", "schema": {}},
            "messages": [
                {"role": "user", "content": [text("a"), image()]},
                {"role": "assistant", "content": [text("b"), {"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [image()]}, text("d")]},
            ],
        })),
        &LIMITS,
    )
    .unwrap();
    let chat = &job.chat;
    let parts: Vec<&str> = chat
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            Part::Text { param, .. } => Some(param.as_str()),
            Part::Picture => None,
        })
        .collect();
    assert_eq!(
        parts,
        ["system", "messages[0].content[0].text", "messages[1].content[0].text", "messages[2].content[1].text"]
    );
    let pictures: Vec<&str> = chat.pictures.iter().map(|picture| picture.param.as_str()).collect();
    assert_eq!(pictures, ["messages[0].content[1].source.data", "messages[2].content[0].content[0].source.data"]);
    let fields = chat.messages.iter().flat_map(|message| &message.fields);
    let fields: Vec<_> = fields.chain(&chat.template_kwargs).map(|field| (&*field.name, &*field.param)).collect();
    let expected = [
        ("tool_calls", "messages[1].content[1].input"),
        ("tool_call_id", "messages[2].content[0].tool_use_id"),
        ("enable_thinking", "thinking.type"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(chat.generation.sampling.structured.as_ref().unwrap().param, "output_format.schema");
    assert_eq!(chat.generation.max_tokens.field, "max_tokens");
}

#[test]
fn tokens_are_counted_without_a_limit() {
    let body = json!({"messages": [{"role": "user", "content": "hi"}]});
    assert!(MessagesJob::counted(&body, &LIMITS).is_ok());
    assert_eq!(MessagesJob::parse(&body, &LIMITS).unwrap_err().message, "max_tokens is required");
}
