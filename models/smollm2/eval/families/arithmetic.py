"""Sums in words, each alone, in two and three steps with small numbers: what a small model can do on some days."""

from random import Random

from . import words as w
from .matching import hits, number
from .spread import spread

# A problem's text, its numbers in the order of its letters, and the result.
TWO = [
    ("{name} has {a} apples, picks {b} more and then gives {c} to a neighbour. How many apples does {name} have now?",
     lambda r: (r(4, 12), r(2, 9), r(2, 5)), lambda a, b, c: a + b - c),
    ("A shop sells {a} loaves of bread in the morning and {b} in the afternoon. It had baked {c} loaves. How many are left?",
     lambda r: (r(3, 9), r(4, 10), r(21, 30)), lambda a, b, c: c - a - b),
    ("There are {a} boxes with {b} pencils in each, and {c} loose pencils. How many pencils are there in all?",
     lambda r: (r(2, 5), r(4, 10), r(2, 9)), lambda a, b, c: a * b + c),
    ("{name} buys {a} tickets at {b} euros each and pays with {c} euros. How much change does {name} get, in euros?",
     lambda r: (r(2, 4), r(3, 9), r(40, 50)), lambda a, b, c: c - a * b),
    ("A bus has {a} passengers. At the first stop {b} get off and {c} get on. How many passengers are on the bus then?",
     lambda r: (r(10, 30), r(2, 9), r(2, 9)), lambda a, b, c: a - b + c),
    ("{name} reads {a} pages a day for {b} days. The book has {c} pages. How many pages are still to be read?",
     lambda r: (r(5, 12), r(2, 5), r(70, 100)), lambda a, b, c: c - a * b),
    ("{name} is {a} years old. {other} is {b} years older than {name}. How old are they together?",
     lambda r: (r(5, 12), r(2, 6)), lambda a, b: 2 * a + b),
    ("{name} shares {a} sweets fairly among {b} children, and then gives each child {c} more. How many sweets has each child?",
     lambda r: (lambda each, of: (each * of, of, r(2, 6)))(r(2, 6), r(2, 5)), lambda a, b, c: a // b + c),
]
THREE = [
    ("{name} earns {a} euros an hour and works {b} hours a day for {c} days. Then {name} spends {d} euros. How many euros are left?",
     lambda r: (r(9, 15), r(3, 6), r(2, 5), r(11, 45)), lambda a, b, c, d: a * b * c - d),
    ("A farmer has {a} hens. Each lays {b} eggs a week. In one week {c} eggs break and the others are sold in cartons of {d}. How many cartons are filled?",
     lambda r: (lambda hens, eggs, of: (hens, eggs, hens * eggs % of or of, of))(r(7, 12), r(4, 6), 6), lambda a, b, c, d: (a * b - c) // d),
    ("A hall has {a} rows with {b} seats each. {c} seats are broken and {d} guests have come. How many good seats are free?",
     lambda r: (r(8, 15), r(10, 14), r(2, 9), r(20, 60)), lambda a, b, c, d: a * b - c - d),
    ("{name} buys {a} notebooks at {b} euros and {c} pens at {d} euros. How many euros does it cost in all?",
     lambda r: (r(3, 9), r(3, 7), r(4, 9), r(2, 3)), lambda a, b, c, d: a * b + c * d),
    ("A tank holds {a} litres. {b} buckets of {c} litres are taken out, and {d} litres are poured in. How many litres are in the tank?",
     lambda r: (r(150, 300), r(3, 8), r(6, 12), r(11, 40)), lambda a, b, c, d: a - b * c + d),
    ("A train has {a} carriages with {b} seats each. {c} passengers get on, then {d} more. How many seats stay empty?",
     lambda r: (r(4, 8), r(40, 60), r(60, 100), r(11, 50)), lambda a, b, c, d: a * b - c - d),
    ("{name} walks {a} kilometres on each of {b} days and {c} kilometres on each of {d} days. How many kilometres is that in all?",
     lambda r: (r(4, 9), r(3, 6), r(10, 15), r(2, 4)), lambda a, b, c, d: a * b + c * d),
    ("A school orders {a} crates of {b} books. {c} books are damaged; the others go to {d} classes in equal parts. How many books does each class get?",
     lambda r: (lambda crates, books, of: (crates, books, crates * books % of or of, of))(r(5, 9), r(12, 20), r(3, 6)), lambda a, b, c, d: (a * b - c) // d),
]
ASKING = [
    "{text} Work it out step by step and finish with the result.",
    "{text} Explain briefly and give the result at the end.",
    "Solve this problem and finish with the number that answers it. {text}",
]


def one(rng: Random, problem: tuple, steps: int) -> dict | None:
    text, numbers, result = problem
    given = numbers(rng.randint)
    value = result(*given)
    name, other = rng.sample(w.NAMES, 2)
    asked = rng.choice(ASKING).format(text=text.format(name=name, other=other, **dict(zip("abcd", given))))
    wanted = number(value)
    if value < 2 or hits("regex", wanted, asked):
        return None
    return dict(prompt=asked, answer=wanted, match="regex", max_tokens=160, tags=["arithmetic", f"{steps} steps"])


def cases() -> list[dict]:
    found = []
    for steps, problems in ((2, TWO), (3, THREE)):
        for at in range(40):
            tries = (one(Random(f"sum {steps} {at} {attempt}"), problems[at % len(problems)], steps) for attempt in range(200))
            found.append(next(case for case in tries if case))
    return spread(found, lambda case: tuple(case["tags"][1:]), seed=6)
