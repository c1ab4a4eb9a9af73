"""What the documents show of Python and of the request's own field, as it stands there."""

import contextlib
import io
import json
import os
import re

from .common import DEMO, SAMPLE_CONTENT, ask, check, text

ROOT = DEMO.parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    return [(page.name, block) for page in PAGES for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)]


@check
def python_of_the_documents_runs(client):
    shown = blocks("python")
    assert shown
    os.chdir(ROOT)
    for page, block in shown:
        documented = "http://127.0.0.1:8080/v1"
        assert documented in block, page
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(block.replace(documented, str(client.base_url)), {})
        assert said.getvalue().strip(), f"{page}: no answer"


def shown_as_field():
    found = [(page, json.loads("{" + block + "}")) for page, block in blocks("json") if block.lstrip().startswith('"secateur"')]
    assert found
    return found


@check
def the_field_of_the_documents_is_taken(client):
    for page, body in shown_as_field():
        if "epoch" not in body["secateur"]:
            assert text(ask(client, SAMPLE_CONTENT, extra_body=body)), page


@check
def the_receipt_is_as_the_documents_show_it(client):
    receipt = ask(client, SAMPLE_CONTENT).model_extra["secateur"]
    for page, body in shown_as_field():
        for key, value in body["secateur"].items() if "epoch" in body["secateur"] else ():
            assert key in receipt, f"{page}: {key}"
            missing = set(value) - set(receipt[key]) if isinstance(value, dict) else set()
            assert not missing, f"{page}: {key} has no {missing}"
