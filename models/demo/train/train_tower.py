"""Step one: the vision tower alone, with a throw-away linear head on every patch.

The head asks each patch where it is (row, column), what covers it (shape, colour, size, is it the middle of the
object) and what its grid cell holds. The last makes visual tokens redundant, as they are in large checkpoints: a cell
can be read from any of its sixteen patches. A language model learns to look only when there is something to see.

    python train_tower.py --minutes 9 --out WORK/tower.pt
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import world
from model import Geometry, Llava
from optimiser import Optimiser
from pixels import normalise

HEADS = {"row": 12, "column": 12, "shape": 7, "colour": 9, "size": 3}


def labels(scenes):
    """Per patch targets [count, 144]: own row and column, and what the patch's cell holds (last class: nothing)."""
    rows = np.repeat(np.arange(12), 12)
    columns = np.tile(np.arange(12), 12)
    cell = scenes[:, (rows // 4) * 3 + columns // 4].astype(np.int64)  # [count, 144, 3]
    out = {"row": np.tile(rows, (len(scenes), 1)), "column": np.tile(columns, (len(scenes), 1))}
    for i, (name, none) in enumerate([("shape", 6), ("colour", 8), ("size", 2)]):
        out[name] = np.where(cell[..., i] < 0, none, cell[..., i])
    return {k: torch.from_numpy(v) for k, v in out.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=9)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--init", help="continue from this file")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    tower = Llava(Geometry(layers=1)).vision_tower
    head = nn.Linear(128, sum(HEADS.values()))
    if a.init:
        state = torch.load(a.init)
        tower.load_state_dict(state["vision_tower"])
        head.load_state_dict(state["head"])
    named = [(n, q) for n, q in tower.named_parameters() if ".layers.4." not in n and "post_" not in n]
    optimiser = Optimiser(named + [("head." + n, q) for n, q in head.named_parameters()], a.lr, 2e-3)
    start, step, shown = time.time(), 0, time.time()
    while (used := (time.time() - start) / (a.minutes * 60)) < 1:
        scenes = world.random_scenes(rng, a.batch)
        logits = head(tower.vision_model(normalise(world.draw(rng, scenes))))
        want, loss, right = labels(scenes), 0.0, {}
        for (name, _), part in zip(HEADS.items(), logits.split(list(HEADS.values()), -1)):
            loss = loss + F.cross_entropy(part.flatten(0, 1), want[name].flatten())
            full = want["shape"] < 6
            right[name] = (part.argmax(-1) == want[name])[full].float().mean().item()
        loss.backward()
        norm = optimiser.step(min(1, step / 50) * min(1.0, 1.6 * (1 - used)))
        step += 1
        if time.time() - shown > 15:
            shown = time.time()
            speed = step * a.batch / (shown - start)
            print(f"{shown - start:5.0f}s step {step} {speed:.0f}/s loss {loss.item():.4f} norm {norm:.2f}",
                  " ".join(f"{k} {v:.4f}" for k, v in right.items()), flush=True)
            torch.save({"vision_tower": tower.state_dict(), "head": head.state_dict()}, a.out)
    torch.save({"vision_tower": tower.state_dict(), "head": head.state_dict()}, a.out)


if __name__ == "__main__":
    main()
