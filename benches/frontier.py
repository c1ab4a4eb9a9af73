"""Draws what each precision costs on real models: bits a value against KL divergence, and against answers that are the same.

    python benches/frontier.py OUT.svg NAME=EVAL.json[@32] [NAME=EVAL.json ...]     # matplotlib

Each EVAL.json is the document of `secateur eval --json --visual none --transfer dense,tiered:3,...`, with @32 of a run with
`--dtype f32`. Bits are those that were sent: 16 (or 32) over how many times fewer bytes than unpruned the receipts say,
framing included.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt


def points(given: str) -> list[dict]:
    name, _, width = given.partition("@")
    path, width = Path(name), int(width or 16)
    rows = [row for row in json.loads(path.read_text())["rows"] if row["tag"] == "all" and row.get("depth") is None]
    found = [row | {"bits": width / row["bytes_ratio"]} for row in rows]
    return sorted(found, key=lambda row: row["bits"])


def main() -> None:
    out, given = Path(sys.argv[1]), [argument.split("=", 1) for argument in sys.argv[2:]]
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "frontier", "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    for name, path in given:
        rows = points(path)
        lossy = [row for row in rows if row.get("kl") and row["kl"] > 1e-7]
        bits = [row["bits"] for row in lossy]
        error = [[row["kl"] - row["kl_low"] for row in lossy], [row["kl_high"] - row["kl"] for row in lossy]]
        left.errorbar(bits, [row["kl"] for row in lossy], error, marker="o", capsize=2, label=name)
        for axes, key in ((middle, "same"), (right, "accuracy")):
            error = [
                [100 * (row[key] - row[f"{key}_low"]) for row in rows], [100 * (row[f"{key}_high"] - row[key]) for row in rows]
            ]
            axes.errorbar([row["bits"] for row in rows], [100 * row[key] for row in rows], error, marker="o", capsize=2, label=name)
    left.set(yscale="log", xlabel="bits a value, sent", ylabel="KL divergence from dense, nats")
    left.axhline(0.002, color="grey", linewidth=0.7, linestyle="--")
    middle.set(xlabel="bits a value, sent", ylabel="answers the same as dense, %")
    middle.axhline(90, color="grey", linewidth=0.7, linestyle="--")
    right.set(xlabel="bits a value, sent", ylabel="accuracy, %")
    middle.set_xlim(right=17)
    right.set_xlim(right=17)
    left.legend(frameon=False)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
