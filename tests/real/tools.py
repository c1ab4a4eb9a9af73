"""Tools and structured output on a real model, through the unmodified `openai` client.

    secateur up --model "$(models/qwen2.5-coder-0.5b/fetch)" --port 8080 &
    python3 tests/real/tools.py http://127.0.0.1:8080/v1      # needs openai and jsonschema

Exits 1 if something that has to hold does not. What a model of half a billion parameters decides by itself (tool_choice auto)
is reported, and not judged.
"""

import json
import random
import sys

import jsonschema
import openai

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "add", "description": "Adds two numbers", "parameters": {
        "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}}},
]


def schema(random):
    """A random schema of the kinds that applications ask for."""
    leaf = [
        {"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": random.randint(1, 999)}, {"type": "null"},
        {"enum": ["low", "middle", "high"][:random.randint(1, 3)]}, {"type": "string", "maxLength": random.randint(1, 12)},
        {"type": "string", "pattern": "^[a-z]{1,6}$"}, {"const": random.randint(0, 9)},
    ]

    def any_of(depth):
        kind = random.random()
        if depth == 0 or kind < 0.4:
            return random.choice(leaf)
        if kind < 0.6:
            return {"type": "array", "items": any_of(depth - 1), "maxItems": random.randint(1, 3)}
        if kind < 0.7:
            return {"anyOf": [any_of(depth - 1), any_of(depth - 1)]}
        names = random.sample(["id", "name", "size", "tags", "state"], random.randint(1, 3))
        return {"type": "object", "properties": {name: any_of(depth - 1) for name in names},
                "required": names[:random.randint(0, len(names))], "additionalProperties": False}

    names = random.sample(["id", "name", "size", "tags"], 2)
    return {"type": "object", "properties": {name: any_of(2) for name in names}, "required": names, "additionalProperties": False}


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", timeout=300)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    model = client.models.list().data[0].id
    failed = []

    def ask(text, **options):
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)

    def hold(what, is_right, detail=""):
        print(f"{'ok     ' if is_right else 'FAILED '} {what} {detail}", flush=True)
        if not is_right:
            failed.append(what)

    choice = ask("What is the weather in Oslo for 3 days?", tools=TOOLS, temperature=0, max_tokens=120).choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    print(f"decided by itself: {choice.finish_reason}, {calls or choice.message.content!r}", flush=True)

    for seed in range(4):
        named = {"type": "function", "function": {"name": "get_weather"}}
        options = {"tools": TOOLS, "tool_choice": named, "temperature": 1.2, "seed": seed, "max_tokens": 200}
        choice = ask("Weather in Rome?", **options).choices[0]
        call = choice.message.tool_calls[0]
        arguments = json.loads(call.function.arguments)
        jsonschema.validate(arguments, WEATHER)
        hold("a named call", call.function.name == "get_weather" and choice.finish_reason == "tool_calls", call.function.arguments)
        parts, name = "", None
        for chunk in ask("Weather in Rome?", stream=True, **options):
            for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name = part.function.name or name
                parts += part.function.arguments or ""
        hold("its stream", (name, parts) == (call.function.name, call.function.arguments), parts)
    choice = ask("Add 2 and 3.", tools=TOOLS, tool_choice="required", temperature=0, max_tokens=200).choices[0]
    hold("a required call", bool(choice.message.tool_calls), str([call.function for call in choice.message.tool_calls or []]))
    message = choice.message
    if message.tool_calls:
        results = [{"role": "tool", "tool_call_id": call.id, "content": "5"} for call in message.tool_calls]
        history = [{"role": "user", "content": "Add 2 and 3."}, message.model_dump(exclude_none=True), *results]
        reply = client.chat.completions.create(model=model, messages=history, tools=TOOLS, temperature=0, max_tokens=60)
        hold("an answer from a result", bool(reply.choices[0].message.content or reply.choices[0].message.tool_calls),
             repr(reply.choices[0].message.content))

    ended = valid = 0
    for seed in range(count):
        described = schema(random.Random(seed))
        format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": described}}
        choice = ask("Give me a record.", response_format=format, temperature=1.5, seed=seed, max_tokens=400).choices[0]
        if choice.finish_reason != "stop":
            continue
        ended += 1
        try:
            jsonschema.validate(json.loads(choice.message.content), described)
            valid += 1
        except (ValueError, jsonschema.ValidationError) as error:
            print(f"seed {seed}: {error}: {choice.message.content!r} for {described}")
    hold("random schemas", valid == ended > 0, f"{valid} of {ended} that ended are valid, {count} asked")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
