"""How an answer is looked for: in a reply by the evaluator, here in prompts, to see that it stands there once."""

import re


def whole(text: str) -> str:
    """An expression for the text as whole words: 42 is not found in 142."""
    return rf"\b{re.escape(text)}\b".replace(r"\ ", " ").replace(r"\-", "-")


def number(value: int) -> str:
    """Large numbers may be written with a comma."""
    head, tail = divmod(value, 1000)
    return rf"\b{head},?{tail:03}\b" if head else rf"\b{value}\b"


def flat(text: str) -> str:
    return " ".join(text.split()).lower()


def hits(match: str, answer: str, text: str) -> int:
    return len(re.findall(answer, text)) if match == "regex" else flat(text).count(flat(answer))
