"""schemathesis against the router's own OpenAPI document: no 5xx, and every answer as documented.

    python tests/api/schema.py http://127.0.0.1:8080 [EXAMPLES]
"""

import subprocess
import sys

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,missing_required_header"


def main():
    root, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "50"
    command = [
        "schemathesis", "run", f"{root}/openapi.json", "--checks", CHECKS, "--max-examples", examples,
        "--phases", "examples,coverage,fuzzing", "--mode", "all", "--seed", "1", "--request-timeout", "60",
        "--suppress-health-check", "all", "--generation-database", "none", "--continue-on-failure",
    ]
    sys.exit(subprocess.run(command, check=False).returncode)


main()
