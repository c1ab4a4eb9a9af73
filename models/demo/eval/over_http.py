"""The evaluation suite against a running router, over HTTP: accuracy by tag and by needle depth, and bytes.

    python models/demo/eval/over_http.py http://127.0.0.1:8080 --visual none
    python models/demo/eval/over_http.py http://127.0.0.1:8080 --visual trimtokenator --keep 0.5

Standard library only. An answer is right when it equals the suite's, letter for letter. The interval behind each
accuracy is Wilson's, at 95%.
"""

import argparse
import base64
import json
import math
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent


def body(case, options):
    content = []
    for image in case.get("images", []):
        data = base64.b64encode((HERE / image).read_bytes()).decode()
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    content.append({"type": "text", "text": case["prompt"]})
    visual = {"method": options.visual}
    if options.keep is not None:
        visual["keep"] = options.keep
    extension = {"visual": visual, "transfer": {"policy": "dense"}}
    messages = [{"role": "user", "content": content}]
    return {"messages": messages, "temperature": 0, "max_tokens": 48, "secateur": extension}


def ask(case, options):
    request = urllib.request.Request(
        options.url + "/v1/chat/completions", json.dumps(body(case, options)).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as reply:
        reply = json.load(reply)
    return reply["choices"][0]["message"]["content"] == case["answer"], reply["secateur"]


def wilson(right, n, z=1.96):
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return middle - half, middle + half


def groups(case):
    yield "all"
    yield case["tags"][0]
    yield from (f"{case['tags'][0]}/{tag}" for tag in case["tags"][1:])
    if "depth" in case:
        yield f"needle depth {case['depth']:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--visual", default="none")
    parser.add_argument("--keep", type=float)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    cases = [json.loads(line) for line in (HERE / "suite.jsonl").read_text().splitlines()][: options.limit]
    with ThreadPoolExecutor(options.concurrency) as pool:
        results = list(pool.map(lambda case: ask(case, options), cases))
    counts = defaultdict(lambda: [0, 0])
    for case, (right, _) in zip(cases, results):
        for group in groups(case):
            counts[group][0] += right
            counts[group][1] += 1
    print(f"| {'tag':28} | cases | exact | 95% interval |\n|---|---|---|---|")
    for group in sorted(counts, key=lambda g: (g != "all", g.startswith("needle"), "/" in g, g)):
        right, n = counts[group]
        low, high = wilson(right, n)
        print(f"| {group:28} | {n} | {right / n:.1%} | {low:.1%} to {high:.1%} |")
    sent = sum(receipt["transfer"]["bytes_sent"] for _, receipt in results)
    unpruned = sum(receipt["transfer"]["bytes_unpruned"] for _, receipt in results)
    print(f"\nbytes sent {sent:,}, unpruned {unpruned:,}, ratio {unpruned / sent:.2f}")


if __name__ == "__main__":
    main()
