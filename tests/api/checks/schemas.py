"""JSON schemas by keyword: what comes out at temperature 1.5 is what the schema says, by the judgement of `jsonschema`."""

import json
import re

import jsonschema

from .common import SAMPLE_CONTENT, ask, bad, check, joined, text

DATE = {"type": "string", "format": "date"}
LEAF = {"type": "object", "properties": {"value": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["value"], "additionalProperties": False}
KEYWORDS = {
    "numbers": {"type": "object", "properties": {
        "age": {"type": "integer", "minimum": 18, "maximum": 99}, "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "steps": {"type": "integer", "minimum": -5, "maximum": 5}}, "required": ["age", "share", "steps"]},
    "strings": {"type": "object", "properties": {
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}, "name": {"type": "string", "minLength": 2, "maxLength": 8}},
        "required": ["code", "name"]},
    "formats": {"type": "object", "properties": {"day": DATE, "id": {"type": "string", "format": "uuid"}}, "required": ["day", "id"]},
    "choices": {"type": "object", "properties": {
        "kind": {"enum": ["a", 1, None, True]}, "version": {"const": "v1"}, "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}},
        "required": ["kind", "version", "either"]},
    "lists": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 2, "maxItems": 4},
    "tuples": {"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": ["x", "y"]}], "items": False, "minItems": 2},
    "definitions": {"$defs": {"leaf": LEAF}, "type": "object", "properties": {"left": {"$ref": "#/$defs/leaf"}, "right": {"$ref": "#/$defs/leaf"}},
        "required": ["left", "right"]},
    "recursion": {"$defs": {"tree": {"type": "object", "properties": {
        "value": {"type": "integer", "minimum": 0, "maximum": 9}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
        "required": ["value", "next"]}}, "$ref": "#/$defs/tree"},
    "words": {"type": "string", "maxLength": 12},
}


def closed(schema):
    """The schema as `strict` wants it: no object has more than its properties."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in inner and inner.get("type") == "object" else inner


def strict(schema):
    return {"type": "json_schema", "json_schema": {"name": "record", "strict": True, "schema": schema}}


def holds(choice, schema):
    """Whether the answer ended by itself; what ended has to be what the schema says."""
    if choice.finish_reason == "length":
        return False
    jsonschema.validate(json.loads(choice.message.content), schema, format_checker=jsonschema.FormatChecker())
    return True


@check
def every_keyword_is_held_at_a_high_temperature(client):
    for name, schema in KEYWORDS.items():
        schema = closed(schema)
        ended = 0
        for seed in range(3):
            options = {"temperature": 1.5, "seed": seed, "max_tokens": 500, "response_format": strict(schema)}
            ended += holds(ask(client, "Give me a record.", **options).choices[0], schema)
        assert ended, f"{name}: not one of three ended"


@check
def every_choice_and_every_stream_holds(client):
    schema = closed(KEYWORDS["choices"])
    options = {"temperature": 1.5, "seed": 4, "max_tokens": 400, "response_format": strict(schema)}
    several = ask(client, "Give me a record.", n=4, **options).choices
    assert sum(holds(choice, schema) for choice in several) > 0
    assert joined(ask(client, "Give me a record.", stream=True, **options)) == several[0].message.content


@check
def all_fields_for_a_schema_mean_the_same(client):
    schema = closed(KEYWORDS["choices"])
    options = {"temperature": 1.5, "seed": 8, "max_tokens": 400}
    expected = text(ask(client, "Give me a record.", response_format=strict(schema), **options))
    for body in (
        {"guided_json": schema}, {"guided_json": json.dumps(schema)}, {"structured_outputs": {"json": schema}}, {"json_schema": json.dumps(schema)},
        {"structured_outputs": {"json": json.dumps(schema)}},
    ):
        assert text(ask(client, "Give me a record.", extra_body=body, **options)) == expected, list(body)


@check
def all_fields_for_an_object_mean_the_same(client):
    options = {"temperature": 1, "seed": 3, "max_tokens": 200}
    expected = text(ask(client, "Give me a record.", response_format={"type": "json_object"}, **options))
    assert expected.lstrip().startswith("{")
    for body in ({"guided_json_object": True}, {"structured_outputs": {"json_object": True}}):
        assert text(ask(client, "Give me a record.", extra_body=body, **options)) == expected, list(body)


@check
def all_fields_for_an_expression_or_a_list_mean_the_same(client):
    options = {"temperature": 1.5, "seed": 3, "max_tokens": 60}
    pattern, choices = r"\d{2}:\d{2}", ["north", "south", "west by southwest"]
    for bodies, fits in (
        (({"guided_regex": pattern}, {"regex": pattern}, {"structured_outputs": {"regex": pattern}}), lambda said: re.fullmatch(pattern, said)),
        (({"guided_choice": choices}, {"structured_outputs": {"choice": choices}}), lambda said: said in choices),
    ):
        found = {text(ask(client, "Say it.", extra_body=body, **options)) for body in bodies}
        assert len(found) == 1 and fits(found.pop())


@check
def free_text_is_no_form(client):
    options = {"temperature": 0, "max_tokens": 16}
    free = text(ask(client, "Hello!", **options))
    assert text(ask(client, "Hello!", response_format={"type": "text"}, **options)) == free


@check
def a_complete_answer_ends_whatever_else_was_asked(client):
    reply = ask(client, "Well?", temperature=0, max_tokens=40, extra_body={"guided_choice": ["yes"], "min_tokens": 20})
    assert text(reply) == "yes" and reply.choices[0].finish_reason == "stop"


@check
def an_answer_that_is_cut_off_has_begun_well(client):
    reply = ask(client, "Digits.", temperature=1, max_tokens=5, extra_body={"guided_regex": "[0-9]{40}"})
    assert re.fullmatch("[0-9]{5,39}", text(reply)) and reply.choices[0].finish_reason == "length"


@check
def a_stop_text_ends_a_form_too(client):
    reply = ask(client, "Digits.", temperature=0, max_tokens=100, stop="7", extra_body={"guided_regex": "[0-6]{3}7[0-9]{20}"})
    assert re.fullmatch("[0-6]{3}", text(reply)) and reply.choices[0].finish_reason == "stop"


@check
def a_picture_can_be_answered_in_a_form(client):
    schema = closed({"type": "object", "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["count"]})
    reply = ask(client, SAMPLE_CONTENT, temperature=0, max_tokens=300, response_format=strict(schema))
    assert holds(reply.choices[0], schema) and reply.model_extra["secateur"]["visual"]["images"] == 1


@check
def unicode_is_held_in_a_form(client):
    choices = ["é", "你好", "👩‍👩‍👧"]
    for seed in range(4):
        assert text(ask(client, "Well?", temperature=2, seed=seed, extra_body={"guided_choice": choices})) in choices
    schema = closed({"type": "object", "properties": {"größe": {"enum": ["größer", "ähnlich"]}}, "required": ["größe"]})
    assert holds(ask(client, "Well?", temperature=0, max_tokens=300, response_format=strict(schema)).choices[0], schema)


@check
def forms_that_contradict_each_other_are_refused(client):
    bad(client, "guided_choice", extra_body={"guided_choice": ["a"], "secateur": {"forced_token_ids": [5]}})
    bad(client, "regex", extra_body={"guided_choice": ["a"], "regex": "a"})
    bad(client, "structured_outputs", extra_body={"structured_outputs": {"regex": "a", "choice": ["a"]}})
    bad(client, "response_format.json_schema.schema", response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    bad(client, "guided_choice", extra_body={"guided_choice": ["a", ""]})
    bad(client, "guided_json", extra_body={"guided_json": [1]})


@check
def what_no_text_satisfies_is_refused(client):
    nothing = {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"], "additionalProperties": False}
    for schema in (False, nothing, {"type": "integer", "minimum": 5, "maximum": 4}):
        bad(client, "guided_json", extra_body={"guided_json": schema})
