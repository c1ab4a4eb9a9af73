"""The cost of holding answers to a form: streams of JSON beside streams without, on one cluster.

    python3 benches/constrained.py [--model "$(models/smollm2/fetch)"] [--rounds 5] [--json constrained.json]

starts `secateur up`, and asks batches of equal answers (`ignore_eos`, `max_tokens`), with and without a `response_format`
that cannot be complete before the answer's last token, so that both have the same length. A round asks every batch once,
in an order that turns from round to round; a ratio is made within a round. Times are the router's, from the receipts:
`tpot` is (last token - first token) / (tokens - 1), and `step` the median of a batch's streams. Masks cost their share of a
step: 1 - free / constrained.

Figures count on a machine that does nothing else, and as ratios of one run.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL = pathlib.Path.home() / ".cache/secateur/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SUBJECTS = ("rivers", "birds", "trees", "stars", "cities", "games", "foods", "tools")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/secateur"))
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--url", help="a cluster that is there, instead of one of its own")
    parser.add_argument("--threads", help="threads of each node")
    parser.add_argument("--weights", help="native or int8")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128, help="length of every answer")
    parser.add_argument("--temperatures", default="0,1", help="greedy and drawn answers are different work")
    parser.add_argument("--schema", type=pathlib.Path, help="a JSON schema instead of an array of strings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="where to write every figure")
    return parser.parse_args()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cluster:
    """`secateur up` on a free port, stopped at the end."""

    def __init__(self, given):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        flags = [flag for name in ("threads", "weights") if (value := getattr(given, name)) for flag in (f"--{name}", value)]
        command = [given.binary, "up", "--model", given.model, "--port", str(port), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def __enter__(self):
        deadline = time.monotonic() + 300
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit("error: the cluster did not start")
            time.sleep(0.2)
        return self.url

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=5).status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def schema(given):
    if given.schema:
        return json.loads(given.schema.read_text())
    # An item takes a token at least, so the answer cannot be complete before its last token.
    return {"type": "array", "items": {"type": "string"}, "minItems": given.tokens}


def ask(given, url, number, temperature, form):
    """One answer: its receipt's timing, and when it came."""
    words = f"Write a JSON array of many names of {SUBJECTS[number % len(SUBJECTS)]}, as strings. Number {number}."
    body = {
        "messages": [{"role": "user", "content": words}], "max_tokens": given.tokens, "ignore_eos": True,
        "temperature": temperature, "seed": number, **({"response_format": form} if form else {}),
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        reply = json.load(urllib.request.urlopen(request, timeout=600))
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {error.code} {error.read().decode(errors='replace')}")
    tokens = reply["usage"]["completion_tokens"]
    if tokens != given.tokens:
        sys.exit(f"error: an answer of {tokens} tokens, where {given.tokens} were asked for: {reply['choices'][0]}")
    return reply["secateur"]["timing"]


def batch(given, url, pool, temperature, form):
    """All streams at once: tokens per second, and milliseconds of a stream's token."""
    begun = time.monotonic()
    timings = list(pool.map(lambda number: ask(given, url, number, temperature, form), range(given.streams)))
    seconds = time.monotonic() - begun
    return {
        "tokens_s": given.streams * given.tokens / seconds,
        "step_ms": statistics.median(timing["tpot_ms"] for timing in timings),
        "ttft_ms": statistics.median(timing["ttft_ms"] for timing in timings),
    }


def name(arm):
    return f"{arm[0]:g} {'json' if arm[1] else 'free'}"


def middle(values, digits=2):
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def measure(given, url):
    """Every figure of every round, by temperature and form."""
    form = {"type": "json_schema", "json_schema": {"name": "names", "schema": schema(given), "strict": True}}
    arms = [(float(temperature), held) for temperature in given.temperatures.split(",") for held in (False, True)]
    rounds = []
    with concurrent.futures.ThreadPoolExecutor(given.streams) as pool:
        for arm in arms:
            # Reads the vocabulary and warms the caches up.
            batch(given, url, pool, arm[0], form if arm[1] else None)
        for number in range(given.rounds):
            turned = arms[number % len(arms):] + arms[: number % len(arms)]
            found = {}
            for temperature, held in turned:
                found[temperature, held] = batch(given, url, pool, temperature, form if held else None)
            rounds.append(found)
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
    return arms, rounds


def report(given, arms, rounds):
    print(f"{pathlib.Path(given.model).name}: {given.streams} streams of {given.tokens} tokens, {given.rounds} rounds; "
          f"median (smallest to largest); load {os.getloadavg()[0]:.1f}\n")
    print("| temperature | form | tokens/s | step, ms | first token, ms |")
    print("|---|---|---|---|---|")
    for arm in arms:
        of = {name: [found[arm][name] for found in rounds] for name in ("tokens_s", "step_ms", "ttft_ms")}
        print(f"| {arm[0]:g} | {'JSON' if arm[1] else 'free'} | {middle(of['tokens_s'], 1)} | {middle(of['step_ms'])} "
              f"| {middle(of['ttft_ms'], 0)} |")
    print()
    shares = {}
    for temperature in dict.fromkeys(arm[0] for arm in arms):
        shares[temperature] = [
            100 * (1 - found[temperature, False]["step_ms"] / found[temperature, True]["step_ms"]) for found in rounds
        ]
        print(f"temperature {temperature:g}: masks take {middle(shares[temperature])} % of a step")
    return shares


def main():
    given = options()
    if given.url:
        arms, rounds = measure(given, given.url)
    else:
        with Cluster(given) as url:
            arms, rounds = measure(given, url)
    shares = report(given, arms, rounds)
    if given.json:
        document = {
            "model": pathlib.Path(given.model).name, "streams": given.streams, "tokens": given.tokens,
            "rounds": [{name(arm): figures for arm, figures in found.items()} for found in rounds],
            "share_percent": {f"{temperature:g}": values for temperature, values in shares.items()},
        }
        given.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
