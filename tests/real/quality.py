"""How far lossy transfers change a real model's answers: the same questions under each policy, against dense.

    python3 quality.py URL [--cases 60] [--tokens 48] [--policies tiered,small]    # URL ends in /v1; the standard library alone

Questions are asked about passages of this project's documents, greedily. Each lossy one is asked twice, everything in one
random order, so that decode holds parts of prompts that came earlier: an answer that then differs from the first one ends
this with status 1. Prints, by policy: how many answers are the same as dense, for how many tokens they agree, the mean
Kullback-Leibler divergence of the next token's distribution from dense in nats (over dense's 20 likeliest tokens, at
positions up to the first other token), and how many times fewer bytes than dense KV without coding was sent.
"""

import argparse
import json
import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check import post

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
QUESTIONS = [
    "Summarise the text in two sentences.",
    "Quote one sentence of the text word for word.",
    "What is the text about? Answer in one sentence.",
    "Name three terms that the text explains.",
    "Explain the text to somebody who has never heard of it.",
    "What should an operator do after reading this?",
]
TOP = 20


def passages(count: int, seed: int) -> list[str]:
    """Stretches of 1,000 to 6,000 characters, from the beginning of a paragraph."""
    pages = [page.read_text() for page in sorted(DOCUMENTS.glob("*.md"))]
    chance, found = random.Random(seed), []
    while len(found) < count:
        page = chance.choice(pages)
        starts = [at + 2 for at in range(len(page)) if page.startswith("\n\n", at)]
        start, length = chance.choice(starts), chance.randrange(1_000, 6_000)
        if start + 800 < len(page):
            found.append(page[start:start + length])
    return found


def named(token: dict) -> tuple:
    """What tells a token from others: parts of a character have the same name, special tokens no bytes."""
    return (token["token"], *token["bytes"])


def ask(url: str, prompt: str, policy: str, tokens: int) -> dict:
    body = {
        "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": tokens,
        "repetition_penalty": 1, "logprobs": True, "top_logprobs": TOP,
        "secateur": {"transfer": {"policy": policy}, "visual": {"method": "none"}},
    }
    answer = post(f"{url}/chat/completions", body)
    content = answer["choices"][0]["logprobs"]["content"]
    tops = [{named(top): top["logprob"] for top in token["top_logprobs"]} for token in content]
    return {
        "tokens": [named(token) for token in content], "tops": tops,
        "text": answer["choices"][0]["message"]["content"], "transfer": answer["secateur"]["transfer"],
    }


def agreed(one: list, other: list) -> int:
    return next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))


def divergence(dense: dict, other: dict) -> float:
    least = min(other.values())
    return sum(math.exp(logprob) * (logprob - other.get(token, least)) for token, logprob in dense.items())


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--cases", type=int, default=60)
    arguments.add_argument("--tokens", type=int, default=48)
    arguments.add_argument("--policies", default="tiered,small")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    policies = given.policies.split(",")
    prompts = [
        f"{text}\n\n{QUESTIONS[at % len(QUESTIONS)]}" for at, text in enumerate(passages(given.cases, given.seed))
    ]
    work = [(case, policy, turn) for case in range(len(prompts)) for policy in ["dense", *policies] for turn in (0, 1)]
    random.Random(given.seed + 1).shuffle(work)
    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(lambda one: ask(given.url, prompts[one[0]], one[1], given.tokens), work)
        found = dict(zip(work, asked))
    changed = 0
    for policy in ["dense", *policies]:
        same, shared, kl, raw, sent, held = 0, 0, [], 0, 0, 0
        for case in range(len(prompts)):
            dense, first, second = found[case, "dense", 0], found[case, policy, 0], found[case, policy, 1]
            if first["text"] != second["text"]:
                changed += 1
                print(f"another answer to the same request: {policy}, case {case}: {first['text']!r} {second['text']!r}")
            length = agreed(dense["tokens"], first["tokens"])
            same += dense["tokens"] == first["tokens"]
            shared += length / max(len(dense["tokens"]), 1)
            # The first token is prefill's own; the first that differs was drawn from a distribution that can be compared.
            compared = zip(dense["tops"][1:length + 1], first["tops"][1:length + 1])
            kl.extend(divergence(one, other) for one, other in compared)
            for turn in (first, second):
                held += turn["transfer"]["positions_held"] > 0
                if turn["transfer"]["positions_held"] == 0:
                    raw, sent = raw + turn["transfer"]["bytes_dense"], sent + turn["transfer"]["bytes_sent"]
        count = len(prompts)
        print(
            f"{policy:8} same {same} of {count}, agree for {100 * shared / count:.1f}% of the tokens, "
            f"KL {sum(kl) / max(len(kl), 1):.5f}, {raw / max(sent, 1):.2f} times fewer bytes, {held} of {2 * count} with held KV",
            flush=True,
        )
    sys.exit(1 if changed else 0)


if __name__ == "__main__":
    main()
