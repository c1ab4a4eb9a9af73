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


@check
def the_field_of_the_documents_is_taken(client):
    shown = [(page, block) for page, block in blocks("json") if block.lstrip().startswith('"secateur"')]
    assert shown
    for page, block in shown:
        reply = ask(client, SAMPLE_CONTENT, extra_body=json.loads("{" + block + "}"))
        assert text(reply), page
        assert reply.secateur, page
