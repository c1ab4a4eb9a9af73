"""An order in which every stride sees all of a family: the evaluator takes every n-th case."""

from collections import Counter
from random import Random
from typing import Callable

STRIDES = range(2, 9)
SWAPS = 20_000


def spread(cases: list, key: Callable, seed: int) -> list:
    """A shuffle, made even by exchanging two cases wherever that helps: a regular pattern would fall into step with a stride."""
    rng, order = Random(seed), cases[:]
    rng.shuffle(order)
    columns = [list(column) for column in zip(*map(key, order))]
    wholes = [Counter(column) for column in columns]
    parts = [{(stride, at): Counter(column[at::stride]) for stride in STRIDES for at in range(stride)} for column in columns]
    for _ in range(SWAPS):
        one, two = rng.randrange(len(order)), rng.randrange(len(order))
        gain = sum(gained(column, whole, part, one, two) for column, whole, part in zip(columns, wholes, parts))
        if gain <= 0:
            continue
        for column, part in zip(columns, parts):
            for stride in STRIDES:
                for here, there in ((one, two), (two, one)):
                    part[stride, here % stride][column[here]] -= 1
                    part[stride, here % stride][column[there]] += 1
            column[one], column[two] = column[two], column[one]
        order[one], order[two] = order[two], order[one]
    return order


def gained(column: list, whole: Counter, part: dict, one: int, two: int) -> float:
    """By how much counts in subsets come nearer to their share, rare values weighing as much as common ones."""
    if column[one] == column[two]:
        return 0.0
    total = 0.0
    for stride in STRIDES:
        if one % stride == two % stride:
            continue
        for here, there in ((one, two), (two, one)):
            counts = part[stride, here % stride]
            for value, step in ((column[here], -1), (column[there], 1)):
                share = whole[value] / stride
                total += ((counts[value] - share) ** 2 - (counts[value] + step - share) ** 2) / whole[value]
    return total
