#!/usr/bin/env python3
"""Prints frequencies.rs: how often each symbol occurs in each spread class, of 2,048.

Class i has a standard deviation of 2^((i - 8) / 4) steps. A symbol is a number of steps from a channel's centre, -31 to 31, or
the escape. Most of the weight is Gaussian, which is what channels of keys and values look like around their centres; the
rest is a Laplace distribution of twice the spread, for tails.
"""
import math

TOTAL, LARGEST, TAIL, CLASSES = 2048, 31, 0.04, 20


def gauss(a, b, s):
    return 0.5 * (math.erf(b / s / math.sqrt(2)) - math.erf(a / s / math.sqrt(2)))


def laplace(a, b, s):
    def cdf(x):
        x = x * math.sqrt(2) / s
        return 0.5 * math.exp(x) if x < 0 else 1 - 0.5 * math.exp(-x)
    return cdf(b) - cdf(a)


def frequencies(s):
    bins = [(n - 0.5, n + 0.5) for n in range(-LARGEST, LARGEST + 1)]
    share = [(1 - TAIL) * gauss(a, b, s) + TAIL * laplace(a, b, 2 * s) for a, b in bins]
    share.append(max(1 - sum(share), 0.0))
    found = [max(1, round(TOTAL * one / sum(share))) for one in share]
    # What rounding took or gave is the middle's, which notices it least.
    found[LARGEST] += TOTAL - sum(found)
    assert found[LARGEST] > 0 and sum(found) == TOTAL
    return found


print("//! How often each symbol occurs in each spread class. Made by frequencies.py; both sides of a shipment must have the same.")
print()
print("/// Of 2,048, by class: symbols are -31 to 31 steps from the centre, and the escape.")
print("#[rustfmt::skip]")
print("pub const FREQUENCIES: [[u16; 64]; 20] = [")
for i in range(CLASSES):
    print("    [" + ", ".join(map(str, frequencies(2 ** ((i - 8) / 4)))) + "],")
print("];")
