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


def front_check(function):
    """A check of the second router (front.py), whose template tells of tools and of thinking, and which asks for keys."""
    function.is_of_front = True
    return check(function)


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


def joined(chunks):
    """The text of a stream's only choice."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def tokens(client, prompt, **options):
    """The tokens of a text, without those that begin a prompt."""
    body = {"prompt": prompt, "add_special_tokens": False, **options}
    return client.post("/../tokenize", body=body, cast_to=object)["tokens"]


def conversation_tokens(client, messages, **options):
    return client.post("/../tokenize", body={"messages": messages, **options}, cast_to=object)["tokens"]


def text_of(client, ids):
    """The text of tokens, special tokens included."""
    return client.post("/../detokenize", body={"tokens": ids}, cast_to=object)["prompt"]


def words_and_end(client, words):
    """The field that makes the model say `words` and end, whatever it would have said."""
    end = tokens(client, "</s>")
    return {"secateur": {"forced_token_ids": tokens(client, words) + end}}


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
