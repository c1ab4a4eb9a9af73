"""A list of keys and values without any prose: every line looks alike, so the right one is found by its key alone."""

from random import Random

from . import words as w
from .matching import hits, whole
from .spread import spread

SIZES = [32, 64, 128]
WAYS = ["line", "value"]
PLACES = 10  # the asked line's tenth of the list
LINES = ["{key}: {value}", "{key} = {value}", "- {key}: {value}", "{key} -> {value}"]
THINGS = sorted({*w.THINGS, *w.FURNITURE, *w.INSTRUMENTS, *w.ANIMALS, *w.SAFE_WORDS, *w.FABRICS, *w.CAKES, *w.FOODS, *w.BUILDINGS, *w.JOBS})
PEOPLE = [f"{name} {surname}" for name in w.NAMES for surname in w.SURNAMES[:4]]
HOMES = w.TOWNS + w.STREETS + [f"{which} {town}" for which in ("Upper", "Lower", "Old", "New") for town in w.TOWNS]
LETTERS = "ABCDEFGHKLMNPRSTVWXZ"
CODES = [f"{letter}{number}" for letter in LETTERS for number in range(11, 99)]
CENTS = [str(number) for number in range(101, 1000)]
KINDS = {
    "number": ("These are the numbers of the lockers.", PEOPLE, CENTS, "What is the number of {key}'s locker?"),
    "price": ("This is the price list, in cents.", THINGS, CENTS, "What is the price of the item '{key}', in cents?"),
    "home": ("These are the places where the customers live.", PEOPLE, HOMES, "Where does {key} live?"),
    "code": ("Each code stands for a word.", CODES, THINGS, "Which word does the code {key} stand for?"),
}


def one(rng: Random, kind: str, size: int, place: int, way: str) -> dict | None:
    title, keys, values, question = KINDS[kind]
    keys = w.NAMES if keys is PEOPLE and size <= len(w.NAMES) else keys
    lines = rng.choice(LINES)
    keys, values = rng.sample(keys, size), rng.sample(values, size)
    at = min(size - 1, int((place + rng.random()) * size / PLACES))
    listing = "\n".join(lines.format(key=key, value=value) for key, value in zip(keys, values))
    wanted = whole(values[at])
    asked = f"{question.format(key=keys[at])} Answer in one short sentence."
    if way == "line":
        asked = f"Complete this line of the list: {lines.format(key=keys[at], value='').strip()}"
    if hits("regex", wanted, listing) != 1 or hits("regex", wanted, asked) or hits("regex", whole(keys[at]), listing) != 1:
        return None
    third = ("early", "middle", "late")[min(2, at * 3 // size)]
    prompt = f"{title}\n\n{listing}\n\n{asked}"
    return dict(prompt=prompt, answer=wanted, match="regex", max_tokens=32, tags=["pairs", str(size), kind, way, third])


def cases() -> list[dict]:
    found = []
    for size in SIZES:
        for at in range(20):
            kind, way, place = list(KINDS)[at % len(KINDS)], WAYS[at // 4 % 2], at // 2
            tries = (one(Random(f"pairs {size} {at} {attempt}"), kind, size, place, way) for attempt in range(200))
            found.append(next(case for case in tries if case))
    return spread(found, lambda case: tuple(case["tags"][1:]), seed=3)
