"""The `openai` Python client, unmodified, against a running router that serves the demo checkpoint.

    python tests/api/client.py http://127.0.0.1:8080/v1 [FILE ...]

Prints one line for each check and ends with the count; exits 1 if one failed. The checks are in checks/; with names of
files there, only theirs run: those of `responses` hold on any checkpoint.
"""

import sys

import openai

from checks import answers, choices, completions, documents, many, refusals, responses, sampling, streams, structured
from checks.common import CHECKS


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=60)
    files = sys.argv[2:]
    checks = [check for check in CHECKS if not files or check.__module__.rpartition(".")[2] in files]
    failed = 0
    for function in checks:
        try:
            function(client)
            print(f"ok      {function.__name__}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {str(error)[:500]}", flush=True)
    print(f"openai {openai.__version__}: {len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


assert answers and choices and completions and documents and many and refusals and responses and sampling and streams
assert structured

if __name__ == "__main__":
    main()
