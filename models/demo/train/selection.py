"""Which visual tokens of a picture to keep: TrimTokenator, and three rules to compare it with. Plain numpy, f32."""

import numpy as np

STAGE1 = 0.8  # share of the tokens that the alignment stage lets through


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)


def smallest(values, count):
    """Indices of the `count` smallest values, ties to the lower index."""
    return np.argsort(values, kind="stable")[:count]


def repmax(x, count):
    """Greedy: first the token least like all, then always the one least like those chosen, on average."""
    u = unit(x)
    chosen = [int(np.argmin(u @ u.sum(0)))]
    likeness = np.zeros(len(u), np.float32)
    while len(chosen) < count:
        likeness += u @ u[chosen[-1]]
        open_ = likeness.copy()
        open_[chosen] = np.inf
        chosen.append(int(np.argmin(open_)))
    return np.array(chosen)


def trimtokenator(x, words, count, rng=None):
    """x [n, d]: tokens behind the projector; words [m, d]: embeddings of what the user wrote."""
    pool = np.arange(len(x))
    if len(words):
        mean = words.mean(0)
        alpha = 2 * x @ mean - (x * x).sum(1)  # mean squared distance to the words, negated, less a constant
        pool = np.sort(smallest(-alpha, max(count, round(STAGE1 * len(x)))))
    return np.sort(pool[repmax(x[pool], count)])


def random(x, words, count, rng):
    return np.sort(rng.permutation(len(x))[:count])


def first(x, words, count, rng=None):
    return np.arange(count)


def facility_location(x, words, count, rng=None):
    """Greedy coverage: every token should have a kept one that is like it."""
    u = unit(x)
    like = u @ u.T
    best, chosen = np.full(len(u), -1.0, np.float32), []
    for _ in range(count):
        gain = np.maximum(like, best[:, None]).sum(0)
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)))
        best = np.maximum(best, like[:, chosen[-1]])
    return np.sort(chosen)


RULES = {"trimtokenator": trimtokenator, "random": random, "first": first, "facility_location": facility_location}
