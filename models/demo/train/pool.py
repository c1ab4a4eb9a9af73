"""Pictures kept as tower features, so that the language model trains without running the frozen tower.

A pool is a folder of segments, `<n>.npz` of scenes and `<n>.npy` of features (f16). `fill` makes them, beside the
trainer or before it; `Pool` serves the newest ones and picks up new segments as they appear.

    python pool.py --tower WORK/tower.pt --out WORK/pool --segments 12
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import world
from model import Geometry, Llava
from pixels import normalise

SEGMENT = 1500


def load_tower(path):
    """The tower, rounded to f16 as it will be shipped: the language model must see the features it will get."""
    tower = Llava(Geometry(layers=1)).vision_tower
    if str(path).endswith(".safetensors"):
        prefix = "vision_tower."
        state = {k[len(prefix) :]: v for k, v in load_file(path).items() if k.startswith(prefix)}
    else:
        state = torch.load(path)["vision_tower"]
    tower.load_state_dict({k: v.half().float() for k, v in state.items()})
    return tower.vision_model


@torch.no_grad()
def features(tower, pictures, batch=50):
    parts = [tower(normalise(pictures[i : i + batch])).half().numpy() for i in range(0, len(pictures), batch)]
    return np.concatenate(parts)


def fill(tower_path, out, segments, keep, seed):
    out.mkdir(parents=True, exist_ok=True)
    tower = load_tower(tower_path)
    have = [int(p.stem) for p in out.glob("*.npy")]
    n = max(have, default=-1) + 1
    for n in range(n, n + segments):
        rng = np.random.default_rng([seed, n])
        third = SEGMENT // 3  # crowded, sparse, and with one object: what the prompts with several pictures use
        scenes = np.concatenate([world.random_scenes(rng, third, m) for m in (5, 3, 1)])
        rows = features(tower, world.draw(rng, scenes))
        np.savez(out / f"{n}.npz", scenes=scenes)
        np.save(out / f"{n}.tmp.npy", rows)
        os.rename(out / f"{n}.tmp.npy", out / f"{n}.npy")
        for old in [int(p.stem) for p in out.glob("[0-9]*.npy") if ".tmp" not in p.name]:
            if old <= n - keep:
                (out / f"{old}.npy").unlink()
                (out / f"{old}.npz").unlink()


class Pool:
    """The newest `keep` segments in memory. `scenes` [n, 9, 3]; `features(indices)` gives [k, 144, 128] float32."""

    def __init__(self, folder, keep=24):
        self.folder, self.keep, self.parts, self.checked = Path(folder), keep, {}, 0.0
        self.refresh()

    def refresh(self):
        if time.time() - self.checked < 20:
            return
        self.checked = time.time()
        numbers = sorted(int(p.stem) for p in self.folder.glob("*.npy") if p.stem.isdigit())[-self.keep :]
        new = [n for n in numbers if n not in self.parts]
        if not new:
            return
        for n in new:
            self.parts[n] = (np.load(self.folder / f"{n}.npz")["scenes"], np.load(self.folder / f"{n}.npy"))
        self.parts = dict(sorted(self.parts.items())[-self.keep :])
        self.rows = [p[1] for p in self.parts.values()]
        self.scenes = np.concatenate([p[0] for p in self.parts.values()])
        number = (self.scenes[:, :, 0] >= 0).sum(1)
        self.any = np.arange(len(self.scenes))
        self.few = np.nonzero(number <= 3)[0]
        self.one = np.nonzero(number == 1)[0]
        kinds = self.scenes[self.one].max(1)
        self.kind = kinds[:, 0].astype(int) * 8 + kinds[:, 1]

    def features(self, indices, keep):
        """indices [k], keep [k, m] patch numbers -> [k, m, 128]."""
        out = np.empty((*keep.shape, self.rows[0].shape[-1]), np.float32)
        for j, i in enumerate(indices):
            out[j] = self.rows[i // SEGMENT][i % SEGMENT][keep[j]]
        return out

    def odd_one_out(self, rng, n):
        """n pictures of one object each: all of one shape and colour but one, whose colour is another."""
        for _ in range(50):
            kind = int(rng.integers(48))
            shape, colour = divmod(kind, 8)
            other = (int(rng.integers(6)) if rng.random() < 0.5 else shape) * 8 + (colour + int(rng.integers(1, 8))) % 8
            same, odd = self.one[self.kind == kind], self.one[self.kind == other]
            if other != kind and len(same) >= n - 1 and len(odd):
                chosen = list(rng.choice(same, n - 1, replace=False))
                chosen.insert(int(rng.integers(n)), rng.choice(odd))
                return np.array(chosen)
        raise RuntimeError("the pool is too small for an odd one out")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tower", required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--segments", type=int, default=12)
    p.add_argument("--keep", type=int, default=24)
    p.add_argument("--seed", type=int, default=2)
    a = p.parse_args()
    fill(a.tower, a.out, a.segments, a.keep, a.seed)


if __name__ == "__main__":
    main()
