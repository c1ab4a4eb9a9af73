"""What has to hold for the suite, whatever its parts are changed to."""

import json
import re
from collections import Counter

from .matching import hits

KEYS = {"id", "prompt", "messages", "answer", "match", "max_tokens", "tags", "depth"}
LEAST = dict(fact=200, combine=60, pairs=60, quote=50, turns=60, arithmetic=80, code=60, instruct=70)
TOTAL, LETTERS = 640, 5_000_000
STANDS_IN_PROMPT = ("fact", "combine", "pairs", "quote", "turns")
BEYOND_COMMON = re.compile(r"\(\?[=!<P(]|\\[1-9]|[*+?}]\+")


def check(cases: list[dict], written: str) -> None:
    """Raises where a case is not as the evaluator takes it, or where its answer could be found elsewhere than in its place."""
    count = Counter(case["tags"][0] for case in cases)
    assert len({case["id"] for case in cases}) == len(cases) >= TOTAL
    assert len({json.dumps(case.get("messages", case.get("prompt"))) for case in cases}) == len(cases), "a question twice"
    assert count.keys() == LEAST.keys() and all(count[family] >= least for family, least in LEAST.items()), count
    assert len(written.encode()) < LETTERS
    for case in cases:
        assert not case.keys() - KEYS, case["id"]
        assert ("prompt" in case) != ("messages" in case) and ("answer" in case) == ("match" in case), case["id"]
        assert 0 < case["max_tokens"] <= 160 and ("depth" in case) == (case["tags"][0] == "fact"), case["id"]
        if "answer" in case:
            answered(case)
    for case in cases:
        roles = [message["role"] for message in case.get("messages", [])]
        assert roles in ([], ["user", "assistant"] * (len(roles) // 2) + ["user"]), case["id"]


def answered(case: dict) -> None:
    family, match, answer = case["tags"][0], case["match"], case["answer"]
    assert match in ("contains", "regex"), case["id"]
    if match == "regex":
        re.compile(answer)
        assert not BEYOND_COMMON.search(answer), case["id"]
    whole = "\n".join(message["content"] for message in case["messages"]) if "messages" in case else case["prompt"]
    found = hits(match, answer, whole)
    assert found == 1 or family not in STANDS_IN_PROMPT, (case["id"], found)
    assert found == 0 or family != "arithmetic", case["id"]
    if family == "fact":
        place = re.search(answer if match == "regex" else re.escape(answer), whole, 0 if match == "regex" else re.I)
        assert abs(place.start() / len(whole) - case["depth"]) < 0.3, case["id"]
