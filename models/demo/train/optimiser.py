"""Muon for the matrices inside blocks, AdamW for everything else.

Muon orthogonalises the momentum of each matrix (Newton-Schulz), which on this model learns about twice as much per
example as AdamW. Matrices of one shape are orthogonalised in one batched call.
"""

from collections import defaultdict

import torch


def orthogonalise(m, steps=5):
    """Nearest semi-orthogonal matrices to the batch m [k, rows, cols], approximately."""
    a, b, c = 3.4445, -4.7750, 2.0315
    flip = m.shape[1] > m.shape[2]
    x = m.transpose(1, 2) if flip else m
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        g = x @ x.transpose(1, 2)
        x = a * x + (b * g + c * (g @ g)) @ x
    return x.transpose(1, 2) if flip else x


class Muon:
    def __init__(self, params, lr, momentum=0.95, decay=0.1):
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.groups = defaultdict(list)
        for p in params:
            self.groups[tuple(p.shape)].append(p)
        self.state = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, scale):
        for shape, ps in self.groups.items():
            live = [i for i, p in enumerate(ps) if p.grad is not None]  # blocks skipped in this step have no gradient
            if not live:
                continue
            grad = torch.stack([ps[i].grad for i in live])
            buf = self.state[shape][live].mul_(self.momentum).add_(grad)
            self.state[shape][live] = buf
            update = orthogonalise(grad + self.momentum * buf)
            lr = self.lr * scale
            size = max(1.0, shape[0] / shape[1]) ** 0.5
            for i, u in zip(live, update):
                ps[i].mul_(1 - lr * self.decay).add_(u, alpha=-lr * size)


class Optimiser:
    """`scale` in [0, 1] multiplies every learning rate: the schedule lives in the caller."""

    def __init__(self, named, matrix_lr=0.02, other_lr=2e-3):
        named = list(named)
        matrix = [p for n, p in named if is_matrix(n, p)]
        other = [p for n, p in named if not is_matrix(n, p)]
        self.params = matrix + other
        self.muon = Muon(matrix, matrix_lr)
        self.adam = torch.optim.AdamW(other, lr=other_lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.other_lr = other_lr

    def step(self, scale):
        norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.muon.step(scale)
        for group in self.adam.param_groups:
            group["lr"] = self.other_lr * scale
        self.adam.step()
        for p in self.params:
            p.grad = None
        return float(norm)

    def state_dict(self):
        return {"muon": dict(self.muon.state), "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        self.muon.state = state["muon"]
        self.adam.load_state_dict(state["adam"])


def is_matrix(name, p):
    return p.ndim == 2 and ".layers." in name
