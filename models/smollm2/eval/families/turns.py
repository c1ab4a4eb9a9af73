"""Conversations of four turns whose last one asks back: what was said then has to be remembered through the rest."""

from random import Random

from . import words as w
from .matching import hits, whole
from .spread import spread
from .talk import GENERAL, LISTS

# What the user says, what is replied, and what may be asked about it later.
SAID = [
    ("Hello! My name is {name} and I work as a {job} in {town}. I like to learn something new every day.",
     "Nice to meet you! That sounds like an interesting job. What would you like to know today?",
     [("What is my name?", "{name}"), ("What did I say my job is?", "{job}"), ("In which town do I work?", "{town}")]),
    ("I am planning a trip to {town} in {month}, together with my cousin {name}.",
     "How nice! Travelling with company is always more fun. Do you already know where you will stay?",
     [("Where am I travelling to?", "{town}"), ("In which month is my trip?", "{month}"), ("What is the name of my cousin?", "{name}")]),
    ("I have just adopted a {animal}. We call it {pet}, and it already follows me everywhere.",
     "Congratulations on your new companion! Give it a quiet place and regular meals, and it will soon feel at home.",
     [("What is the name of my pet?", "{pet}"), ("Which kind of animal did I adopt?", "{animal}")]),
    ("My sister {name} has her birthday next week, and I want to bake a {cake} cake for her.",
     "What a lovely idea! Take the butter out of the fridge an hour before you start, then it mixes more easily.",
     [("What is my sister's name?", "{name}"), ("What kind of cake do I want to bake?", "{cake}")]),
    ("Please remember this: the code of my suitcase is {three}. I always forget it.",
     "I have made a note of it. It is better not to write such codes on the suitcase itself.",
     [("What is the code of my suitcase?", "{three}")]),
    ("I am looking for a used {thing} and can spend at most {price} euros on it.",
     "Flea markets and small advertisements are good places to look. Check whether everything is complete before you pay.",
     [("What am I looking for?", "{thing}"), ("How many euros can I spend at most?", "{price}")]),
    ("I have started to play the {instrument}. My teacher is called Ms {surname}.",
     "That is a beautiful instrument! Ten minutes of practice every day are worth more than two hours on Sunday.",
     [("Which instrument have I started to play?", "{instrument}"), ("What is my teacher called?", "{surname}")]),
    ("We are having guests tonight. One of them, {name}, cannot eat {food}, so I have to be careful.",
     "That is thoughtful of you. Read the labels of sauces and ready-made products closely, since they often hide such things.",
     [("Which food can my guest not eat?", "{food}"), ("What is the name of the guest who cannot eat everything?", "{name}")]),
    ("I am reading a book about {topic}. I am on page {three} now.",
     "That sounds like a fascinating subject. Do you take notes while you read?",
     [("On which page of my book am I?", "{three}"), ("What is my book about?", "{topic}")]),
    ("Our new front door is going to be {colour}, and it will be delivered by the firm of {surname}.",
     "A fresh colour changes the whole look of a house. Measure the frame once more before it is delivered.",
     [("Which colour is our new front door going to have?", "{colour}"), ("Which firm will deliver our front door?", "{surname}")]),
    ("At school my daughter learns {tongue}, and her best friend there is {name}.",
     "Learning a language with a friend is the best way. Films and songs help a lot as well.",
     [("Which language does my daughter learn?", "{tongue}"), ("What is the name of my daughter's best friend?", "{name}")]),
    ("I live at number {two} in {street}, above the {shop}.",
     "It is handy to have a shop in the house. I hope it is not too noisy in the morning.",
     [("In which street do I live?", "{street}"), ("Above which shop do I live?", "{shop}"), ("What is my house number?", "{two}")]),
]
POOLS = dict(
    name=w.NAMES, job=w.JOBS, town=w.TOWNS, month=w.MONTHS, animal=w.ANIMALS, pet=w.PETS, cake=w.CAKES, thing=w.THINGS,
    instrument=w.INSTRUMENTS, surname=w.SURNAMES, food=w.FOODS, topic=w.TOPICS, colour=w.COLOURS, tongue=w.TONGUES,
    street=w.STREETS, shop=w.SHOPS, three=[str(n) for n in range(113, 990)], two=[str(n) for n in range(21, 99)],
    price=[str(n) for n in range(105, 480)],
)
ORDINALS = ["first", "second", "third", "fourth"]
BACK = ["{question}", "Do you remember what I told you? {question}", "{question} I mentioned it in this conversation."]


def told(rng: Random, at: int) -> tuple:
    said, reply, questions = SAID[at]
    slots = {slot: rng.choice(pool) for slot, pool in POOLS.items()}
    question, answer = rng.choice(questions)
    return said.format(**slots), reply, question, answer.format(**slots)


def one(rng: Random, at: int, where: int, others: int) -> dict | None:
    """The fact in its turn; of the other turns some say further things about the user, the rest is general talk."""
    mine = rng.randrange(len(SAID))
    said, reply, question, wanted = told(rng, at % len(SAID))
    turns = [list(pair) for pair in rng.sample(GENERAL, 3)]
    turns[where] = [said, reply]
    if others:
        place = rng.choice([place for place in range(3) if place != where])
        if mine == at % len(SAID):
            return None
        turns[place] = list(told(rng, mine)[:2])
    asked = rng.choice(BACK).format(question=question)
    return conversation(turns, asked, wanted, ["turns", f"turn {where + 1}", "user"])


def listed(rng: Random, at: int, where: int) -> dict | None:
    question, items = LISTS[at % len(LISTS)]
    items = rng.sample(items, len(items))
    reply = "Here are four:\n" + "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
    turns = [list(pair) for pair in rng.sample(GENERAL, 3)]
    turns[where] = [question, reply]
    place = rng.randrange(4)
    asked = f"I asked you before: \"{question}\" Which was the {ORDINALS[place]} one in your list?"
    return conversation(turns, asked, items[place], ["turns", f"turn {where + 1}", "assistant"])


def conversation(turns: list, asked: str, wanted: str, tags: list[str]) -> dict | None:
    match, wanted = ("regex", whole(wanted)) if len(wanted) < 6 else ("contains", wanted)
    everything = "\n".join(part for turn in turns for part in turn)
    if hits(match, wanted, everything) != 1 or hits(match, wanted, asked):
        return None
    messages = [dict(role=role, content=text) for turn in turns for role, text in zip(("user", "assistant"), turn)]
    messages.append(dict(role="user", content=asked))
    return dict(messages=messages, answer=wanted, match=match, max_tokens=48, tags=tags)


def cases() -> list[dict]:
    found = []
    for at in range(48):
        tries = (one(Random(f"turns {at} {attempt}"), at, (at + at // 12) % 3, (at + at // 24) % 2) for attempt in range(200))
        found.append(next(case for case in tries if case))
    for at in range(12):
        tries = (listed(Random(f"lists {at} {attempt}"), at, at % 3) for attempt in range(200))
        found.append(next(case for case in tries if case))
    return spread(found, lambda case: tuple(case["tags"][1:]), seed=5)
