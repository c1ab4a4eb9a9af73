"""What the checks share: the list of them, the demo's sample question, and short ways to ask."""

import base64
import json
from pathlib import Path

import openai

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
SAMPLE = json.loads((DEMO / "secateur.json").read_text())["sample"]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def data_uri(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def picture(path):
    return {"type": "image_url", "image_url": {"url": data_uri(path), "detail": "auto"}}


SAMPLE_CONTENT = [picture(DEMO / SAMPLE["image"]), {"type": "text", "text": SAMPLE["prompt"]}]


def user(content):
    return [{"role": "user", "content": content}]


def model(client):
    return client.models.list().data[0]


def ask(client, content, **options):
    return client.chat.completions.create(model=model(client).id, messages=user(content), **options)


def text(reply):
    return reply.choices[0].message.content


def complete(client, prompt, **options):
    return client.completions.create(model=model(client).id, prompt=prompt, **options)


def refused(kind, param, call, code=None):
    """`call` fails with `kind`, blames `param`, and its body has all four fields and is small."""
    try:
        call()
    except kind as error:
        assert set(error.body) >= {"message", "type", "param", "code"}, error.body
        assert error.body["param"] == param, error.body
        assert code is None or error.body["code"] == code, error.body
        assert len(json.dumps(error.body)) < 32_000
        return error
    raise AssertionError(f"was not refused, expected {kind.__name__} for {param}")


def bad(client, param, code=None, **options):
    """A chat request with `options` is a 400 that names `param`."""
    return refused(openai.BadRequestError, param, lambda: ask(client, "Hello!", **options), code)
