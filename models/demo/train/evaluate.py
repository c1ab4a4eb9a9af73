"""Accuracy of an exported checkpoint on the suite: exact answers, per tag and needle depth, dense or pruned.

An answer counts when every token of it, the end included, is the most likely one: exactly when greedy decoding
returns it. One forward pass a case, so a sweep over selection rules takes minutes.

    python evaluate.py --model models/demo --suite models/demo/eval/suite.jsonl [--sweep] [--out measured.json]
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

from model import Geometry, Llava
from pixels import normalise
from selection import RULES
from tokenizer import BOS, EOS, IMAGE

SWEEP = [("trimtokenator", k) for k in (0.111, 0.25, 0.333, 0.5, 0.667, 0.75, 0.9)]
SWEEP += [("random", 0.111), ("first", 0.111)] + [("facility_location", k) for k in (0.111, 0.333, 0.5)]


class Checkpoint:
    def __init__(self, folder):
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())["text_config"]
        self.tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = Llava(Geometry(layers=config["num_hidden_layers"], vocab=config["vocab_size"])).eval()
        self.model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        self.cache = {}

    def ids(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids

    @torch.no_grad()
    def visual(self, paths):
        """Projected tokens of each picture: [count, 144, hidden]."""
        new = [p for p in paths if p not in self.cache]
        if new:
            tower = self.model.multi_modal_projector(self.model.tower(normalise(np.stack([load_picture(p) for p in new]))))
            self.cache.update(zip(new, tower))
        return torch.stack([self.cache[p] for p in paths])

    @torch.no_grad()
    def right(self, case, root, rule=None, keep=1.0, rng=None):
        """Whether greedy decoding gives the case's answer, with a share `keep` of each picture's tokens."""
        embed = self.model.language_model.model.embed_tokens
        visual = list(self.visual([root / p for p in case["images"]])) if case["images"] else []
        if rule:
            words = embed(torch.tensor(self.ids(case["prompt"]))).numpy()
            count = round(keep * len(visual[0]))
            visual = [v[torch.from_numpy(rule(v.numpy(), words, count, rng))] for v in visual]
        pictures = "".join("<image>\n" for _ in visual)
        prompt = self.ids(f"<s>USER: {pictures}{case['prompt']} ASSISTANT:")
        answer = self.ids(" " + case["answer"]) + [EOS]
        assert prompt[0] == BOS
        parts, left = [], iter(visual)
        for i in prompt + answer:
            parts.append(next(left) if i == IMAGE else embed.weight[i][None])
        x = torch.cat(parts)[None]
        h, _ = self.model.hidden(x, torch.arange(x.shape[1])[None], None)
        best = self.model.language_model.lm_head(h[0, -len(answer) - 1 : -1]).argmax(-1)
        return best.tolist() == answer


def load_picture(path):
    """A picture as the checkpoint's processor makes it, before normalisation: shortest edge 96, centre 96 x 96."""
    picture = Image.open(path).convert("RGB")
    w, h = picture.size
    if min(w, h) != 96:
        scale = 96 / min(w, h)
        picture = picture.resize((max(96, int(w * scale)), max(96, int(h * scale))), Image.Resampling.BICUBIC)
    w, h = picture.size
    left, top = (w - 96) // 2, (h - 96) // 2
    return np.asarray(picture.crop((left, top, left + 96, top + 96)))


def score(checkpoint, cases, root, rule=None, keep=1.0):
    """Share of right answers per tag ("all" included), and per needle depth."""
    rng, hits, wrong = np.random.default_rng(3), defaultdict(list), []
    for case in cases:
        ok = checkpoint.right(case, root, rule, keep, rng)
        for tag in ["all", *case["tags"]] + ([f"depth-{case['depth']}"] if "depth" in case else []):
            hits[tag].append(ok)
        if not ok:
            wrong.append(case["id"])
    return {t: {"accuracy": round(float(np.mean(v)), 4), "n": len(v)} for t, v in hits.items()}, wrong


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--suite", type=Path, required=True)
    p.add_argument("--sweep", action="store_true")
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    checkpoint, start = Checkpoint(a.model), time.time()
    cases = [json.loads(line) for line in a.suite.open()]
    dense, wrong = score(checkpoint, cases, a.suite.parent)
    print(f"dense, {time.time() - start:.0f} s:", json.dumps(dense, indent=1))
    report = {"dense": dense, "wrong": wrong}
    if a.sweep:
        seen = [c for c in cases if c["images"]]
        report["sweep"] = []
        for name, keep in SWEEP:
            row, _ = score(checkpoint, seen, a.suite.parent, RULES[name], keep)
            report["sweep"].append({"rule": name, "keep": keep, **{t: row[t]["accuracy"] for t in ("all", "single", "multi")}})
            print(json.dumps(report["sweep"][-1]), flush=True)
    if a.out:
        a.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
