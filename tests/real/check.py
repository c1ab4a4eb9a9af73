"""Compares a running cluster with what transformers computed (reference.py): token ids, greedy answers, log-probabilities.

    python3 check.py URL MODEL     # the standard library alone; URL ends in /v1

Prints one line for each comparison and exits 1 if one is different.
"""

import json
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
# Two ways of adding the same products in f32.
LOGPROB_MAX = 1e-3


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def first_difference(found: list, expected: list) -> str:
    at = next((at for at, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), min(len(found), len(expected)))
    return f"{len(found)} and {len(expected)} entries, different from {at} on: {found[at:at + 5]} {expected[at:at + 5]}"


def check_ids(url: str, body: dict, expected: list[int]) -> str | None:
    found = post(f"{url.removesuffix('/v1')}/tokenize", body)["tokens"]
    return None if found == expected else first_difference(found, expected)


def check_answer(url: str, conversation: dict) -> tuple[str | None, float]:
    steps = conversation["steps"]
    body = {
        "messages": conversation["messages"], "temperature": 0, "max_tokens": len(steps), "ignore_eos": True,
        "logprobs": True, "top_logprobs": len(steps[0]["top"]), "repetition_penalty": 1,
        "secateur": {"transfer": {"policy": "dense"}, "visual": {"method": "none"}},
    }
    found = post(f"{url}/chat/completions", body)["choices"][0]["logprobs"]["content"]
    tokens, expected = [token["bytes"] for token in found], [step["bytes"] for step in steps]
    if tokens != expected:
        return first_difference(tokens, expected), float("nan")
    tops = [sorted((top["logprob"] for top in token["top_logprobs"]), reverse=True) for token in found]
    off = max(abs(one - other) for top, step in zip(tops, steps) for one, other in zip(top, step["top"]))
    return (None if off <= LOGPROB_MAX else f"log-probabilities are off by {off:.1e}"), off


def main() -> None:
    url, name = sys.argv[1], sys.argv[2]
    expected = json.loads((HERE / f"{name}.json").read_text())
    failed = 0

    def report(what: str, problem: str | None) -> None:
        nonlocal failed
        failed += problem is not None
        print(f"{'FAILED' if problem else 'ok    '}  {what}{': ' + problem if problem else ''}", flush=True)

    text = (HERE / "corpus.txt").read_text()
    problem = check_ids(url, {"prompt": text, "add_special_tokens": False}, expected["corpus"])
    report(f"{name}: {len(expected['corpus'])} token ids of the corpus", problem)
    for conversation in expected["conversations"]:
        words = conversation["messages"][-1]["content"][:40]
        problem = check_ids(url, {"messages": conversation["messages"]}, conversation["prompt"])
        report(f"{name}: {len(conversation['prompt'])} token ids of {words!r}", problem)
        problem, off = check_answer(url, conversation)
        report(f"{name}: {len(conversation['steps'])} greedy tokens after it, logits off by at most {off:.1e}", problem)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
