"""The `openai` Python client, unmodified, against a running router: text, picture, several pictures, streaming, errors.

    pip install openai
    python tests/openai_client.py http://127.0.0.1:8080/v1

Prints one line per check and ends with the count; exits 1 if one failed.
"""

import base64
import json
import sys
from pathlib import Path

import openai

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def data_uri(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def picture(path):
    return {"type": "image_url", "image_url": {"url": data_uri(path), "detail": "auto"}}


def ask(client, content, **options):
    return client.chat.completions.create(
        model=client.models.list().data[0].id, messages=[{"role": "user", "content": content}], **options
    )


SAMPLE = json.loads((DEMO / "secateur.json").read_text())["sample"]
SAMPLE_CONTENT = [picture(DEMO / SAMPLE["image"]), {"type": "text", "text": SAMPLE["prompt"]}]


@check
def models_are_listed(client):
    model = client.models.list().data[0]
    assert model.object == "model" and model.max_model_len > 0
    assert client.models.retrieve(model.id).id == model.id


@check
def text_is_answered(client):
    reply = ask(client, "Hello!", temperature=0, max_tokens=32)
    assert reply.choices[0].message.content and reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@check
def a_picture_is_answered_with_a_receipt(client):
    reply = ask(client, SAMPLE_CONTENT, temperature=0)
    assert reply.choices[0].message.content == SAMPLE["answer"], reply.choices[0].message.content
    receipt = reply.model_extra["secateur"]
    assert receipt["visual"]["tokens_after"] < receipt["visual"]["tokens_before"]
    assert receipt["transfer"]["bytes_sent"] > 0


@check
def a_stream_equals_the_whole(client):
    whole = ask(client, SAMPLE_CONTENT, temperature=0).choices[0].message.content
    chunks = list(ask(client, SAMPLE_CONTENT, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


@check
def several_pictures_and_turns_are_taken(client):
    images = sorted((DEMO / "eval" / "images").glob("*.png"))[:3]
    content = [picture(path) for path in images] + [{"type": "text", "text": "How many objects are in picture 2?"}]
    reply = ask(client, content, temperature=0)
    assert reply.choices[0].message.content
    assert reply.model_extra["secateur"]["visual"]["images"] == 3


@check
def the_extension_turns_pruning_off(client):
    extension = {"secateur": {"visual": {"method": "none"}, "transfer": {"policy": "dense"}}}
    receipt = ask(client, SAMPLE_CONTENT, temperature=0, extra_body=extension).model_extra["secateur"]
    assert receipt["visual"]["tokens_after"] == receipt["visual"]["tokens_before"]


@check
def a_seed_repeats_a_sample(client):
    options = {"temperature": 1.5, "seed": 7, "max_tokens": 24}
    first, second = (ask(client, "Hello!", **options).choices[0].message.content for _ in range(2))
    assert first == second


@check
def a_broken_picture_is_a_bad_request(client):
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    try:
        ask(client, [broken, {"type": "text", "text": "What is this?"}])
    except openai.BadRequestError as error:
        assert "image" in error.body["param"], error.body
    else:
        raise AssertionError("no error")


@check
def an_unknown_model_is_not_found(client):
    try:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Hello"}])
    except openai.NotFoundError as error:
        assert error.body["code"] == "model_not_found", error.body
    else:
        raise AssertionError("no error")


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    failed = 0
    for function in CHECKS:
        try:
            function(client)
            print(f"ok      {function.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {error}")
    print(f"openai {openai.__version__}: {len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
