"""Libraries that agents are written with, on a real model: those of tests/api/agents, each in a process of its own, and the
`openai` client's own tools with random parameters.

    secateur up --model "$(models/qwen2.5-coder-0.5b/fetch)" --port 8080 &
    target/agents-venv/bin/python tests/real/agents.py http://127.0.0.1:8080/v1     # tests/api/agents/install makes the folder
      --key KEY           the router's key, if it asks for one
      --count 20          random schemas (schemas.py) as a tool's parameters, each for a named and a required call
      --seed 0            the first one's seed

Exits 1 if something that has to hold does not. Calls are forced, so that they do not depend on what the model would decide.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import openai

from schemas import parameters, problem

AGENTS = Path(__file__).resolve().parents[1] / "api" / "agents"
TOKENS_MAX = 400
PATIENCE_S = 600
OTHER = {"type": "function", "function": {"name": "other", "parameters": {
    "type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"], "additionalProperties": False}}}


def libraries(url, key):
    """The scripts that failed."""
    failed = []
    for script in sorted(AGENTS.glob("with_*.py")):
        try:
            ended = subprocess.run([sys.executable, str(script), url, key], capture_output=True, text=True, timeout=PATIENCE_S)
            said, is_right = (ended.stdout.strip() or ended.stderr.strip()[-600:]), ended.returncode == 0
        except subprocess.TimeoutExpired:
            said, is_right = f"not within {PATIENCE_S} s", False
        print(said if is_right else f"FAILED  {script.stem}: {said}", flush=True)
        failed += [] if is_right else [script.stem]
    return failed


def call(client, model, seed, choice):
    """What became of a call: valid, cut (by length, not judged), refused or invalid."""
    described = {"record": parameters(seed), "other": OTHER["function"]["parameters"]}
    record = {"type": "function", "function": {"name": "record", "description": "Keeps a record", "parameters": described["record"]}}
    options = {"tools": [record, OTHER], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": TOKENS_MAX}
    messages = [{"role": "user", "content": "Keep a record of what you like."}]
    try:
        whole = client.chat.completions.create(model=model, messages=messages, temperature=1.5, seed=seed, **options).choices[0]
    except openai.BadRequestError as error:
        print(f"seed {seed}: refused: {error.body['message']!r} for {json.dumps(described['record'])}", flush=True)
        return "refused"
    if whole.finish_reason == "length":
        return "cut"
    calls = [(each.function.name, each.function.arguments) for each in whole.message.tool_calls or []]
    parts = [["", ""]]
    for chunk in client.chat.completions.create(model=model, messages=messages, temperature=1.5, seed=seed, stream=True, **options):
        for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            parts[0][0] += part.function.name or ""
            parts[0][1] += part.function.arguments or ""
    is_streamed = len(calls) == 1 and tuple(parts[0]) == calls[0]
    wrong = problem(calls[0][1], described[calls[0][0]]) if is_streamed else f"calls {calls}, in a stream {parts}"
    if wrong is None:
        return "valid"
    print(f"seed {seed}: {wrong}: {calls} for {json.dumps(described['record'])}", flush=True)
    return "invalid"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = libraries(arguments.url, arguments.key)

    client = openai.OpenAI(base_url=arguments.url, api_key=arguments.key, timeout=300)
    model = client.models.list().data[0].id
    found = Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        for choice in ("required", {"type": "function", "function": {"name": "record"}}):
            found[call(client, model, seed, choice)] += 1
    ended = found["valid"] + found["invalid"]
    is_right = found["valid"] == ended > 0 and found["refused"] == 0
    print(
        f"{'ok     ' if is_right else 'FAILED '} openai {openai.__version__}: {found.total()} calls from seed {arguments.seed}, {ended} ended "
        f"by themselves, {found['valid']} of these valid and the same in a stream, {found['cut']} cut off by length, "
        f"{found['refused']} refused"
    )
    sys.exit(1 if failed or not is_right else 0)


if __name__ == "__main__":
    main()
