"""The `anthropic` Python client, unmodified, against a running router.

    python tests/api/messages.py http://127.0.0.1:8080/v1 [KEY]

Prints one line for each check and ends with the count; exits 1 if one failed. The checks are in checks/messages.py.
"""

import sys

import anthropic

from checks import messages
from checks.common import CHECKS


def main():
    # This client adds /v1 by itself.
    root = sys.argv[1].rstrip("/").removesuffix("/v1")
    client = anthropic.Anthropic(base_url=root, api_key=sys.argv[2] if len(sys.argv) > 2 else "none", max_retries=0, timeout=60)
    failed = 0
    for function in CHECKS:
        try:
            function(client)
            print(f"ok      {function.__name__}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {str(error)[:500]}", flush=True)
    print(f"anthropic {anthropic.__version__}: {len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


assert messages

if __name__ == "__main__":
    main()
