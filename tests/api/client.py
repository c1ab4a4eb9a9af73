"""The `openai` Python client, unmodified, against a running router that serves the demo checkpoint.

    python tests/api/client.py http://127.0.0.1:8080/v1 [--key KEY] [--front http://127.0.0.1:8081/v1] [FILE ...]

Prints one line for each check and ends with the count; exits 1 if one failed. The checks are in checks/; with names of
files there, only theirs run: those of `responses` hold on any checkpoint. Checks of the second router (front.py) run where
`--front` says where it is, and are left out otherwise.
"""

import argparse
import importlib
import sys
from pathlib import Path

import openai

from checks.common import CHECKS
from checks.keyring import key


# Checks by another client (messages.py).
OTHERS = {"messages"}


def load_checks():
    for name in sorted(file.stem for file in (Path(__file__).parent / "checks").glob("*.py")):
        if name not in OTHERS:
            importlib.import_module(f"checks.{name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--key", default="none")
    parser.add_argument("--front")
    arguments = parser.parse_intermixed_args()
    load_checks()
    client = openai.OpenAI(base_url=arguments.url, api_key=arguments.key, max_retries=0, timeout=60)
    front = openai.OpenAI(base_url=arguments.front or "http://127.0.0.1:1", api_key=key("whole"), max_retries=0, timeout=60)
    files = arguments.files
    checks = [check for check in CHECKS if not files or check.__module__.rpartition(".")[2] in files]
    left_out = [check for check in checks if hasattr(check, "is_of_front") and not arguments.front]
    failed = 0
    for function in checks:
        if function in left_out:
            continue
        try:
            function(front if hasattr(function, "is_of_front") else client)
            print(f"ok      {function.__name__}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {str(error)[:500]}", flush=True)
    if left_out:
        print(f"{len(left_out)} checks of a second router were left out")
    print(f"openai {openai.__version__}: {len(checks) - len(left_out) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
