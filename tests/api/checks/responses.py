"""The Responses API, by the client's own types: items, events, tools, forms, and nothing that is kept. Also for other
checkpoints than the demo: where one takes no pictures or no tools, that has to be said by name."""

import json
from typing import Literal

import httpx
import openai
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from .common import DEMO, SAMPLE, SAMPLE_CONTENT, ask, check, data_uri, model, refused, text

EVENTS = TypeAdapter(ResponseStreamEvent)
WEATHER = {
    "type": "function",
    "name": "look_up",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def respond(client, given="Hello!", **options):
    options = {"temperature": 0, "max_output_tokens": 32, **options}
    return client.responses.create(model=model(client).id, input=given, **options)


def stream(client, given="Hello!", **options):
    """The events, each as its type describes it, numbered from 0."""
    events = list(respond(client, given, stream=True, **options))
    for number, event in enumerate(events):
        EVENTS.validate_python(event.to_dict())
        assert event.sequence_number == number, event
    return events


def bad(client, param, code=None, given="Hello!", **options):
    return refused(openai.BadRequestError, param, lambda: respond(client, given, **options), code)


def takes(client, param, call):
    """Whether the checkpoint can do this at all; what it says otherwise names the field."""
    try:
        call()
        return True
    except openai.BadRequestError as error:
        assert error.body["param"] == param and "model" in error.body["message"], error.body
        return False


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def words(said):
    return {"type": "input_text", "text": said}


def timeless(response):
    """A response without what differs from one to the next."""
    plain = response.to_dict()
    name = plain["id"].removeprefix("resp_")
    for key in ("created_at", "completed_at", "secateur"):
        plain.pop(key)
    for item in plain["output"]:
        item.pop("call_id", None)
    plain["usage"].pop("input_tokens_details")
    return json.loads(json.dumps(plain).replace(name, "NAME"))


@check
def a_response_is_what_its_type_says(client):
    raw = client.responses.with_raw_response.create(model=model(client).id, input="Hello!", temperature=0, max_output_tokens=32)
    body = raw.http_response.json()
    response = Response.model_validate(body, strict=True)
    assert response.id.startswith("resp_") and response.object == "response" and response.output_text
    assert response.status == ("incomplete" if response.incomplete_details else "completed")
    message = response.output[0]
    assert message.type == "message" and message.id.startswith("msg_") and message.content[0].annotations == []
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens and usage.output_tokens > 0
    known = set(Response.model_fields) - {
        "access_programs", "image", "input_transformations", "moderation", "prompt_cache_diagnostics",
        "prompt_cache_options", "prompt_cache_retention", "tool_usage",
    }
    assert known <= set(body), known - set(body)
    assert body["secateur"]["prefill_node"] and body["store"] is False


@check
def a_response_says_what_chat_says(client):
    chat = client.chat.completions.create(
        model=model(client).id, temperature=0, max_tokens=32,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}])
    response = respond(client, instructions="Be brief.")
    assert response.output_text == text(chat)
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.instructions == "Be brief."


@check
def events_of_a_response_come_in_order(client):
    events = stream(client, max_output_tokens=500)
    kinds = [event.type for event in events]
    once = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    ended = events[-1].response.status
    assert once == [*TEXT_EVENTS[:-1], f"response.{ended}"], once
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {events[-1].response.output[0].id}


@check
def a_stream_of_a_response_ends_with_the_whole(client):
    whole = respond(client)
    events = stream(client)
    joined = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert joined == whole.output_text
    assert timeless(events[-1].response) == timeless(whole)
    assert events[-1].response.model_extra["secateur"]["epoch"] == events[0].response.id.removeprefix("resp_")


@check
def the_helper_for_streams_of_responses_works(client):
    with client.responses.stream(model=model(client).id, input="Hello!", temperature=0, max_output_tokens=500) as events:
        seen = list(events)
    said = [event.snapshot for event in seen if event.type == "response.output_text.delta"]
    assert said and said[-1] == seen[-1].response.output_text


@check
def a_response_that_is_cut_off_says_so(client):
    response = respond(client, max_output_tokens=1, extra_body={"ignore_eos": True})
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert stream(client, max_output_tokens=1, extra_body={"ignore_eos": True})[-1].type == "response.incomplete"


@check
def items_go_back_as_they_came(client):
    first = respond(client)
    turns = [*user(words("Hello!")), *[item.to_dict() for item in first.output], *user(words("And?"))]
    second = respond(client, turns)
    messages = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And?"},
    ]
    chat = client.chat.completions.create(model=model(client).id, messages=messages, temperature=0, max_tokens=32)
    assert second.output_text == text(chat)


@check
def a_response_to_a_picture(client):
    image = {"type": "input_image", "image_url": data_uri(DEMO / SAMPLE["image"]), "detail": "auto"}
    question = user(image, words(SAMPLE["prompt"]))
    if not takes(client, "input[0].content[0].image_url", lambda: respond(client, question)):
        return
    response = respond(client, question, max_output_tokens=100)
    assert response.model_extra["secateur"]["visual"]["images"] == 1
    chat = ask(client, SAMPLE_CONTENT, temperature=0, max_tokens=100)
    assert response.output_text == text(chat), (response.output_text, text(chat))


@check
def a_response_can_be_parsed(client):
    class Pair(BaseModel):
        ready: bool
        colour: Literal["red", "green"]

    asked = {"model": model(client).id, "input": "Is it ready?", "text_format": Pair, "temperature": 0, "max_output_tokens": 300}
    parsed = client.responses.parse(**asked)
    assert isinstance(parsed.output_parsed, Pair), parsed
    assert parsed.text.format.type == "json_schema"
    with client.responses.stream(**asked) as events:
        assert events.get_final_response().output_parsed == parsed.output_parsed


@check
def log_probabilities_of_a_response(client):
    options = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 8}
    entries = respond(client, **options).output[0].content[0].logprobs
    assert entries and all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in entries)
    deltas = [event for event in stream(client, **options) if event.type == "response.output_text.delta"]
    assert [entry.token for event in deltas for entry in event.logprobs] == [entry.token for entry in entries]
    assert respond(client).output[0].content[0].logprobs == []


@check
def a_call_and_its_result(client):
    options = {"tools": [WEATHER], "tool_choice": "required", "max_output_tokens": 200, "parallel_tool_calls": False}
    if not takes(client, "tools", lambda: respond(client, "Weather in Oslo?", **options)):
        return
    response = respond(client, "Weather in Oslo?", **options)
    call = next(item for item in response.output if item.type == "function_call")
    assert call.name == "look_up" and json.loads(call.arguments)["city"] in ("Oslo", "Rome"), call
    assert call.call_id.startswith("call_") and call.id.startswith("fc_")

    events = stream(client, "Weather in Oslo?", **options)
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done.arguments and len(deltas) > 1
    assert timeless(events[-1].response) == timeless(response)

    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"weather": "rain"}'}
    turns = [*user(words("Weather in Oslo?")), *[item.to_dict() for item in response.output], result]
    answer = respond(client, turns, tools=[WEATHER], tool_choice="none")
    assert answer.output_text and answer.output[-1].type == "message"


@check
def an_effort_reaches_a_model_that_knows_of_it(client):
    asked = {"effort": "low", "summary": "auto"}
    if takes(client, "reasoning.effort", lambda: respond(client, reasoning=asked)):
        assert respond(client, reasoning=asked).reasoning.effort == "low"
    assert respond(client, reasoning={"effort": "none"}).output


@check
def what_a_response_was_asked_for_comes_back(client):
    response = respond(
        client, metadata={"a": "b"}, user="u", safety_identifier="s", prompt_cache_key="k", store=True, top_p=0.5,
        truncation="disabled", include=["reasoning.encrypted_content"], service_tier="auto", background=False)
    assert response.metadata == {"a": "b"} and response.user == "u" and response.top_p == 0.5
    assert response.model_extra["store"] is False, "nothing is stored"


@check
def nothing_is_kept_between_responses(client):
    bad(client, "previous_response_id", "unsupported_parameter", previous_response_id="resp_1")
    bad(client, "conversation", "unsupported_parameter", conversation="conv_1")
    bad(client, "background", "unsupported_parameter", background=True)
    bad(client, "prompt", "unsupported_parameter", prompt={"id": "pmpt_1"})
    bad(client, "truncation", "unsupported_parameter", truncation="auto")
    bad(client, "input[0].type", "unsupported_parameter", given=[{"type": "item_reference", "id": "msg_1"}])
    response = respond(client, max_output_tokens=1)
    refused(openai.NotFoundError, None, lambda: client.responses.retrieve(response.id), "not_found")


@check
def errors_of_responses_name_the_clients_fields(client):
    for param, value in {"temperature": 3, "max_output_tokens": 0, "top_logprobs": 21, "include": 5, "metadata": {"a": "b" * 600}}.items():
        bad(client, "metadata.a" if param == "metadata" else param, **{param: value})
    bad(client, "input[0].content[1].image_url", "invalid_image",
        given=user(words("See:"), {"type": "input_image", "image_url": "http://127.0.0.1:1/a.png"}))
    bad(client, "input[0].content[0].type", "unsupported_parameter", given=user({"type": "input_file", "file_id": "file_1"}))
    bad(client, "tools[0].type", "unsupported_parameter", tools=[{"type": "web_search"}])
    bad(client, "text.format.schema", text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "thing"}}})
    bad(client, "text.verbosity", "unsupported_parameter", text={"verbosity": "low"})
    bad(client, "max_tokens", "unsupported_parameter", extra_body={"max_tokens": 5})
    bad(client, "secateur.visuals", extra_body={"secateur": {"visuals": {}}})
    error = bad(client, "input", "context_length_exceeded", given="word " * 200_000)
    assert "maximum context length" in error.body["message"]


@check
def the_wire_of_a_response(client):
    body = {"model": model(client).id, "input": "Hello!", "stream": True, "max_output_tokens": 8}
    with httpx.stream("POST", f"{client.base_url}responses", json=body, headers=client.auth_headers, timeout=60) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        wire = response.read().decode()
    events = wire.split("\n\n")
    assert events.pop() == ""
    for event in events:
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
