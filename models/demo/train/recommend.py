"""secateur.json: the visual pruning that measurement recommends, and the sample question that `secateur up` asks.

What is recommended for one picture and for several comes from `secateur eval`, which judges every method through a cluster
(`--one`, `--several`). The sample is a description that is right both dense and with the lowest rate at which
TrimTokenator loses less than two points.

    python recommend.py --model models/demo --measured WORK/measured.json --one coverage:0.2 --several coverage:0.2
"""

import argparse
import json
import shutil
from pathlib import Path

from evaluate import Checkpoint
from selection import trimtokenator

LOSS_MAX = 0.02


def chosen_rate(measured):
    dense = measured["dense"]["single"]["accuracy"]
    rows = sorted((r for r in measured["sweep"] if r["rule"] == "trimtokenator"), key=lambda r: r["keep"])
    return dense, next((r for r in rows if dense - r["single"] < LOSS_MAX), {"keep": 1.0, "single": dense})


def sample(model, cases, keep):
    checkpoint, root = Checkpoint(model), model / "eval"
    rank = lambda c: ("describe" not in c["tags"], -len(c["answer"].split()))
    for case in sorted((c for c in cases if "single" in c["tags"] and {"describe", "at"} & set(c["tags"])), key=rank):
        if checkpoint.right(case, root) and checkpoint.right(case, root, trimtokenator, keep):
            return case
    raise SystemExit("no picture question is right both dense and pruned")


def advice(text):
    method, keep = text.split(":")
    return {"method": method, "keep": float(keep)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--measured", type=Path, required=True)
    p.add_argument("--one", type=advice, required=True)
    p.add_argument("--several", type=advice, required=True)
    a = p.parse_args()
    measured = json.loads(a.measured.read_text())
    dense, row = chosen_rate(measured)
    cases = [json.loads(line) for line in (a.model / "eval/suite.jsonl").open()]
    case = sample(a.model, cases, row["keep"])
    shutil.copyfile(a.model / "eval" / case["images"][0], a.model / "sample.png")
    report = {
        "format": 1,
        "visual": a.one,
        "visual_several": a.several,
        "sample": {"image": "sample.png", "prompt": case["prompt"], "answer": case["answer"]},
        "measured": {
            "suite": "eval/suite.jsonl",
            "dense": {t: measured["dense"][t]["accuracy"] for t in ("all", "single", "multi", "text", "needle")},
            "single_at_keep": row["single"],
            "sweep": measured["sweep"],
        },
    }
    (a.model / "secateur.json").write_text(json.dumps(report, indent=2) + "\n")
    print("keep", row["keep"], "sample", case["id"], case["prompt"], case["answer"])


if __name__ == "__main__":
    main()
