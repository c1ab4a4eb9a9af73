"""Tools and structured output on a real model, through the unmodified `openai` client.

    secateur up --model "$(models/qwen2.5-coder-0.5b/fetch)" --port 8080 &
    python3 tests/real/tools.py http://127.0.0.1:8080/v1      # needs openai and jsonschema
      --count 500         random JSON schemas (schemas.py), asked for at temperature 1.5
      --seed 0            the first one's seed; an interrupted run says where to go on
      --concurrency 4     asked at once

Exits 1 if something that has to hold does not. What a model of half a billion parameters decides by itself (tool_choice auto)
is reported, and not judged.
"""

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai

from schemas import problem, schema

TOKENS_MAX = 400
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


class Asked:
    """A model, and what was found wrong with it."""

    def __init__(self, url):
        self.client = openai.OpenAI(base_url=url, api_key="none", timeout=300)
        self.model = self.client.models.list().data[0].id
        self.failed = []

    def talk(self, messages, **options):
        return self.client.chat.completions.create(model=self.model, messages=messages, **options)

    def ask(self, text, **options):
        return self.talk([{"role": "user", "content": text}], **options)

    def hold(self, what, is_right, detail=""):
        print(f"{'ok     ' if is_right else 'FAILED '} {what} {detail}", flush=True)
        if not is_right:
            self.failed.append(what)


def tools(asked):
    choice = asked.ask("What is the weather in Oslo for 3 days?", tools=TOOLS, temperature=0, max_tokens=120).choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    print(f"decided by itself: {choice.finish_reason}, {calls or choice.message.content!r}", flush=True)

    for seed in range(4):
        named = {"type": "function", "function": {"name": "get_weather"}}
        options = {"tools": TOOLS, "tool_choice": named, "temperature": 1.2, "seed": seed, "max_tokens": 200}
        choice = asked.ask("Weather in Rome?", **options).choices[0]
        call = choice.message.tool_calls[0]
        jsonschema.validate(json.loads(call.function.arguments), WEATHER)
        is_right = call.function.name == "get_weather" and choice.finish_reason == "tool_calls"
        asked.hold("a named call", is_right, call.function.arguments)
        parts, name = "", None
        for chunk in asked.ask("Weather in Rome?", stream=True, **options):
            for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name = part.function.name or name
                parts += part.function.arguments or ""
        asked.hold("its stream", (name, parts) == (call.function.name, call.function.arguments), parts)

    message = asked.ask("Add 2 and 3.", tools=TOOLS, tool_choice="required", temperature=0, max_tokens=200).choices[0].message
    calls = message.tool_calls or []
    asked.hold("a required call", bool(calls), str([call.function for call in calls]))
    results = [{"role": "tool", "tool_call_id": call.id, "content": "5"} for call in calls]
    history = [{"role": "user", "content": "Add 2 and 3."}, message.model_dump(exclude_none=True), *results]
    reply = asked.talk(history, tools=TOOLS, temperature=0, max_tokens=60).choices[0].message
    asked.hold("an answer from a result", bool(reply.content or reply.tool_calls), repr(reply.content))


def form(asked, seed):
    """What became of one schema: valid, cut (by length, not judged), refused or invalid."""
    described = schema(seed)
    format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": described}}
    try:
        reply = asked.ask("Give me a record.", response_format=format, temperature=1.5, seed=seed, max_tokens=TOKENS_MAX)
    except openai.BadRequestError as error:
        print(f"seed {seed}: refused: {error.body['message']!r} for {json.dumps(described)}", flush=True)
        return "refused"
    choice = reply.choices[0]
    if choice.finish_reason == "length":
        return "cut"
    wrong = problem(choice.message.content, described)
    if wrong is None:
        return "valid"
    print(f"seed {seed}: {wrong}: {choice.message.content!r} for {json.dumps(described)}", flush=True)
    return "invalid"


def forms(asked, first, count, concurrency):
    found = Counter()
    pool = ThreadPoolExecutor(concurrency)
    try:
        for outcome in pool.map(lambda seed: form(asked, seed), range(first, first + count)):
            found[outcome] += 1
            if found.total() % 50 == 0:
                print(f"        {found.total()} of {count}", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted; go on with --seed {first + found.total()} --count {count - found.total()}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    ended = found["valid"] + found["invalid"]
    is_right = found["valid"] == ended > 0 and found["refused"] == 0 and found.total() == count
    asked.hold("random schemas", is_right, (
        f"from seed {first}: {found.total()} asked, {ended} ended by themselves, {found['valid']} of these valid, "
        f"{found['cut']} cut off by length, {found['refused']} refused"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--forms-only", action="store_true", help="leave the tools out, where the model's template knows none")
    arguments = parser.parse_args()
    asked = Asked(arguments.url)
    if not arguments.forms_only:
        tools(asked)
    forms(asked, arguments.seed, arguments.count, arguments.concurrency)
    sys.exit(1 if asked.failed else 0)


if __name__ == "__main__":
    main()
