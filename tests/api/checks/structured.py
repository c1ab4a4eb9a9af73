"""Structured output: what comes back is what was asked for, from the first token on."""

import json
import re
import time
from typing import Literal

from pydantic import BaseModel

from .common import ask, bad, check, complete, model, text, user

PAIR = {
    "type": "object",
    "properties": {"zeta": {"type": "integer", "minimum": 0, "maximum": 99}, "alpha": {"enum": ["red", "green", "blue"]}},
    "required": ["zeta", "alpha"],
    "additionalProperties": False,
}


def schema(described):
    return {"type": "json_schema", "json_schema": {"name": "pair", "strict": True, "schema": described}}


@check
def a_schema_is_obeyed_at_any_temperature(client):
    for seed in range(6):
        reply = ask(client, "A colour and a number.", temperature=1.5, seed=seed, max_tokens=200, response_format=schema(PAIR))
        value = json.loads(text(reply))
        assert reply.choices[0].finish_reason == "stop", reply.choices[0]
        assert list(value) == ["zeta", "alpha"], "properties in the schema's order"
        assert 0 <= value["zeta"] <= 99 and value["alpha"] in PAIR["properties"]["alpha"]["enum"], value


@check
def the_clients_own_parser_reads_it(client):
    class Pair(BaseModel):
        ready: bool
        colour: Literal["red", "green"]

    reply = client.chat.completions.parse(
        model=model(client).id, messages=user("Is it ready?"), response_format=Pair, temperature=0, max_tokens=300)
    parsed = reply.choices[0].message.parsed
    assert isinstance(parsed.ready, bool) and parsed.colour in ("red", "green"), parsed


@check
def any_json_object(client):
    reply = ask(client, "JSON, please.", temperature=1, seed=3, max_tokens=300, response_format={"type": "json_object"})
    assert text(reply).lstrip().startswith("{")
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text(reply)), dict)


@check
def one_of_a_list(client):
    choices = ["yes", "no", "perhaps \"so\""]
    for seed in range(4):
        reply = ask(client, "Well?", temperature=2, seed=seed, extra_body={"structured_outputs": {"choice": choices}})
        assert text(reply) in choices and reply.choices[0].finish_reason == "stop"
    reply = ask(client, "Well?", temperature=0, extra_body={"guided_choice": ["only"]})
    assert text(reply) == "only"


@check
def a_regular_expression(client):
    for name in ("guided_regex", "regex"):
        reply = ask(client, "A date.", temperature=1, seed=5, extra_body={name: r"\d{4}-\d{2}-\d{2}"})
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", text(reply)), text(reply)


@check
def a_grammar(client):
    lark = 'start: "(" (start | /[0-9]/) ")"'
    reply = ask(client, "Brackets.", temperature=1, seed=1, max_tokens=64, extra_body={"guided_grammar": lark})
    found = text(reply)
    if reply.choices[0].finish_reason == "stop":
        assert re.fullmatch(r"\(+[0-9]\)+", found) and found.count("(") == found.count(")"), found


@check
def the_first_token_obeys_too(client):
    reply = ask(client, "Say anything.", temperature=1, max_tokens=1, extra_body={"guided_regex": "[0-9]{8}"})
    assert re.fullmatch("[0-9]+", text(reply)) and reply.choices[0].finish_reason == "length", text(reply)


@check
def a_stream_joins_to_the_same(client):
    options = {"temperature": 0, "max_tokens": 200, "response_format": schema(PAIR)}
    whole = text(ask(client, "A colour and a number.", **options))
    parts = ask(client, "A colour and a number.", stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in parts if chunk.choices) == whole


@check
def every_choice_obeys(client):
    reply = ask(client, "Pick.", n=4, temperature=2, seed=9, extra_body={"guided_choice": ["a", "b", "c"]})
    assert all(choice.message.content in "abc" for choice in reply.choices) and len(reply.choices) == 4


@check
def raw_prompts_can_have_a_form(client):
    reply = complete(client, "The year is ", temperature=0, max_tokens=16, extra_body={"guided_regex": "19[0-9]{2}"})
    assert re.fullmatch("19[0-9]{2}", reply.choices[0].text), reply.choices[0].text


@check
def log_probabilities_come_along(client):
    reply = ask(client, "A digit.", temperature=0, logprobs=True, top_logprobs=2, extra_body={"guided_regex": "[0-9]"})
    entries = reply.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries) == text(reply) and all(entry.logprob <= 0 for entry in entries)


@check
def what_cannot_be_compiled_is_refused_with_the_reason(client):
    bad(client, "response_format.json_schema.schema", response_format=schema({"type": "thing"}))
    bad(client, "guided_regex", extra_body={"guided_regex": "("})
    bad(client, "guided_grammar", extra_body={"guided_grammar": "start: missing"})
    bad(client, "guided_choice", extra_body={"guided_choice": []})
    bad(client, "response_format.type", response_format={"type": "grammar"})
    bad(client, "guided_regex", extra_body={"guided_regex": "a", "guided_json": {}})


@check
def a_hostile_schema_is_answered_or_refused_soon(client):
    started = time.monotonic()
    try:
        ask(client, "Deep.", max_tokens=4, response_format=schema({"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}] * 50}}, "$ref": "#/$defs/n"}))
    except Exception as error:
        assert getattr(error, "status_code", None) == 400, error
    assert time.monotonic() - started < 20
