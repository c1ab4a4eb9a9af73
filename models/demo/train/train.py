"""Step two: projector and language model on a frozen tower, for a wall-clock budget.

    python train.py --work WORK --blocks 4 --minutes 25
    python train.py --work WORK --blocks 12 --minutes 45 --decay-from 0.3 --drop 0.12

State is kept in WORK/state.pt; a run continues from there (`--resume DIR` from another folder, `--init models/demo`
from shipped weights). When a state has fewer blocks than asked for, the model grows: new blocks are inserted that
change nothing at first. Kinds of question are drawn by their current error, so that time goes where it is needed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn

import batches
from model import Geometry, Llava, grow, look
from optimiser import Optimiser
from pool import Pool
from questions import MULTI, SINGLE

HERE = Path(__file__).resolve().parent


FAMILIES = {
    "single": ["colour", "shape", "size", "place", "count", "count_colour", "count_shape", "exists", "at", "describe", "absent"],
    "multi": list(MULTI),
    "text": ["fact", "unknown_note"],
}


class Scores:
    """Running share of right answers per kind, and the sampling weights that follow from it."""

    def __init__(self, ema=None):
        self.ema = ema or {}

    def update(self, batch, right):
        for turn, ok in enumerate(turns_right(batch, right)):
            kind = batch["kinds"][turn]
            old = self.ema.get(kind, 0.0)
            self.ema[kind] = old + 0.01 * (ok - old)

    def weights(self):
        error = lambda names: np.mean([1 - self.ema.get(n, 0.0) for n in names])
        out = {k: 0.12 + (1 - self.ema.get(k, 0.0)) for k in [*SINGLE, *MULTI]}
        out["count_some"] = 0.12 + error(["count_colour", "count_shape"])
        out["describe"] = 0.4 * out["describe"]  # long answers: many tokens for one question
        out["what_in"] = 0.6 * out["what_in"]
        return out

    def family(self, rng, floor=0.12):
        """Which family the next micro-batch is of: the one with more errors more often."""
        error = lambda names: floor + np.mean([1 - self.ema.get(n, 0.0) for n in names])
        p = np.array([error(names) for names in FAMILIES.values()])
        return list(FAMILIES)[rng.choice(len(p), p=p / p.sum())]

    def __str__(self):
        return " ".join(f"{k} {v:.3f}" for k, v in sorted(self.ema.items()))


def turns_right(batch, right):
    wrong = np.bincount(batch["turn"], ~right, minlength=len(batch["kinds"]))
    return wrong == 0


def forward(model, hint_head, batch, skip=(), tap=None, look_block=None):
    """Losses over answers, hints and looks, and which answer tokens are right."""
    lm = model.language_model
    x = lm.model.embed_tokens(batch["ids"])
    uneven = torch.zeros(())
    if batch["visual"] is not None:
        visual = model.multi_modal_projector(batch["visual"]).flatten(0, 1)
        uneven = unevenness(visual)
        x = x.masked_scatter((batch["ids"] == batches.IMAGE)[..., None], visual)
    taps = {t for t in (tap, look_block and look_block - 1) if t is not None}
    h, tapped = model.hidden(x, batch["positions"], batch["mask"], skip, taps)
    logits = lm.lm_head(h.flatten(0, 1)[batch["where"]])
    # A long answer weighs more than a short one, but not by its full length: most of its tokens are easy.
    weight = torch.from_numpy(np.bincount(batch["turn"])[batch["turn"]] ** -0.5).float()
    loss = (F.cross_entropy(logits, batch["target"], reduction="none") * weight).sum() / weight.sum()
    hint, seek = torch.zeros(()), torch.zeros(())
    if tap is not None and len(batch["hint_at"]):
        hint = F.cross_entropy(hint_head(tapped[tap].flatten(0, 1)[batch["hint_at"]]), batch["hint_to"])
    if look_block is not None and len(batch["look_at"]):
        seek = look(model, look_block, tapped[look_block - 1], batch)
    return loss, hint, seek, uneven, (logits.argmax(-1) == batch["target"]).numpy()


def unevenness(visual):
    """How far the squared norms of visual tokens [n, hidden] are from one another.

    Left to itself the projector gives objects the largest norms, and then TrimTokenator's first stage, which ranks by
    2 x.t - |x|^2, throws away just these. An auxiliary loss keeps the norms alike, so that what is said decides.
    """
    squared = visual.square().sum(-1)
    return (squared / squared.mean().detach() - 1).square().mean()


def load(args, vocab):
    """The model, and what else a run left behind (None when it starts afresh)."""
    source = args.resume or args.work
    path = Path(source) / "state.pt"
    g = lambda blocks: Geometry(layers=blocks, vocab=vocab)
    if args.init:
        from safetensors.torch import load_file

        weights = {k: v.float() for k, v in load_file(Path(args.init) / "model.safetensors").items()}
        state = {"model": weights, "blocks": 12}
    elif path.exists():
        state = torch.load(path, weights_only=False)
    else:
        model = Llava(g(args.blocks))
        tower = torch.load(Path(args.work) / "tower.pt")["vision_tower"]
        model.vision_tower.load_state_dict({k: v.half().float() for k, v in tower.items()}, strict=False)
        return model, None
    if state["blocks"] != args.blocks:
        old, new = state["blocks"], args.blocks
        places = {i * new // old: i for i in range(old)}
        state["model"] = grow(state["model"], old, new, [places.get(i) for i in range(new)])
        state.pop("optimiser", None)
        print(f"grown from {old} to {new} blocks; old ones at {sorted(places)}", flush=True)
    model = Llava(g(args.blocks))
    model.load_state_dict(state["model"])
    if args.tower:
        tower = torch.load(args.tower)["vision_tower"]
        model.vision_tower.load_state_dict({k: v.half().float() for k, v in tower.items()})
    return model, state


def schedule(used, step, a):
    """A short warm-up (of a new optimiser), level until `decay_from` of the time is used, then straight down to `rate_end`."""
    left = min(1.0, max(0.0, (1 - used) / (1 - a.decay_from)))
    return min(1.0, (step + 1) / 60) * (a.rate_end + (1 - a.rate_end) * left)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--work", required=True)
    p.add_argument("--resume")
    p.add_argument("--init")
    p.add_argument("--blocks", type=int, default=12)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--decay-from", type=float, default=0.3, help="share of the time after which the rate falls")
    p.add_argument("--rate-end", type=float, default=0.0, help="to this share of itself")
    p.add_argument("--drop", type=float, default=0.0, help="stochastic depth of the last block; less for earlier ones")
    p.add_argument("--matrix-lr", type=float, default=0.006)
    p.add_argument("--other-lr", type=float, default=2e-3)
    p.add_argument("--tokens", type=int, default=1200, help="a micro-batch")
    p.add_argument("--longest", type=int, default=300, help="longest text prompt, at the start")
    p.add_argument("--longest-end", type=int, default=1500)
    p.add_argument("--micro-batches", type=int, default=2, help="in a step, each of one family")
    p.add_argument("--tower", help="use this tower instead of the state's (the pool must be its own)")
    p.add_argument("--pool", help="default: WORK/pool")
    p.add_argument("--text-weight", type=float, default=1.0, help="of the loss on notes; most of their answer tokens are easy")
    p.add_argument("--even-norms", type=float, default=0.3, help="weight of the loss that keeps norms of visual tokens alike")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    work = Path(a.work)
    seed = a.seed or int(time.time())
    torch.manual_seed(seed)
    tok = Tokenizer.from_file(str(HERE.parent / "tokenizer.json"))
    model, state = load(a, tok.get_vocab_size())
    model.vision_tower.requires_grad_(False)
    hint_head = nn.Linear(128, tok.get_vocab_size())
    state = state or {"model": None, "step": 0, "scores": None}
    if "hint_head" in state:
        hint_head.load_state_dict(state["hint_head"])
    trained = [(n, q) for n, q in model.named_parameters() if q.requires_grad]
    optimiser = Optimiser(trained + [("hint." + n, q) for n, q in hint_head.named_parameters()], a.matrix_lr, a.other_lr)
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    scores, step = Scores(state.get("scores")), state.get("step", 0)
    first = step if "optimiser" not in state else step - 60
    rng = np.random.default_rng([seed, step])
    builder = batches.Builder(tok, Pool(a.pool or work / "pool"), rng, scores.weights())
    tap = 1 * a.blocks // 4  # the second of the first four blocks, wherever growth has moved it
    look_block = 2 * a.blocks // 4  # the third of them
    rates = np.linspace(0, a.drop, a.blocks) * (np.arange(a.blocks) > 0)
    sums = {"loss": {}, "hint": {}, "look": {}, "uneven": {}}

    def save():
        torch.save({"model": model.state_dict(), "blocks": a.blocks, "hint_head": hint_head.state_dict(), "step": step,
                    "optimiser": optimiser.state_dict(), "scores": scores.ema}, work / "state.tmp")
        (work / "state.tmp").rename(work / "state.pt")

    start = shown = saved = time.time()
    tokens = building = 0
    while (used := (time.time() - start) / (a.minutes * 60)) < 1:
        longest = a.longest * (a.longest_end / a.longest) ** min(1, used / 0.7)
        for _ in range(a.micro_batches):
            family = scores.family(rng)
            if family == "text" and rng.random() < 0.12:
                family = "chat"
            t = time.time()
            batch = builder.draw(family, a.tokens, longest)
            building += time.time() - t
            skip = set(np.nonzero(rng.random(a.blocks) < rates)[0])
            loss, hint, seek, uneven, right = forward(model, hint_head, batch, skip, *(None if t in skip else t for t in (tap, look_block)))
            (loss * (a.text_weight if family == "text" else 1.0) + 0.2 * hint + 0.5 * seek + a.even_norms * uneven).backward()
            if batch["clear"]:
                scores.update(batch, right)
            tokens += batch["ids"].numel()
            for name, value in (("loss", loss), ("hint", hint), ("look", seek), ("uneven", uneven)):
                old = sums[name].get(family, value.item())
                sums[name][family] = old + 0.05 * (value.item() - old)
        optimiser.step(schedule(used, step - first, a))
        step += 1
        if step % 20 == 0:
            builder.weights = scores.weights()
        now = time.time()
        if now - shown > 30:
            part = lambda d: " ".join(f"{k} {v:.3f}" for k, v in sorted(d.items()))
            print(f"{now - start:5.0f}s step {step} {tokens / (now - shown):.0f} tok/s build {building / (now - shown):.2f} "
                  f"rate {schedule(used, step - first, a):.2f} loss {part(sums['loss'])} hint {part(sums['hint'])} look {part(sums['look'])} uneven {part(sums['uneven'])}\n   {scores}", flush=True)
            shown, tokens, building = now, 0, 0
        if now - saved > 120:
            save()
            saved = now
    save()
    (work / "scores.json").write_text(json.dumps(scores.ema, indent=1))


if __name__ == "__main__":
    main()
