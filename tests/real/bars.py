"""Holds an evaluation against what the default transfer promises: EVAL.json of `secateur eval --json --transfer dense,tiered`.

    python3 bars.py EVAL.json     # the standard library alone

Exits 1 where a request failed, where the mean divergence from dense is above 0.002 nats, or where cases of a kind, at least 30,
are answered less often rightly than under dense, beyond the interval of the difference. Of fewer, one answer decides.
"""

import json
import sys
from pathlib import Path

KL_MAX = 0.002
CASES_MIN = 30


def main() -> None:
    rows = [row for row in json.loads(Path(sys.argv[1]).read_text())["rows"] if row["transfer"] != "dense"]
    failed = []
    for row in rows:
        if row["judged"] >= CASES_MIN and row.get("relative_high", 1.0) < 1.0:
            failed.append(f"{row['tag']} is below dense: {row['relative']:.3f}, at most {row['relative_high']:.3f}")
        if row["tag"] != "all" or "depth" in row:
            continue
        print(
            f"{row['transfer']}: {row['n']} cases, {100 * row['accuracy']:.1f}% right, {100 * row['same']:.1f}% the same as "
            f"dense, KL {row['kl']:.5f} over {row['kl_tokens']} tokens, {row['bytes_ratio']:.2f} times fewer bytes"
        )
        if row["kl"] > KL_MAX:
            failed.append(f"KL {row['kl']:.5f} is above {KL_MAX}")
        if row["failed"]:
            failed.append(f"{row['failed']} requests failed")
    for problem in failed or ([] if rows else ["nothing but dense was measured"]):
        print(f"FAILED  {problem}")
    sys.exit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
