"""Training batches: many questions behind one prefix (pictures or notes).

By default each question sees the prefix and itself only (a block mask), and its positions continue from the prefix:
every one is a first turn, and the prefix is paid for once. One example in six is a real conversation of several turns.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

import notes
import questions
from tokenizer import BOS, EOS, IMAGE, PAD

PATCHES = 144


@dataclass
class Example:
    prefix: list  # token ids, IMAGE once per kept visual token
    turns: list  # (question ids, answer ids, kind, where the answer is found: see questions.py, or prefix offsets)
    pictures: list = field(default_factory=list)  # pool indices
    positions: np.ndarray = None  # of the prefix, if not 0, 1, 2...
    hints: list = field(default_factory=list)  # (offset in the prefix, token) for the throw-away head
    turn_hints: list = field(default_factory=list)  # per turn: token or None
    conversation: bool = False


class Builder:
    def __init__(self, tok, pool, rng, weights):
        self.pool, self.rng, self.weights = pool, rng, weights
        self.encode = lambda texts: [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]
        self.user, self.space, self.newline = self.encode(["USER:", " ", "\n"])
        self.digits = [i[0] for i in self.encode([f" {n}" for n in range(10)])]
        self.word = {w: i[0] for w, i in zip(notes.KEYS, self.encode([" " + w for w in notes.KEYS]))}

    def turns(self, asked, lead, conversation):
        texts = []
        for i, (_, question, answer, *_) in enumerate(asked):
            start = lead if i == 0 or not conversation else "USER: "
            texts += [f"{start}{question} ASSISTANT:", " " + answer]
        ids = self.encode(texts)
        return [(ids[2 * i], ids[2 * i + 1] + [EOS], a[0], a[3] if len(a) > 3 else []) for i, a in enumerate(asked)]

    def extras(self, n):
        """Questions that have nothing to do with the prefix."""
        return [notes.unknown(self.rng) if self.rng.random() < 0.8 else notes.small_talk(self.rng) for _ in range(n)]

    def visual_prefix(self, indices, keep):
        prefix, hints = [BOS, *self.user, *self.space], []
        for k, _ in enumerate(indices):
            hints += [(len(prefix) + j, self.digits[k + 1]) for j in range(keep)] if len(indices) > 1 else []
            prefix += [IMAGE] * keep + self.newline
        return prefix, hints

    def single(self, keep, count):
        rng, conversation = self.rng, self.rng.random() < 0.15
        index = int(rng.choice(self.pool.any))
        asked = questions.ask_some(rng, questions.SINGLE, self.pool.scenes[index], count, self.weights)
        if rng.random() < 0.3:
            asked[rng.integers(len(asked))] = self.extras(1)[0]
        prefix, _ = self.visual_prefix([index], keep)
        return Example(prefix, self.turns(asked, "", conversation), [index], conversation=conversation)

    def multi(self, keep, n, count):
        rng, pool, conversation = self.rng, self.pool, self.rng.random() < 0.15
        odd = n >= 3 and rng.random() < 0.3
        if odd:
            indices = pool.odd_one_out(rng, n)
        else:
            indices = rng.choice(pool.few if rng.random() < 0.6 else pool.one, n, replace=False)
        scenes = pool.scenes[indices]
        asked = questions.ask_some(rng, questions.MULTI, scenes, count, self.weights)
        if odd and not any(a[0] == "differs" for a in asked):
            asked[0] = questions.differs(rng, scenes)
            rng.shuffle(asked)
            asked = [tuple(a) for a in asked]
        if rng.random() < 0.2:
            asked[rng.integers(len(asked))] = self.extras(1)[0]
        prefix, hints = self.visual_prefix(indices, keep)
        return Example(prefix, self.turns(asked, "", conversation), list(indices), hints=hints, conversation=conversation)

    def text(self, length, count):
        """About `length` tokens of notes and filler."""
        rng, conversation = self.rng, self.rng.random() < 0.15
        most = max(1, length // 12)
        n = min(most, 120, max(1, int(np.exp(rng.uniform(0, np.log(most + 1))))))
        if rng.random() < 0.5:
            n = min(most, max(n, count))
        relations = None if rng.random() < 0.7 else [questions.pick(rng, list(notes.RELATIONS))]
        facts = notes.facts(rng, n, relations)
        n = len(facts)
        fillers = max(0, (length - 11 * n) // 10)
        order = rng.permutation(n + fillers)
        sep = "\n" if rng.random() < 0.25 else " "
        lines = [notes.note(*facts[i]) if i < n else notes.filler(rng) for i in order]
        ids = self.encode([(" " if j == 0 else sep) + line for j, line in enumerate(lines)])
        prefix, hints, starts, value_at = [BOS, *self.user], [], [], {}
        for i, line in zip(order, ids):
            starts.append(len(prefix))
            if i < n:
                value_at[facts[i][:2]] = len(prefix) + len(line) - 2
                hints.append((value_at[facts[i][:2]], self.word[facts[i][1]]))
            prefix += line
        asked = []
        for i in rng.permutation(n)[:count]:
            r, k, v = facts[i]
            asked.append(("fact", notes.ask_note(rng, r, k), v + ".", [{value_at[r, k]}]))
        while len(asked) < count and rng.random() < 0.75 or len(asked) < max(2, count // 8):
            asked.append(notes.absent_note(rng, facts))
        if rng.random() < 0.2:
            asked += self.extras(1)
        asked = [asked[i] for i in rng.permutation(len(asked))]
        known = [next((self.word[w] for w in reversed(q.strip("?.").split()) if w in self.word), None)
                 if kind in ("fact", "unknown_note") else None for kind, q, *_ in asked]
        return Example(prefix, self.turns(asked, sep, conversation), positions=self.jumps(len(prefix), starts),
                       hints=hints, turn_hints=known, conversation=conversation)

    def jumps(self, length, starts):
        """Positions with jumps at sentence starts, so that far positions are seen in short sequences."""
        rng, positions = self.rng, np.arange(length)
        if rng.random() < 0.55 or len(starts) < 2:
            return positions
        room = rng.uniform(0, 3900 - length)
        k = int(rng.integers(1, 5))
        for start, part in zip(rng.choice(starts[1:], k), rng.dirichlet(np.ones(k))):
            positions[start:] += int(room * part)
        return positions

    def chat(self, count):
        """No picture and no note: small talk, the unknown, and questions whose subject is missing."""
        rng, asked = self.rng, []
        for _ in range(count):
            u = rng.random()
            if u < 0.4:
                asked.append(notes.unknown(rng))
            elif u < 0.6:
                asked.append(notes.small_talk(rng))
            elif u < 0.8:
                asked.append(notes.absent_note(rng, []))
            else:
                scenes = self.pool.scenes[rng.choice(self.pool.few, 3)]
                table = rng.random() < 0.7
                q = questions.ask_some(rng, questions.SINGLE if table else questions.MULTI, scenes[0] if table else scenes, 1, {})
                if q:
                    asked.append(("no_picture", q[0][1], questions.UNKNOWN))
        return Example([BOS, *self.user], self.turns(asked, " ", False))

    # === a micro-batch of one family ===

    def draw(self, family, tokens, longest):
        rng = self.rng
        self.pool.refresh()
        if family == "single":
            keep = PATCHES if rng.random() < 0.35 else int(rng.integers(20, 97))
            size = max(2, tokens // (keep + 10 * 15))
            return self.collate([self.single(keep, 10) for _ in range(size)], keep)
        if family == "multi":
            n = int(rng.choice([2, 3, 4, 5, 6, 7, 8], p=[0.2, 0.2, 0.2, 0.13, 0.11, 0.08, 0.08]))
            keep = PATCHES if rng.random() < 0.15 else int(rng.integers(20, 65))
            size = max(1, tokens // (n * keep + 10 * 16))
            return self.collate([self.multi(keep, n, 10) for _ in range(size)], keep)
        if family == "text":
            length = int(np.exp(rng.uniform(np.log(50), np.log(longest))))
            count = int(np.clip(length // 12, 4, 24))
            size = max(1, tokens // (length + count * 12))
            return self.collate([self.text(length, count) for _ in range(size)], PATCHES)
        return self.collate([self.chat(14) for _ in range(max(1, tokens // 200))], PATCHES)

    def collate(self, examples, keep):
        rng, rows = self.rng, []
        spread = keep < PATCHES and rng.random() < 0.3  # pruned, yet with the positions of a dense prompt
        patches, indices = [], []
        for e in examples:
            chosen = [np.sort(rng.permutation(PATCHES)[:keep]) for _ in e.pictures]
            patches += chosen
            indices += e.pictures
            rows.append(self.row(e, chosen, spread))
        width = max(len(r["ids"]) for r in rows)
        stack = lambda name, fill: np.stack([np.pad(r[name], (0, width - len(r[name])), constant_values=fill) for r in rows])
        ids, group = stack("ids", PAD), stack("group", -1)
        where, target, turn, kinds, hint_at, hint_to, look_at, look_to = ([] for _ in range(8))
        for b, r in enumerate(rows):
            where += [b * width + t for t in r["where"]]
            target += r["target"]
            turn += [len(kinds) + t for t in r["turn"]]
            kinds += r["kinds"]
            hint_at += [b * width + t for t in r["hint_at"]]
            hint_to += r["hint_to"]
            look_at += [b * width + t for t in r["look_at"]]
            look_to += r["look_to"]
        aims = torch.zeros(len(look_to), width, dtype=torch.bool)
        for i, tokens in enumerate(look_to):
            aims[i, tokens] = True
        g = torch.from_numpy(group)
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        mask = causal & ((g[:, None, :] == 0) | (g[:, None, :] == g[:, :, None]))
        visual = self.pool.features(indices, np.stack(patches)) if indices else None
        long = lambda values: torch.tensor(values, dtype=torch.long)
        return {
            "clear": not indices or keep >= 48,  # with fewer tokens a whole object may be missing
            "ids": torch.from_numpy(ids), "positions": torch.from_numpy(stack("positions", 0)), "mask": mask[:, None],
            "visual": None if visual is None else torch.from_numpy(visual),
            "where": long(where), "target": long(target), "turn": np.array(turn), "kinds": kinds,
            "hint_at": long(hint_at), "hint_to": long(hint_to), "look_at": long(look_at), "look_to": aims,
        }

    def tokens_by_cell(self, ids, chosen):
        """(picture, cell) -> offsets of the kept visual tokens that tell of it."""
        slots, out = [t for t, i in enumerate(ids) if i == IMAGE], {}
        for n, t in enumerate(slots):
            picture, m = divmod(n, len(chosen[0]))
            patch = int(chosen[picture][m])
            out.setdefault((picture, patch // 48 * 3 + patch % 12 // 4), []).append(t)
        return out

    def row(self, e, chosen, spread):
        ids, n = list(e.prefix), len(e.prefix)
        positions = np.arange(n) if e.positions is None else e.positions
        if spread:
            step, at = np.ones(n, int), 0
            is_image = np.array(ids) == IMAGE
            slots = np.nonzero(is_image)[0].reshape(len(chosen), -1)
            for slot, patch in zip(slots, chosen):
                step[slot] = np.diff(patch, prepend=-1)
                step[slot[-1] + 1] = PATCHES - patch[-1]
            positions = np.cumsum(step) - 1
        positions, group, last = list(positions), [0] * n, int(positions[-1])
        token_of = self.tokens_by_cell(ids, chosen)
        out = {"look_at": [], "look_to": [], "where": [], "target": [], "turn": [], "kinds": [], "hint_at": [o for o, _ in e.hints], "hint_to": [t for _, t in e.hints]}
        for k, (question, answer, kind, places) in enumerate(e.turns):
            begin = len(ids) + len(question)
            if e.turn_hints and e.turn_hints[k] is not None:
                out["hint_at"].append(begin - 1)
                out["hint_to"].append(e.turn_hints[k])
            for t in range(max(1, len(answer) - 2) if places else 0):
                item = 0 if len(places) == 1 or t < 4 else min((t - 4) // 5 + 1, len(places) - 1)
                tokens = [o for place in places[item] for o in token_of.get(place, [place] if isinstance(place, int) else [])]
                if tokens and (t == 0 or chosen):
                    out["look_at"].append(begin - 1 + t)
                    out["look_to"].append(tokens)
            out["where"] += range(begin - 1, begin - 1 + len(answer))
            out["target"] += answer
            out["turn"] += [k] * len(answer)
            out["kinds"].append(kind)
            size = len(question) + len(answer)
            ids += question + answer
            start = positions[-1] if e.conversation else last
            positions += range(start + 1, start + 1 + size)
            group += [0 if e.conversation else k + 1] * size
        return {"ids": np.array(ids), "positions": np.array(positions), "group": np.array(group), **out}
