"""Passages of the texts, and where a sentence can be put into one without breaking another."""

import re
from pathlib import Path
from random import Random

TEXT = Path(__file__).parent.parent / "text"
SOURCES = {path.stem: path.read_text().splitlines() for path in sorted(TEXT.glob("*.txt"))}
LETTERS_A_TOKEN = 4.2

_END = re.compile(r'[.!?]["\')]*(?=\s+["(A-Z]|\s*$)')
_SHORT = re.compile(r"\b(Mr|Mrs|Dr|St|Rev|Col|Capt|Gen|Hon|Messrs|Esq|No|vs|etc|e\.g|i\.e|[A-Z])\.$")


def passage(rng: Random, letters: int) -> str:
    """About so many letters of one text, in its order: prose that goes on, as a user's document does."""
    fitting = {name: lines for name, lines in SOURCES.items() if sum(map(len, lines)) > letters * 2 + 2500}
    name = rng.choices(list(fitting), [sum(map(len, lines)) for lines in fitting.values()])[0]
    lines = fitting[name]
    last, after = len(lines), 0
    while after < letters + 2500:
        last -= 1
        after += len(lines[last])
    taken, left = [], letters
    for line in lines[rng.randrange(last + 1) :]:
        taken.append(cut(line, left))
        left -= len(taken[-1]) + 2
        if left < 100:
            break
    return "\n\n".join(taken)


def cut(paragraph: str, letters: int) -> str:
    """The paragraph, or its first sentences where all of it would be far too long."""
    if len(paragraph) <= letters + 150:
        return paragraph
    ends = [end for end in sentence_ends(paragraph) if end <= letters + 150]
    return paragraph[: ends[-1]] if ends else paragraph


def sentence_ends(text: str) -> list[int]:
    """Where sentences end outside of speech: a fact put there is nobody's words."""
    found, quotes, start = [], 0, 0
    for match in _END.finditer(text):
        end = match.end()
        quotes += text.count('"', start, end)
        start = end
        if quotes % 2 == 0 and not _SHORT.search(text[:end]):
            found.append(end)
    return found


def sentences(text: str) -> list[str]:
    starts = [0, *sentence_ends(text)]
    return [text[start:end].strip() for start, end in zip(starts, starts[1:])]


def put(text: str, facts: list[tuple[float, str]]) -> str | None:
    """The text with each fact at its depth. None where two would come to the same place: the order would be lost."""
    ends = [0, *sentence_ends(text)]
    places = [(min(ends, key=lambda end: abs(end - depth * len(text))), fact) for depth, fact in facts]
    if len({place for place, _ in places}) < len(places):
        return None
    for place, fact in sorted(places, reverse=True):
        text = f"{fact} {text}" if place == 0 else f"{text[:place]} {fact}{text[place:]}"
    return text
