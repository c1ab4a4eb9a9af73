"""Tools: calls that are forced, calls that the model decides on, their streams, and their results.

The demo decides on no call by itself, so the checks of `auto` put the words of one into its mouth.
"""

import json

import jsonschema
import openai
from pydantic import BaseModel

from .common import ask, bad, check, conversation_tokens, front_check, joined, model, text, text_of, user, words_and_end

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome", "São Paulo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "units": {"anyOf": [{"const": "metric"}, {"type": "null"}]},
    },
    "required": ["city", "days", "units"],
    "additionalProperties": False,
}
ADDITION = {
    "type": "object",
    "properties": {"terms": {"type": "array", "items": {"type": "integer", "maximum": 99, "minimum": -99}, "minItems": 2, "maxItems": 3}},
    "required": ["terms"],
    "additionalProperties": False,
}
SCHEMAS = {"look_up": WEATHER, "add": ADDITION}


def tool(name, parameters, **more):
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": parameters, **more}}


TOOLS = [tool(name, parameters, strict=True) for name, parameters in SCHEMAS.items()]
SPELT = '<tool_call>\n{"name": "look_up", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
ARGUMENTS = '{"city": "Oslo", "days": 3}'


def named(name):
    return {"type": "function", "function": {"name": name}}


def call(client, choice="required", content="What is the weather?", **options):
    options = {"temperature": 1.5, "max_tokens": 300, "parallel_tool_calls": False, "tools": TOOLS, **options}
    return ask(client, content, tool_choice=choice, **options)


def say(client, words, **options):
    """An answer of these words, whatever the model would have said."""
    extra = {**words_and_end(client, words), **options.pop("extra_body", {})}
    options = {"tools": TOOLS, "temperature": 0, "max_tokens": 400, **options}
    return ask(client, "What is the weather?", extra_body=extra, **options)


def calls_of(reply):
    return [(each.function.name, each.function.arguments) for each in reply.choices[0].message.tool_calls or []]


def streamed(chunks):
    """The calls of a stream, put together as the client's documentation does; and the number of their parts."""
    calls, parts = [], 0
    for chunk in chunks:
        for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            parts += 1
            if part.index == len(calls):
                assert part.id.startswith("call_") and part.type == "function" and part.function.name
                calls.append([part.function.name, ""])
            else:
                assert part.id is None and part.function.name is None, "only the first part has a name"
            calls[part.index][1] += part.function.arguments or ""
    return [tuple(call) for call in calls], parts


def valid(calls):
    for name, arguments in calls:
        jsonschema.validate(json.loads(arguments), SCHEMAS[name])
    return calls


@front_check
def a_named_call_is_what_its_schema_says(client):
    for name in SCHEMAS:
        for seed in range(4):
            reply = call(client, named(name), seed=seed)
            assert [each for each, _ in valid(calls_of(reply))] == [name]
            assert reply.choices[0].finish_reason == "tool_calls" and text(reply) is None


@front_check
def a_required_call_is_one_of_the_tools(client):
    for seed in range(8):
        reply = call(client, seed=seed)
        assert len(valid(calls_of(reply))) == 1 and reply.choices[0].finish_reason == "tool_calls"


@front_check
def several_required_calls_are_each_valid(client):
    for seed in range(4):
        reply = call(client, seed=seed, parallel_tool_calls=True)
        calls = calls_of(reply)
        if reply.choices[0].finish_reason == "length":
            calls = calls[:-1]
        valid(calls)
        ids = [each.id for each in reply.choices[0].message.tool_calls]
        assert len(set(ids)) == len(ids)


@front_check
def a_call_that_is_cut_off_says_so(client):
    reply = call(client, named("add"), max_tokens=35, temperature=0)
    assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens == 35


@front_check
def the_surest_call_ends_by_itself(client):
    # The demo's likeliest token is white space, of which there is no end but the grammar's.
    for name in SCHEMAS:
        reply = call(client, named(name), temperature=0, max_tokens=1_000)
        assert valid(calls_of(reply)) and reply.choices[0].finish_reason == "tool_calls", reply.choices[0]


@front_check
def a_stream_of_a_call_joins_to_the_whole(client):
    for seed in range(4):
        for choice in ("required", named("look_up"), named("add")):
            whole = calls_of(call(client, choice, seed=seed))
            chunks = list(call(client, choice, seed=seed, stream=True))
            calls, parts = streamed(chunks)
            assert calls == whole, seed
            assert parts > 1, "arguments come as they are written"
            assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["tool_calls"]
            assert joined(chunks) == ""


@front_check
def every_choice_calls(client):
    reply = call(client, n=3, seed=1)
    for choice in reply.choices:
        valid([(each.function.name, each.function.arguments) for each in choice.message.tool_calls])
        assert choice.finish_reason == "tool_calls"
    assert reply.choices[0].message.tool_calls[0].function == call(client, seed=1).choices[0].message.tool_calls[0].function


@front_check
def a_tool_without_parameters_is_called_with_an_object(client):
    for parameters in ({}, {"type": "object", "properties": {}, "additionalProperties": False}):
        tools = [tool("now", parameters)]
        name, arguments = calls_of(call(client, named("now"), tools=tools, temperature=0))[0]
        assert name == "now" and isinstance(json.loads(arguments), dict)
    bare = [{"type": "function", "function": {"name": "now"}}]
    assert calls_of(call(client, named("now"), tools=bare, temperature=0, max_tokens=60))[0][0] == "now"


@front_check
def the_models_own_call_is_found(client):
    reply = say(client, SPELT)
    assert calls_of(reply) == [("look_up", ARGUMENTS)] and text(reply) is None
    assert reply.choices[0].finish_reason == "tool_calls"


@front_check
def words_before_a_call_stay_words(client):
    reply = say(client, "Let me see. " + SPELT)
    assert calls_of(reply) == [("look_up", ARGUMENTS)] and text(reply).strip() == "Let me see."
    chunks = list(say(client, "Let me see. " + SPELT, stream=True))
    assert joined(chunks) == text(reply) and streamed(chunks)[0] == calls_of(reply)


@front_check
def two_calls_are_two(client):
    words = SPELT + "\n" + SPELT.replace("Oslo", "Rome")
    expected = [("look_up", ARGUMENTS), ("look_up", ARGUMENTS.replace("Oslo", "Rome"))]
    assert calls_of(say(client, words)) == streamed(say(client, words, stream=True))[0] == expected


@front_check
def without_parallel_calls_the_first_one_counts(client):
    words = SPELT + "\n" + SPELT.replace("Oslo", "Rome")
    expected = [("look_up", ARGUMENTS)]
    assert calls_of(say(client, words, parallel_tool_calls=False)) == expected
    assert streamed(say(client, words, parallel_tool_calls=False, stream=True))[0] == expected


@front_check
def what_only_looks_like_a_call_stays_text(client):
    for words in (
        "a < b", "<tool_call> is a mark", '<tool_call>\n{"city": "Oslo"}\n</tool_call>', "<tool_call>\n{broken\n</tool_call>",
        '{"name": "look_up", "arguments": {}}',
    ):
        reply = say(client, words)
        assert text(reply) == words and calls_of(reply) == [] and reply.choices[0].finish_reason == "stop", reply.choices[0]
        assert joined(say(client, words, stream=True)) == words


@front_check
def without_tools_a_call_is_text(client):
    for options in ({"tools": openai.NOT_GIVEN}, {"tool_choice": "none"}):
        reply = say(client, SPELT, **options)
        assert text(reply) == SPELT and calls_of(reply) == [] and reply.choices[0].finish_reason == "stop"


@front_check
def a_required_call_begins_at_once(client):
    whole = text(ask(client, "Hello!", temperature=0, max_tokens=24, tools=TOOLS, tool_choice="none"))
    assert "<tool_call>" not in whole
    assert calls_of(call(client, "required", "Hello!", temperature=0))


@front_check
def tools_reach_the_template(client):
    prompt = text_of(client, conversation_tokens(client, user("Hello!"), tools=TOOLS))
    assert prompt.startswith("<s>FUNCTIONS: " + json.dumps(TOOLS[0], ensure_ascii=False)), prompt
    assert "look_up" not in text_of(client, conversation_tokens(client, user("Hello!"), tools=[]))
    said = len(conversation_tokens(client, user("What is the weather?"), tools=TOOLS))
    assert call(client, max_tokens=1).usage.prompt_tokens == said


def history(message, result):
    results = [{"role": "tool", "tool_call_id": each.id, "content": result} for each in message.tool_calls]
    return [*user("What is the weather?"), message.model_dump(exclude_none=True), *results]


@front_check
def results_go_into_the_history(client):
    message = say(client, SPELT).choices[0].message
    prompt = text_of(client, conversation_tokens(client, history(message, "It rains."), tools=TOOLS))
    assert prompt.endswith(f"ASSISTANT: {SPELT}</s>RESULT: It rains. ASSISTANT:"), prompt
    parts = [{"type": "text", "text": "It rains."}]
    assert prompt == text_of(client, conversation_tokens(client, history(message, parts), tools=TOOLS))


@front_check
def a_conversation_goes_on_from_a_result(client):
    first = call(client, named("look_up"), seed=3).choices[0].message
    messages = history(first, "It </s> rains.")
    options = {"model": model(client).id, "messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 16}
    answer = client.chat.completions.create(**options)
    assert text(answer) and not answer.choices[0].message.tool_calls
    assert joined(client.chat.completions.create(**options, stream=True)) == text(answer)
    options.update(tool_choice="required", parallel_tool_calls=False, temperature=1.5, seed=1, max_tokens=300)
    assert len(valid(calls_of(client.chat.completions.create(**options)))) == 1


@front_check
def the_clients_own_parser_reads_a_call(client):
    class Look(BaseModel):
        town: str
        often: bool

    function = openai.pydantic_function_tool(Look, name="look")
    function["function"]["parameters"]["properties"]["town"]["maxLength"] = 20
    options = {"temperature": 1.5, "seed": 1, "max_tokens": 300, "tools": [function], "tool_choice": named("look")}
    reply = client.chat.completions.parse(model=model(client).id, messages=user("Look!"), **options)
    parsed = reply.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(parsed, Look) and isinstance(parsed.often, bool)


@front_check
def the_helper_for_streams_reads_a_call(client):
    whole = call(client, named("look_up"), seed=2)
    options = {"tools": TOOLS, "tool_choice": named("look_up"), "seed": 2, "temperature": 1.5, "max_tokens": 300}
    with client.chat.completions.stream(
        model=model(client).id, messages=user("What is the weather?"), parallel_tool_calls=False, **options
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds, kinds
    assert calls_of(final) == calls_of(whole)


@front_check
def tokens_of_a_call_are_counted(client):
    reply = call(client, seed=1)
    chunks = list(call(client, seed=1, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == reply.usage.completion_tokens > 10


@front_check
def tool_choice_must_name_a_tool(client):
    bad(client, "tool_choice.function.name", tools=TOOLS, tool_choice=named("fly"))
    bad(client, "tool_choice", tools=TOOLS, tool_choice="always")
    bad(client, "tool_choice", tool_choice="required")
    assert ask(client, "Hello!", tools=[], tool_choice="auto", max_tokens=1).choices


@front_check
def tools_that_are_none_are_refused_by_name(client):
    for param, tools in {
        "tools": 5,
        "tools[0].type": [{"function": {"name": "f"}}],
        "tools[0].function": [{"type": "function"}],
        "tools[0].function.name": [tool("two words", {})],
        "tools[1].function.name": [tool("f", {}), tool("f", {})],
        "tools[0].function.parameters": [tool("f", "a schema")],
    }.items():
        bad(client, param, extra_body={"tools": tools})
    bad(client, "tools[0].type", "unsupported_parameter", extra_body={"tools": [{"type": "web_search"}]})
    bad(client, "functions", "unsupported_parameter", extra_body={"functions": [{"name": "f"}]})


@front_check
def a_schema_that_cannot_be_held_is_refused(client):
    thing = [tool("f", {"type": "thing"})]
    error = bad(client, "tools", tools=thing, tool_choice="required")
    assert "thing" in error.body["message"]
    assert ask(client, "Hello!", tools=thing, max_tokens=1).choices, "the model may call it as it likes"


@front_check
def a_forced_call_has_no_other_form(client):
    for choice in ("required", named("add")):
        bad(client, "tool_choice", tools=TOOLS, tool_choice=choice, response_format={"type": "json_object"})
        bad(client, "tool_choice", tools=TOOLS, tool_choice=choice, extra_body={"guided_choice": ["a"]})


@check
def a_template_that_knows_no_tools_refuses_them(client):
    error = bad(client, "tools", "unsupported_parameter", tools=TOOLS, tool_choice="required")
    assert "template" in error.body["message"]
