"""Prompts to compute plans on, which the suite does not ask: 256 lines of `calibration.jsonl`, at most about 100 tokens each.

    python3 models/smollm2/eval/calibration.py
    secateur plan --model FILE.gguf --calibration models/smollm2/eval/calibration.jsonl --answers own ...

Each shows a stretch of the prose in `text/` and asks for one of eight things about it. There are no answers: `--answers own`
takes the whole model's. The same bytes come out each time.
"""

import json
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent
TASKS = [
    "Continue this text:\n\n{text}",
    "Summarise in one sentence:\n\n{text}",
    "Who or what is this about?\n\n{text}",
    "Rewrite this in simpler words:\n\n{text}",
    "Give this passage a title:\n\n{text}",
    "What happens here?\n\n{text}",
    "List three nouns from this text:\n\n{text}",
    "Ask one question about this passage:\n\n{text}",
]
WORDS = 45


def stretches():
    """Stretches of whole words, from every text in turn, none overlapping another."""
    texts = [path.read_text().split() for path in sorted((HERE / "text").glob("*.txt"))]
    starts = [(text, start) for text in range(len(texts)) for start in range(0, len(texts[text]) - WORDS, WORDS)]
    random.Random(14).shuffle(starts)
    for text, start in starts:
        yield " ".join(texts[text][start:start + WORDS])


def main():
    lines = []
    for index, text in zip(range(256), stretches()):
        prompt = TASKS[index % len(TASKS)].format(text=text)
        lines.append(json.dumps({"id": f"calibration-{index:03}", "prompt": prompt, "tags": ["calibration"]}))
    (HERE / "calibration.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
