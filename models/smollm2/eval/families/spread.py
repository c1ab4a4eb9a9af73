"""An order in which every stride sees all of a family: the evaluator takes every n-th case."""

from collections import Counter
from random import Random
from typing import Callable

STRIDES = range(2, 9)


def spread(cases: list, key: Callable, seed: int, tries: int = 400) -> list:
    """The evenest of some shuffles: a regular pattern would fall into step with a stride, a single shuffle may be lopsided."""
    best, least = cases, float("inf")
    for number in range(tries):
        order = cases[:]
        Random(seed * 1000 + number).shuffle(order)
        uneven = unevenness([key(case) for case in order])
        if uneven < least:
            best, least = order, uneven
    return best


def unevenness(keys: list[tuple]) -> float:
    """How far counts in subsets are from their share of the whole; each part of the key counts for itself."""
    total = 0.0
    for column in zip(*keys):
        whole = Counter(column)
        for stride in STRIDES:
            for offset in range(stride):
                part = Counter(column[offset::stride])
                total += sum((part[value] - count / stride) ** 2 for value, count in whole.items())
    return total
