"""Anthropic's Messages API by its own client: messages, streams, tools, pictures, counts, errors.

Checks that need what a checkpoint may lack (pictures, tools) hold the refusal of one that lacks it; one that takes
pictures is the demo checkpoint, whose answers are known."""

import base64
import json
import re

import anthropic
import httpx

from .common import DEMO, SAMPLE, check

GREEDY = {"temperature": 0}
TOOL = {
    "name": "look_up",
    "description": "Looks up the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
KINDS = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}


def model(client):
    return httpx.get(f"{str(client.base_url).rstrip('/')}/v1/models", headers=client.auth_headers).json()["data"][0]["id"]


def user(content):
    return [{"role": "user", "content": content}]


def ask(client, content, extra=None, **options):
    options = {"max_tokens": 24, "messages": user(content), **options}
    return client.messages.create(model=model(client), extra_body={**GREEDY, **(extra or {})}, **options)


def streamed(client, content, extra=None, **options):
    """The events of a stream, and the message that the client made of them."""
    options = {"max_tokens": 24, "messages": user(content), **options}
    with client.messages.stream(model=model(client), extra_body={**GREEDY, **(extra or {})}, **options) as stream:
        events = list(stream)
        return events, stream.get_final_message()


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def blocks(message):
    """The content without what the client adds to blocks, and without ids, which differ between two answers."""
    return [block.model_dump(include={"type", "text", "thinking", "name", "input"}) for block in message.content]


def refused(kind, type, param, call):
    """`call` fails with `kind`, and its body is Anthropic's, of this `type`, and blames `param`."""
    try:
        call()
    except kind as error:
        body = error.body
        assert body["type"] == "error" and body["request_id"] == error.response.headers["request-id"], body
        assert (body["error"]["type"], body["error"]["param"]) == (type, param), body
        assert body["error"]["message"] and len(json.dumps(body)) < 32_000
        return error
    raise AssertionError(f"was not refused, expected {kind.__name__} for {param}")


def bad(client, param, extra=None, **options):
    return refused(
        anthropic.BadRequestError, "invalid_request_error", param, lambda: ask(client, "Hello!", extra, **options)
    )


def sample():
    data = base64.b64encode((DEMO / SAMPLE["image"]).read_bytes()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return [{"type": "image", "source": source}, {"type": "text", "text": SAMPLE["prompt"]}]


def takes_pictures(client):
    try:
        ask(client, sample(), max_tokens=1)
        return True
    except anthropic.BadRequestError as error:
        assert "takes no pictures" in error.body["error"]["message"], error.body
        assert error.body["error"]["param"] == "messages[0].content[0].source.data", error.body
        return False


def takes_tools(client):
    try:
        ask(client, "Hello!", max_tokens=1, tools=[TOOL])
        return True
    except anthropic.BadRequestError as error:
        assert error.body["error"]["param"] == "tools", error.body
        assert error.body["error"]["code"] == "unsupported_parameter", error.body
        return False


@check
def a_message_is_answered(client):
    reply = ask(client, "Hello!")
    assert reply.id.startswith("msg_") and (reply.type, reply.role) == ("message", "assistant")
    assert reply.model == model(client) and text(reply)
    assert reply.stop_reason in ("end_turn", "max_tokens") and reply.stop_sequence is None
    assert reply.usage.input_tokens + reply.usage.cache_read_input_tokens > 0
    assert 0 < reply.usage.output_tokens <= 24 and reply.usage.cache_creation_input_tokens == 0
    assert reply.model_extra["secateur"]["transfer"]["bytes_sent"] >= 0


@check
def max_tokens_end_a_message(client):
    reply = ask(client, "Hello!", max_tokens=1)
    assert (reply.stop_reason, reply.usage.output_tokens) == ("max_tokens", 1)


@check
def strings_and_blocks_are_the_same(client):
    block = [{"type": "text", "text": "Hello!", "cache_control": {"type": "ephemeral"}}]
    assert text(ask(client, "Hello!")) == text(ask(client, block))


@check
def a_system_prompt_is_read(client):
    plain = client.messages.count_tokens(model=model(client), messages=user("Hello!")).input_tokens
    for system in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
        assert ask(client, "Hello!", system=system).content is not None
        counted = client.messages.count_tokens(model=model(client), messages=user("Hello!"), system=system)
        assert counted.input_tokens > plain


@check
def several_turns_are_taken(client):
    turns = [
        {"role": "user", "content": "Hello!"},
        {"role": "user", "content": "Are you there?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": [{"type": "text", "text": "Hello again!"}]},
    ]
    assert ask(client, None, messages=turns).content is not None


@check
def a_stop_sequence_is_named_and_not_shown(client):
    whole = text(ask(client, "Hello!"))
    stop = whole[len(whole) // 2 :][:3]
    reply = ask(client, "Hello!", stop_sequences=["never said", stop])
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", stop)
    assert stop not in text(reply) and whole.startswith(text(reply))
    _, streams = streamed(client, "Hello!", stop_sequences=[stop])
    assert (streams.stop_reason, streams.stop_sequence, text(streams)) == ("stop_sequence", stop, text(reply))


@check
def an_answer_goes_on_where_the_last_message_ends(client):
    whole = text(ask(client, "Hello!"))
    begun = whole[: len(whole) // 2].rstrip()
    if not begun:
        return
    turns = [*user("Hello!"), {"role": "assistant", "content": begun}]
    rest = ask(client, None, messages=turns)
    assert text(rest) and rest.usage.input_tokens + rest.usage.cache_read_input_tokens > 0
    _, streams = streamed(client, None, messages=turns)
    assert text(streams) == text(rest)


@check
def a_stream_adds_up_to_the_message(client):
    whole = ask(client, "Hello!")
    events, message = streamed(client, "Hello!")
    assert blocks(message) == blocks(whole) and message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("message_delta") == 1


@check
def raw_events_are_named_and_in_order(client):
    root = str(client.base_url).rstrip("/")
    body = {"model": model(client), "max_tokens": 8, "messages": user("Hello!"), "stream": True}
    with httpx.stream("POST", f"{root}/v1/messages", json=body, headers=client.auth_headers, timeout=60) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        wire = response.read().decode()
    assert wire.endswith("\n\n")
    open_block, blocks = None, []
    for event in wire.removesuffix("\n\n").split("\n\n"):
        name, data = re.fullmatch(r"event: (\w+)\ndata: (.*)", event).groups()
        data = json.loads(data)
        assert data["type"] == name
        if name == "content_block_start":
            assert open_block is None and data["index"] == len(blocks)
            open_block = data["content_block"]["type"]
            blocks.append(open_block)
        elif name == "content_block_delta":
            assert data["index"] == len(blocks) - 1 and data["delta"]["type"] == KINDS[open_block]
        elif name == "content_block_stop":
            assert data["index"] == len(blocks) - 1 and open_block is not None
            open_block = None
        elif name == "message_delta":
            assert open_block is None and data["delta"]["stop_reason"] and data["secateur"]["epoch"]
    assert name == "message_stop"


@check
def a_picture_is_answered(client):
    if not takes_pictures(client):
        return
    reply = ask(client, sample(), max_tokens=64)
    assert reply.model_extra["secateur"]["visual"]["images"] == 1
    assert text(reply) == SAMPLE["answer"], text(reply)
    _, streams = streamed(client, sample(), max_tokens=64)
    assert text(streams) == text(reply)


@check
def tools_go_round(client):
    if not takes_tools(client):
        return
    question = "What is the weather in Oslo?"
    reply = ask(client, question, max_tokens=200, tools=[TOOL], tool_choice={"type": "tool", "name": "look_up"})
    assert reply.stop_reason == "tool_use", reply
    call = next(block for block in reply.content if block.type == "tool_use")
    assert call.id.startswith("toolu_") and call.name == "look_up" and isinstance(call.input["city"], str), call
    _, streams = streamed(
        client, question, max_tokens=200, tools=[TOOL], tool_choice={"type": "tool", "name": "look_up"}
    )
    assert [block.input for block in streams.content if block.type == "tool_use"] == [call.input]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "It rains."}]}
    turns = [*user(question), {"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    assert ask(client, None, messages=turns, tools=[TOOL], tool_choice={"type": "none"}).content is not None
    eager = {**TOOL, "eager_input_streaming": True}
    events, _ = streamed(client, question, max_tokens=200, tools=[eager], tool_choice={"type": "any"})
    assert sum(event.type == "input_json" for event in events) > 1


@check
def a_history_with_tools_is_taken(client):
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "It rains.", "is_error": False}
    thought = {"type": "thinking", "thinking": "Let me see.", "signature": ""}
    turns = [
        *user("What is the weather in Oslo?"),
        {"role": "assistant", "content": [thought, {"type": "text", "text": "I look it up."}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    assert ask(client, None, messages=turns).content is not None


@check
def an_answer_is_held_to_a_schema(client):
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    reply = ask(client, "Name a colour.", max_tokens=64, output_config=form)
    if reply.stop_reason == "end_turn":
        assert json.loads(text(reply))["colour"] in ("red", "green"), text(reply)


@check
def thinking_may_be_switched(client):
    for thinking in ({"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
        assert ask(client, "Hello!", thinking=thinking).content is not None


@check
def tokens_are_counted_as_in_usage(client):
    asked = {"messages": user("Hello!"), "system": "Be brief."}
    counted = client.messages.count_tokens(model=model(client), **asked).input_tokens
    usage = ask(client, None, max_tokens=1, **asked).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


@check
def a_picture_counts(client):
    if not takes_pictures(client):
        return
    words = [block for block in sample() if block["type"] == "text"]
    count = lambda content: client.messages.count_tokens(model=model(client), messages=user(content)).input_tokens
    assert count(sample()) > count(words)


@check
def errors_are_typed_and_name_the_field(client):
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}}
    bad(client, "messages[0].content[0].source.data", messages=user([block]))
    bad(client, "messages[0].content[0].type", messages=user([{"type": "document", "source": {}}]))
    bad(client, "messages[0].role", messages=[{"role": "tool", "content": "x"}])
    bad(client, "temperature", extra={"temperature": 1.5})
    bad(client, "max_tokens", max_tokens=0)
    bad(client, "stop_sequences[0]", stop_sequences=[""])
    bad(client, "tools[0].type", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    bad(client, "tool_choice.name", tools=[TOOL], tool_choice={"type": "tool", "name": "other"})
    bad(client, "mcp_servers", extra={"mcp_servers": [{"type": "url", "url": "http://x", "name": "x"}]})
    bad(client, "secateur.x", extra={"secateur": {"x": 1}})
    bad(client, "max_tokens", extra={"max_tokens": None})
    unknown = lambda: client.messages.create(model="none", max_tokens=1, messages=user("Hello!"))
    refused(anthropic.NotFoundError, "not_found_error", "model", unknown)
    batches = lambda: client.messages.batches.list()
    refused(anthropic.NotFoundError, "not_found_error", None, batches)


@check
def a_prompt_that_is_too_long_is_refused(client):
    error = bad(client, "messages", messages=user("hello " * 2_000_000))
    assert "maximum context length" in error.body["error"]["message"]


@check
def the_request_id_is_echoed(client):
    raw = client.messages.with_raw_response.create(
        model=model(client), max_tokens=1, messages=user("Hello!"), extra_headers={"x-request-id": "check-7"}
    )
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == "check-7"


@check
def the_async_client_is_answered(client):
    import asyncio

    async def questions():
        async with anthropic.AsyncAnthropic(base_url=str(client.base_url), api_key=client.api_key) as other:
            ask = lambda: other.messages.create(model=model(client), max_tokens=3, messages=user("Hello!"))
            return await asyncio.gather(*(ask() for _ in range(4)))

    assert len(asyncio.run(questions())) == 4
