"""PDTrim on a real model: blocks left out in each stage, by rule and repair, beside what is lost and what is saved.

    python3 benches/pdtrim.py --model "$(models/smollm2/fetch)" --calibration models/smollm2/eval/calibration.jsonl \
        --suite models/smollm2/eval/suite.jsonl --out /tmp/pdtrim

computes a plan for every combination with `secateur plan` (searches that were done are taken up again), judges all of them
with one `secateur eval`, and prints a table in Markdown. `--plans-only` stops behind the plans. Everything that the two
commands printed is kept in `--out`.
"""

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/secateur"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--blocks", default="2,4,6,8", help="how many blocks each stage leaves out")
    parser.add_argument("--rules", default="subset,relaxed")
    parser.add_argument("--repairs", default="none,linear,merged")
    parser.add_argument("--samples", default="256")
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--steps", default="200")
    parser.add_argument("--limit", default="163", help="cases of the suite that judge")
    parser.add_argument("--transfer", default="dense,pdtrim,tiered")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--plans-only", action="store_true")
    return parser.parse_args()


def plan(given, name, blocks, rule, repair):
    folder = given.out / name
    report = given.out / f"{name}.json"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # All repairs of a set share its search.
        for search in (given.out / f"{blocks}-{rule}-none").glob("search-*.json"):
            (folder / search.name).write_bytes(search.read_bytes())
        command = [
            given.binary, "plan", "--model", given.model, "--calibration", given.calibration, "--answers", "own",
            "--out", str(folder), "--prefill-remove", str(blocks), "--decode-remove", str(blocks), "--rule", rule,
            "--repair", repair, "--samples", given.samples, "--seeds", given.seeds, "--steps", given.steps, "--prompt-tokens", "160",
            "--threads", given.threads, "--json",
        ]
        with open(given.out / f"{name}.log", "w") as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
        report.write_text(done.stdout)
    return json.loads(report.read_text())


def main():
    given = options()
    given.out.mkdir(parents=True, exist_ok=True)
    plans = {}
    for blocks in given.blocks.split(","):
        for rule in given.rules.split(","):
            for repair in given.repairs.split(","):
                name = f"{blocks}-{rule}-{repair}"
                plans[name] = found = plan(given, name, blocks, rule, repair)
                print(f"{name}: loss {found['nll']['dense']:.4f} dense, {found['nll']['pruned']:.4f} pruned, "
                      f"{found['nll']['repaired']:.4f} repaired, {found['seconds']:.0f} s", flush=True)
    if given.plans_only:
        return
    command = [
        given.binary, "eval", "--model", given.model, "--suite", given.suite, "--visual", "none", "--only-given",
        "--transfer", given.transfer, "--limit", given.limit, "--threads", "1", "--concurrency", "8", "--json",
        "--plan", "none", *(part for name in plans for part in ("--plan", str(given.out / name))),
    ]
    with open(given.out / "eval.log", "w") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    (given.out / "eval.json").write_text(done.stdout)
    print("\n| blocks left out | rule | repair | loss, calibration | policy | accuracy, % | the same, % | KL | times fewer bytes | first token, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in json.loads(done.stdout)["rows"]:
        if row["tag"] != "all" or row.get("depth") is not None:
            continue
        name = pathlib.Path(row["plan"]).name if row["plan"] not in ("", "none", None) else None
        blocks, rule, repair = name.split("-") if name else ("0", "", "")
        loss = f"{plans[name]['nll']['repaired']:.3f}" if name else ""
        same, kl = (f"{100 * row[key]:.1f}" if key == "same" else f"{row[key]:.4f}" for key in ("same", "kl"))
        print(f"| {blocks} | {rule} | {repair} | {loss} | {row['transfer']} | {100 * row['accuracy']:.1f} | {same} | {kl} "
              f"| {row['bytes_ratio']:.2f} | {row['ttft_ms_p50']:.0f} |")


if __name__ == "__main__":
    main()
