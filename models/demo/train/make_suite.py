"""The fixed held-out suite: eval/suite.jsonl and its pictures, from seeds the trainer never uses.

    python make_suite.py --out models/demo/eval
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

import notes
import questions
import world

SEED = 20_260_000  # training seeds are small integers or unix times of seconds; pools use [seed, segment]
SINGLE_EACH, MULTI_EACH = 30, 19
MULTI_KINDS = {k: v for k, v in questions.MULTI.items()}
DEPTHS = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
LENGTHS = [60, 100, 150, 250, 400, 600, 800, 1000, 1250, 1450]


class Suite:
    def __init__(self, out):
        self.out, self.rows, self.pictures = out, [], 0
        shutil.rmtree(out / "images", ignore_errors=True)
        (out / "images").mkdir(parents=True)

    def picture(self, rng, scene, side=world.SIDE):
        name = f"images/{self.pictures:04d}.png"
        Image.fromarray(world.draw(rng, scene[None], side)[0]).save(self.out / name, optimize=True)
        self.pictures += 1
        return name

    def add(self, images, prompt, answer, tags, **more):
        self.rows.append({"id": f"{tags[0]}-{len(self.rows):04d}", "images": images, "prompt": prompt, "answer": answer, "tags": tags, **more})


def until(make):
    while True:
        if (q := make()) is not None:
            return q


def single(suite, rng, table):
    for name, ask in table.items():
        for i in range(SINGLE_EACH):
            while True:
                scene = world.random_scenes(rng, 1)[0]
                if (q := ask(rng, scene)) is not None:
                    break
            side = [96, 96, 96, 96, 96, 96, 96, 96, 144, 192][i % 10]  # larger ones come to 96 through the processor's resize
            suite.add([suite.picture(rng, scene, side)], q[1], q[2], ["single", q[0]])


def odd_scenes(rng, n):
    shape, colour = int(rng.integers(6)), int(rng.integers(8))
    scenes = world.random_scenes(rng, n, 1)
    for scene in scenes:
        scene[scene[:, 0] >= 0] = (shape, colour, int(rng.integers(2)))
    odd = scenes[int(rng.integers(n))]
    at = odd[:, 0] >= 0
    odd[at, 1] = (colour + int(rng.integers(1, 8))) % 8
    if rng.random() < 0.5:
        odd[at, 0] = int(rng.integers(6))
    return scenes


def multi(suite, rng):
    for name, ask in MULTI_KINDS.items():
        for i in range(MULTI_EACH):
            while True:
                n = [2, 3, 4, 2, 3, 5, 4, 6, 3, 7, 8][i % 11]
                if name == "differs":
                    n = max(3, n)
                scenes = odd_scenes(rng, n) if name == "differs" else world.random_scenes(rng, n, 3 if i % 2 else 1)
                if name == "beyond":
                    scenes = scenes[: min(n, 7)]
                if (q := ask(rng, scenes)) is not None:
                    break
            suite.add([suite.picture(rng, s) for s in scenes], q[1], q[2], ["multi", q[0], f"pictures-{len(scenes)}"])


def haystack(rng, tok, length, depth, crowd):
    """Notes and filler of about `length` tokens; the note asked about lies at `depth`. `crowd`: other notes too."""
    facts = notes.facts(rng, 1 + (max(1, length // 40) if crowd else 0))
    needle, others = facts[0], facts[1:]
    lines = [notes.note(*f) for f in others]
    size = lambda: len(tok.encode(" ".join(lines)).ids)
    while size() < length - 30:
        lines.append(notes.filler(rng))
    lines = [lines[i] for i in rng.permutation(len(lines))]
    lines.insert(round(depth * len(lines)), notes.note(*needle))
    return " ".join(lines), notes.ask_note(rng, *needle[:2]), needle[2] + ".", facts


def text(suite, rng, tok):
    for i, depth in enumerate(DEPTHS):
        for j, length in enumerate(LENGTHS):
            body, ask, answer, _ = haystack(rng, tok, length, depth, crowd=(i + j) % 2 == 0)
            suite.add([], f"{body} {ask}", answer, ["text", "needle", f"tokens-{length}"], depth=depth)
    for i in range(20):
        body, _, _, facts = haystack(rng, tok, [60, 150, 400, 800][i % 4], rng.random(), True)
        _, ask, answer = notes.absent_note(rng, facts)
        suite.add([], f"{body} {ask}", answer, ["text", "unknown_note"])
    for i in range(30):
        _, ask, answer = notes.unknown(rng)
        suite.add([], ask, answer, ["text", "unknown"])
    for i in range(10):
        scene = world.random_scenes(rng, 1)[0]
        table = ["colour", "shape", "size", "place", "count", "exists", "at", "describe"]
        _, ask, answer, _ = until(lambda: questions.SINGLE[questions.pick(rng, table)](rng, scene))
        suite.add([], ask, questions.UNKNOWN, ["text", "no_picture"])
    for asks, answer in ((notes.GREETINGS, notes.HELLO), (notes.THANKS, notes.WELCOME), (notes.ABOUT, notes.ABLE)):
        for ask in asks[:5]:
            suite.add([], ask, answer, ["text", "greeting"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", type=Path, required=True)
    out = p.parse_args().out
    tok = Tokenizer.from_file(str(Path(__file__).resolve().parent.parent / "tokenizer.json"))
    suite = Suite(out)
    single(suite, np.random.default_rng([SEED, 1]), questions.SINGLE)
    multi(suite, np.random.default_rng([SEED, 2]))
    text(suite, np.random.default_rng([SEED, 3]), tok)
    (out / "suite.jsonl").write_text("".join(json.dumps(r) + "\n" for r in suite.rows))
    tags = {}
    for r in suite.rows:
        for t in r["tags"]:
            tags[t] = tags.get(t, 0) + 1
    print(len(suite.rows), "cases,", suite.pictures, "pictures", tags)
    print("longest prompt:", max(len(tok.encode(r["prompt"]).ids) for r in suite.rows), "tokens of text")


if __name__ == "__main__":
    main()
