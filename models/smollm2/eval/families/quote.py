"""A sentence of a passage word for word: nothing but the text itself can give it."""

from random import Random

from .matching import flat, hits
from .passages import LETTERS_A_TOKEN, passage, sentences
from .spread import spread

LENGTHS = {300: 20, 600: 18, 1200: 12}
WAYS = ["begin", "go on", "word"]
THIRDS = ["early", "middle", "late"]


def one(rng: Random, way: str, length: int, third: str) -> dict | None:
    text = passage(rng, int(length * LETTERS_A_TOKEN) - 200)
    found = [sentence for part in text.split("\n\n") for sentence in sentences(part)]
    at = rng.randrange(max(1, len(found)))
    here = found[at] if found else ""
    if not 50 <= len(here) <= 150 or '"' in here or "'" in here or THIRDS[at * 3 // len(found)] != third:
        return None
    if hits("contains", here, text) != 1:
        return None
    if way != "word":
        start = " ".join(here.split()[:5])
        if hits("contains", start, text) != 1:
            return None
        wanted = here[len(start) + 1 :].rstrip(".!?")
        asked = f'Quote the sentence of the text that begins with "{start}", word for word.'
        if way == "go on":
            asked = f'How does the sentence that begins with "{start}" go on in the text? Answer with the whole sentence.'
    else:
        rare = [word.strip(",.;:!?") for word in here.split() if len(word) > 7 and word.strip(",.;:!?").isalpha()]
        rare = [word for word in rare if hits("contains", word, text) == 1]
        if not rare:
            return None
        wanted = here.rstrip(".!?")
        asked = f'Quote the sentence of the text that contains the word "{rare[0]}", word for word.'
    prompt = f"{text}\n\n{asked}"
    if hits("contains", wanted, prompt) != 1 or len(flat(wanted)) < 25:
        return None
    return dict(prompt=prompt, answer=wanted, match="contains", max_tokens=80, tags=["quote", str(length), way, third])


def cases() -> list[dict]:
    found, quoted = [], set()
    plan = [length for length, count in LENGTHS.items() for _ in range(count)]
    for at, length in enumerate(plan):
        way, third = WAYS[at % 3], THIRDS[at // 3 % 3]
        tries = (one(Random(f"quote {at} {attempt}"), way, length, third) for attempt in range(2000))
        found.append(next(case for case in tries if case and case["answer"][-25:] not in quoted))
        quoted.add(found[-1]["answer"][-25:])
    return spread(found, lambda case: tuple(case["tags"][1:]), seed=4)
