"""Pictures: how they may be sent, how much of them is kept, and which are refused."""

import base64

import openai

from .common import DEMO, SAMPLE, SAMPLE_CONTENT, ask, check, conversation_tokens, data_uri, refused, text, user

URI = data_uri(DEMO / SAMPLE["image"])
QUESTION = SAMPLE_CONTENT[1]
OTHER = data_uri(sorted((DEMO / "eval" / "images").glob("*.png"))[0])


def part(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def visual(client, content, **secateur):
    reply = ask(client, content, temperature=0, max_tokens=24, extra_body={"secateur": secateur} if secateur else None)
    return reply.model_extra["secateur"]["visual"]


def counts(receipt):
    return {key: receipt[key] for key in ("method", "images", "tokens_before", "tokens_after")}


@check
def low_detail_keeps_a_quarter_at_most(client):
    low, auto = (visual(client, [part(URI, detail=detail), QUESTION]) for detail in ("low", "auto"))
    assert low["method"] == auto["method"] == "coverage"
    assert 0 < low["tokens_after"] <= 0.25 * low["tokens_before"] + 1 and low["tokens_after"] <= auto["tokens_after"]


@check
def low_detail_needs_all_pictures(client):
    details = lambda *all: [*(part(url, detail=detail) for url, detail in zip((URI, OTHER), all)), QUESTION]
    auto = counts(visual(client, details("auto", "auto")))
    assert counts(visual(client, details("low", "high"))) == counts(visual(client, details("high", "high"))) == auto
    assert counts(visual(client, details("low", "low")))["tokens_after"] <= 0.25 * auto["tokens_before"] + 2


@check
def what_the_request_chooses_comes_before_detail(client):
    content = [part(URI, detail="low"), QUESTION]
    every = visual(client, content, visual={"method": "none"})
    assert every["tokens_after"] == every["tokens_before"]
    half = visual(client, content, visual={"method": "coverage", "keep": 0.5})
    assert half["tokens_after"] > 0.4 * half["tokens_before"]


@check
def pictures_come_in_every_spelling_of_a_data_uri(client):
    data = base64.b64encode((DEMO / SAMPLE["image"]).read_bytes()).decode()
    wrapped = "\n".join(data[start : start + 76] for start in range(0, len(data), 76))
    for url in (f"data:image/png;base64,{data.rstrip('=')}", f"DATA:;BASE64,{data}", f"data:image/jpeg;name=x;base64,{wrapped}"):
        assert text(ask(client, [part(url), QUESTION], temperature=0)) == SAMPLE["answer"], url[:30]


@check
def the_same_picture_twice_is_two_pictures(client):
    receipt = visual(client, [part(URI), part(URI), QUESTION])
    assert receipt["images"] == 2 and receipt["tokens_before"] == 2 * visual(client, [part(URI), QUESTION])["tokens_before"]


@check
def pictures_of_earlier_turns_count(client):
    turns = [*user(SAMPLE_CONTENT), {"role": "assistant", "content": SAMPLE["answer"]}, *user([part(OTHER), QUESTION])]
    from_turns = client.chat.completions.create(model=client.models.list().data[0].id, messages=turns, temperature=0, max_tokens=8)
    assert from_turns.model_extra["secateur"]["visual"]["images"] == 2


@check
def addresses_of_pictures_are_refused_unless_listed(client):
    param = "messages[0].content[0].image_url.url"
    for url in ("https://example.com/a.png", "http://169.254.169.254/latest", "http://localhost/a.png", "file:///etc/passwd", "ftp://a/b", ""):
        error = refused(openai.BadRequestError, param, lambda: ask(client, [part(url), QUESTION]))
        assert "data URI" in error.body["message"], error.body
        refused(openai.BadRequestError, param, lambda: conversation_tokens(client, user([part(url)])))


@check
def pictures_are_counted(client):
    error = refused(
        openai.BadRequestError, "messages[0].content[16].image_url", lambda: ask(client, [part(URI)] * 17), "invalid_image"
    )
    assert "16" in error.body["message"]


@check
def only_text_and_pictures_are_taken(client):
    for kind in ("input_audio", "file", "video_url"):
        content = [{"type": kind, kind: {"data": "x", "format": "wav", "url": "x", "file_id": "x"}}]
        refused(openai.BadRequestError, "messages[0].content[0].type", lambda: ask(client, content), "unsupported_parameter")
