"""Two facts in different places that answer only together; in most cases a whole chain about others stands beside them."""

from random import Random

from . import words as w
from .matching import hits
from .passages import LETTERS_A_TOKEN, passage, put
from .spread import spread

KINDS = [
    ("{name} lives in the {colour} house.", "The {colour} house stands in {street}.", "In which street does {name} live?", "{street}"),
    ("{name} works for the firm of {surname}.", "The firm of {surname} has its office in {town}.", "In which town does {name} work?", "{town}"),
    ("The {made} {thing} belongs to {name}.", "{name} moved to {town} last year.", "In which town does the owner of the {made} {thing} live?", "{town}"),
    ("{name}'s brother is called {other}.", "{other} plays the {instrument} in a band.", "Which instrument does {name}'s brother play?", "{instrument}"),
    ("{name} goes to school on the {colour} bus.", "The {colour} bus is driven by {surname}.", "Who drives the bus on which {name} goes to school?", "{surname}"),
    ("{name} sails on the ship {ship}.", "The ship {ship} is bound for {town}.", "To which town is {name} sailing?", "{town}"),
    ("{name} is in the class of teacher {surname}.", "The class of teacher {surname} keeps a {animal}.", "Which animal does {name}'s class keep?", "{animal}"),
    ("The {made} {thing} lies in the {shade} {furniture}.", "The {shade} {furniture} is in the {room}.", "In which room is the {made} {thing}?", "{room}"),
    ("{name}'s best friend is {other}.", "{other} works as a {job}.", "What is the job of {name}'s best friend?", "{job}"),
    ("{name} drew the ticket with the word \"{safe}\".", "The ticket with the word \"{safe}\" wins a {made} {thing}.", "What did {name} win?", "{made} {thing}"),
]
POOLS = dict(
    name=w.NAMES[:40], other=w.NAMES[40:], surname=w.SURNAMES, town=w.TOWNS, colour=w.COLOURS, street=w.STREETS, made=w.MADE_OF,
    thing=w.THINGS, instrument=w.INSTRUMENTS, ship=w.SHIPS, animal=w.ANIMALS, shade=w.SHADES, furniture=w.FURNITURE,
    room=w.ROOMS, job=w.JOBS, safe=w.SAFE_WORDS,
)
LENGTHS = {300: 20, 600: 20, 1200: 14, 2400: 6}
DEPTHS = [step / 8 for step in range(9)]
GAPS = ["near", "far"]


def one(rng: Random, kind: tuple, length: int, gap: str) -> dict | None:
    first, second, question, answer = kind
    chains = 2 if gap == "far" or length > 600 else 1
    slots = [slot for slot in POOLS if f"{{{slot}}}" in first + second]
    drawn = {slot: rng.sample(POOLS[slot], chains) for slot in slots}
    filled = [{slot: drawn[slot][at] for slot in slots} for at in range(chains)]
    told = [part.format(**one) for one in filled for part in (first, second)]
    depths = rng.sample(DEPTHS, len(told))
    if (abs(depths[0] - depths[1]) > 0.4) != (gap == "far"):
        return None
    asked = question.format(**filled[0])
    asking = f"{{text}}\n\nQuestion about the text above: {asked} Answer in one sentence."
    room = length * LETTERS_A_TOKEN - len(asking) - sum(len(fact) + 1 for fact in told)
    text = passage(rng, int(room))
    wanted = answer.format(**filled[0])
    if hits("contains", wanted, text + asked):
        return None
    text = put(text, list(zip(depths, told)))
    if not text or hits("contains", wanted, text) != 1:
        return None
    tags = ["combine", str(length), gap]
    return dict(prompt=asking.format(text=text), answer=wanted, match="contains", max_tokens=48, tags=tags)


def cases() -> list[dict]:
    found = []
    plan = [length for length, count in LENGTHS.items() for _ in range(count)]
    for at, length in enumerate(plan):
        kind, gap = KINDS[at % len(KINDS)], GAPS[at // 2 % 2]
        tries = (one(Random(f"combine {at} {attempt}"), kind, length, gap) for attempt in range(500))
        found.append(next(case for case in tries if case))
    return spread(found, lambda case: tuple(case["tags"][1:]), seed=2)
