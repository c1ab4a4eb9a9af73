"""A second router in front of the nodes of a running cluster: it asks for keys, lets scripts of one other origin in, and
renders with front/chat_template.jinja, which tells the demo of functions and of thinking.

    python tests/api/front.py SECATEUR http://127.0.0.1:8080/v1 FOLDER

Its files lie in FOLDER. The process becomes the router, which says on standard output where it listens.
"""

import hashlib
import json
import os
import sys
import urllib.request
from pathlib import Path

from checks.keyring import LIMITS, key

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "models" / "demo"
TEMPLATE = "chat_template.jinja"
ORIGIN = "https://app.example"


def checkpoint(folder):
    """The demo's files, with another chat template; the router reads no weights."""
    for file in [*DEMO.glob("*.json"), DEMO / "sample.png"]:
        (folder / file.name).symlink_to(file)
    (folder / TEMPLATE).symlink_to(HERE / "front" / TEMPLATE)


def entry(name, limits):
    digest = hashlib.sha256(key(name).encode()).hexdigest()
    lines = {"name": name, "sha256": digest, **limits}
    return "\n".join(["[[key]]", *(f"{field} = {json.dumps(value)}" for field, value in lines.items())])


def main():
    secateur, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    model, keys = folder / "front", folder / "keys.toml"
    model.mkdir()
    checkpoint(model)
    keys.write_text("\n\n".join(entry(name, limits) for name, limits in LIMITS.items()) + "\n")
    with urllib.request.urlopen(f"{url}/cluster", timeout=10) as answer:
        nodes = json.load(answer)["nodes"]
    addresses = lambda role: ",".join(node["address"] for node in nodes if node["role"] == role)
    os.execv(secateur, [
        secateur, "router", "--listen", "127.0.0.1:0", "--model", str(model), "--prefill", addresses("prefill"),
        "--decode", addresses("decode"), "--api-keys-file", str(keys), "--cors-origin", ORIGIN, "--log", "warn",
    ])


if __name__ == "__main__":
    main()
