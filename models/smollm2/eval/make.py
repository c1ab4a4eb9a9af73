"""Writes suite.jsonl beside this script, the same bytes each time: every family draws from seeds of its own.

    python3 make.py     # standard library only; prints how many cases and about how many tokens each family has
"""

import json
from pathlib import Path

from families import arithmetic, check, code, combine, facts, instruct, pairs, quote, turns
from families.passages import LETTERS_A_TOKEN

FAMILIES = [facts, combine, pairs, quote, turns, arithmetic, code, instruct]


def main() -> None:
    cases, lines = [], []
    for family in FAMILIES:
        made = family.cases()
        name = made[0]["tags"][0]
        made = [{"id": f"{name}-{number:03}", **case} for number, case in enumerate(made, 1)]
        texts = [json.dumps(case, ensure_ascii=False) for case in made]
        print(f"{name:10} {len(made):4} cases, about {sum(map(len, texts)) / LETTERS_A_TOKEN:7.0f} tokens")
        cases += made
        lines += texts
    written = "\n".join(lines) + "\n"
    check.check(cases, written)
    Path(__file__).with_name("suite.jsonl").write_text(written)
    print(f"{len(cases)} cases, {len(written.encode())} bytes")


if __name__ == "__main__":
    main()
