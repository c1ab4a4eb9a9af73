"""One fact in a passage, asked for in a sentence. Around it stand others: in half of the cases of the same form, about others."""

from random import Random

from . import words as w
from .matching import hits, number, whole
from .passages import LETTERS_A_TOKEN, passage, put
from .spread import spread

# What is said, what is asked, what answers it. A slot's pool is named by its word; numbers are ranges.
KINDS = [
    ("{name} left the {made} {thing} inside the {shade} {furniture}.", "Where did {name} leave the {made} {thing}?", "{shade} {furniture}"),
    ("{name} hid the {made} {thing} in the {room} of the old house.", "In which room did {name} hide the {made} {thing}?", "{room}"),
    ("{name} rents a small flat above the {shop}.", "Above what does {name} rent a small flat?", "{shop}"),
    ("The front door of {name}'s house is painted {colour}.", "What colour is the front door of {name}'s house?", "{colour}"),
    ("The bicycle that belongs to {name} is {colour}.", "What colour is {name}'s bicycle?", "{colour}"),
    ("The number of {name}'s locker is {three}.", "What is the number of {name}'s locker?", "{three}"),
    ("{name} stays in room {three} of the hotel.", "In which room of the hotel does {name} stay?", "{three}"),
    ("The membership card of {name} has the number {four}.", "What number does {name}'s membership card have?", "{four}"),
    ("{name} has an appointment with the doctor on {day} {month}.", "On which date does {name} have an appointment with the doctor?", "{day} {month}"),
    ("The wedding of {name} and {other} is on {day} {month}.", "On which date is the wedding of {name} and {other}?", "{day} {month}"),
    ("The {building} of {town} was built in {year}.", "In which year was the {building} of {town} built?", "{year}"),
    ("{name} works as a {job} in {town}.", "What does {name} work as in {town}?", "{job}"),
    ("{name} paid {price} pounds for the {made} {thing}.", "How many pounds did {name} pay for the {made} {thing}?", "{price}"),
    ("{name} keeps a {animal} with the name of {pet}.", "What is the name of {name}'s {animal}?", "{pet}"),
    ("{name}, who loves animals, keeps a {animal} in the garden.", "Which animal does {name} keep in the garden?", "{animal}"),
    ("At breakfast {name} always drinks {drink}.", "What does {name} always drink at breakfast?", "{drink}"),
    ("As a child {name} learned to play the {instrument}.", "Which instrument did {name} learn to play as a child?", "{instrument}"),
    ("The train to {town} leaves from platform {two}.", "From which platform does the train to {town} leave?", "{two}"),
    ("On Sundays the museum of {town} opens at {hour}:{minute}.", "At what time does the museum of {town} open on Sundays?", "{hour}:{minute}"),
    ("{name} gave {other} a {made} {thing} as a birthday present.", "What did {name} give {other} as a birthday present?", "{made} {thing}"),
    ("The captain of the ship {ship} is called {surname}.", "What is the captain of the ship {ship} called?", "{surname}"),
    ("{name} baked a {cake} cake for the fair.", "What kind of cake did {name} bake for the fair?", "{cake}"),
    ("With the grandparents {name} speaks {tongue}.", "Which language does {name} speak with the grandparents?", "{tongue}"),
    ("The password for the gate of {town} is \"{safe}\".", "What is the password for the gate of {town}?", "{safe}"),
    ("From {town} to the coast it is {price} kilometres.", "How many kilometres is it from {town} to the coast?", "{price}"),
    ("{name} turned {two} last week.", "How old did {name} turn last week?", "{two}"),
    ("The meeting about the {plan} takes place in the {room}.", "Where does the meeting about the {plan} take place?", "{room}"),
    ("The {contest} in {town} was won by {name}.", "Who won the {contest} in {town}?", "{name}"),
    ("The book about {topic} was written by {surname}.", "Who wrote the book about {topic}?", "{surname}"),
    ("{name} cannot eat {food} without falling ill.", "Which food makes {name} ill?", "{food}"),
    ("The key to {name}'s {room} hangs behind {hide}.", "Behind what does the key to {name}'s {room} hang?", "{hide}"),
    ("{name} sewed a coat of {colour} {fabric}.", "What did {name} sew a coat of?", "{colour} {fabric}"),
    ("The ship {ship} carries {cargo} on this voyage.", "What does the ship {ship} carry on this voyage?", "{cargo}"),
    ("{name} owns {price} sheep and sells their wool.", "How many sheep does {name} own?", "{price}"),
]
POOLS = dict(
    name=w.NAMES, other=w.NAMES, surname=w.SURNAMES, town=w.TOWNS, colour=w.COLOURS, shade=w.SHADES, furniture=w.FURNITURE,
    made=w.MADE_OF, thing=w.THINGS, shop=w.SHOPS, job=w.JOBS, animal=w.ANIMALS, pet=w.PETS, drink=w.DRINKS,
    instrument=w.INSTRUMENTS, cake=w.CAKES, tongue=w.TONGUES, safe=w.SAFE_WORDS, topic=w.TOPICS, contest=w.CONTESTS,
    ship=w.SHIPS, cargo=w.CARGO, food=w.FOODS, room=w.ROOMS, building=w.BUILDINGS, month=w.MONTHS, plan=w.PLANS,
    fabric=w.FABRICS, hide=w.HIDES, day=range(11, 29), year=range(1903, 2020), two=range(13, 90), three=range(113, 990),
    four=range(1013, 9990), price=range(21, 190), hour=range(7, 12), minute=("05", "10", "20", "25", "35", "40", "50", "55"),
)
LENGTHS = {300: 63, 600: 54, 1200: 45, 2400: 27, 4000: 9, 6000: 9}
AMONG = ["alike", "other"]
DEPTHS = [step / 8 for step in range(9)]
ASKING = [
    "Read this text.\n\n{text}\n\n{question} Answer in one sentence.",
    "{text}\n\nQuestion about the text above: {question} Answer in one sentence.",
    "Here is a text:\n\n{text}\n\nUse the text to answer in one sentence: {question}",
    "Text:\n{text}\n\nQuestion: {question}\nAnswer with a whole sentence.",
    "Please read the following and answer a question about it.\n\n{text}\n\nThe question: {question} One sentence is enough.",
]


def fillings(rng: Random, statement: str, count: int) -> list[dict]:
    """Slots for one statement and for others like it: no two share a word, so only one of them answers the question."""
    drawn = {slot: rng.sample(POOLS[slot], count) for slot in POOLS if f"{{{slot}}}" in statement}
    if "other" in drawn:
        both = rng.sample(w.NAMES, 2 * count)
        drawn.update(name=both[:count], other=both[count:])
    return [{slot: values[at] for slot, values in drawn.items()} for at in range(count)]


def sought(answer: str, slots: dict) -> tuple[str, str]:
    """Words may stand in any sentence; numbers must be whole; of a date either order is right."""
    value = answer.format(**slots)
    if answer == "{day} {month}":
        return "regex", rf"\b{slots['day']}(th|st|nd|rd)?( of)? {slots['month']}\b|\b{slots['month']} (the )?{slots['day']}\b"
    if value.isdigit():
        return "regex", number(int(value)) if len(value) == 4 and answer == "{four}" else rf"\b{value}\b"
    return ("regex", whole(value)) if len(value) < 6 else ("contains", value)


def one(rng: Random, kind: tuple, length: int, depth: float, among: str) -> dict | None:
    statement, question, answer = kind
    others = {300: 1, 600: 2}.get(length, 3) if among == "alike" else 0
    mine, *theirs = fillings(rng, statement, 1 + others)
    strange = rng.sample([other for other in KINDS if other[2] != answer], 1 if others or length < 600 else 3)
    told = [statement.format(**slots) for slots in theirs]
    told += [other[0].format(**fillings(rng, other[0], 1)[0]) for other in strange]
    asking, asked = rng.choice(ASKING), question.format(**mine)
    facts = [(depth, statement.format(**mine))]
    facts += zip(rng.sample([at for at in DEPTHS if at != depth], len(told)), told)
    room = length * LETTERS_A_TOKEN - sum(len(fact) + 1 for _, fact in facts) - len(asking) - len(asked)
    text = passage(rng, int(room))
    match, wanted = sought(answer, mine)
    key = next(value for slot, value in mine.items() if slot in ("name", "town", "ship", "plan", "topic"))
    if hits("contains", key, text) or hits(match, wanted, asked):
        return None
    text = put(text, facts)
    if not text or hits(match, wanted, text) != 1:
        return None
    return dict(
        prompt=asking.format(text=text, question=asked), answer=wanted, match=match, max_tokens=48,
        tags=["fact", str(length), among], depth=depth,
    )


def cases() -> list[dict]:
    plan = [(length, depth) for length, count in LENGTHS.items() for depth in DEPTHS for _ in range(count // len(DEPTHS))]
    found, rng = [], Random(11)
    kinds = (KINDS * (len(plan) // len(KINDS) + 1))[: len(plan)]
    rng.shuffle(kinds)
    for number_of, ((length, depth), kind) in enumerate(zip(plan, kinds)):
        tries = (one(Random(f"fact {number_of} {attempt}"), kind, length, depth, AMONG[number_of % 2]) for attempt in range(500))
        found.append(next(case for case in tries if case))
    return spread(found, lambda case: (*case["tags"][1:], case["depth"]), seed=1)
