"""Streams: order of chunks, whole characters, joined text."""

import asyncio
import json

import httpx
import openai

from .common import SAMPLE, SAMPLE_CONTENT, ask, check, model, text, user, words_and_end

LONG = {"ignore_eos": True}


def raw_events(client, **options):
    """The stream's events as they are on the wire."""
    body = {"model": model(client).id, "messages": user("Hello!"), "stream": True, "max_tokens": 8, **options}
    with httpx.stream("POST", f"{client.base_url}chat/completions", json=body, timeout=60) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        return response.read()


@check
def a_stream_equals_the_whole(client):
    whole = text(ask(client, SAMPLE_CONTENT, temperature=0))
    chunks = list(ask(client, SAMPLE_CONTENT, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


@check
def events_end_with_a_blank_line_and_done(client):
    wire = raw_events(client)
    assert wire.endswith(b"data: [DONE]\n\n")
    for event in wire.decode().split("\n\n")[:-1]:
        assert event.startswith("data: ") and "\n" not in event


@check
def every_event_is_whole_utf8(client):
    for seed in range(6):
        wire = raw_events(client, temperature=2, seed=seed, max_tokens=48, **LONG)
        for event in wire.split(b"\n\n")[:-2]:
            json.loads(event.removeprefix(b"data: ").decode("utf-8"))


@check
def random_streams_equal_the_whole(client):
    for seed in range(4):
        options = {"temperature": 2, "seed": seed, "max_tokens": 48, "extra_body": LONG}
        joined = "".join(c.choices[0].delta.content or "" for c in ask(client, "Hello!", stream=True, **options))
        assert joined == text(ask(client, "Hello!", **options)), seed


@check
def a_stop_text_never_leaks_into_a_stream(client):
    options = {"temperature": 0, "max_tokens": 40, "extra_body": LONG}
    whole = text(ask(client, "Hello!", **options))
    for start in range(2, len(whole) - 5, 7):
        stop = whole[start : start + 5]
        joined = ""
        for chunk in ask(client, "Hello!", stream=True, stop=stop, **options):
            joined += chunk.choices[0].delta.content or ""
            assert joined == whole[: len(joined)] and len(joined) <= whole.index(stop), (stop, joined)
        assert joined == whole[: whole.index(stop)]


@check
def usage_is_null_until_the_last_chunk(client):
    chunks = list(ask(client, "Hello!", max_tokens=3, stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in chunks[:-1]) and chunks[-1].usage.total_tokens > 0


@check
def usage_may_come_with_every_chunk(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [c.usage.completion_tokens for c in ask(client, "Hello!", max_tokens=4, stream=True, stream_options=options)]
    assert counts == sorted(counts) and counts[-1] > 0


@check
def without_usage_there_is_no_usage(client):
    assert all(c.usage is None and c.choices for c in ask(client, "Hello!", max_tokens=3, stream=True))


@check
def a_stream_carries_the_receipt(client):
    chunks = list(ask(client, SAMPLE_CONTENT, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].model_extra["secateur"]["transfer"]["bytes_sent"] > 0


@check
def streamed_log_probabilities_are_those_of_the_whole(client):
    options = {"temperature": 0, "max_tokens": 8, "logprobs": True, "top_logprobs": 2, "extra_body": LONG}
    whole = [entry.token for entry in ask(client, "Hello!", **options).choices[0].logprobs.content]
    streamed = [
        entry.token
        for chunk in ask(client, "Hello!", stream=True, **options)
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert streamed == whole


@check
def chunks_share_an_id(client):
    assert len({chunk.id for chunk in ask(client, "Hello!", max_tokens=4, stream=True)}) == 1


@check
def the_helper_for_streams_works(client):
    with client.chat.completions.stream(model=model(client).id, messages=user(SAMPLE_CONTENT), temperature=0) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == SAMPLE["answer"]


@check
def an_answer_of_no_text_is_a_stream_all_the_same(client):
    options = {"temperature": 0, "max_tokens": 4, "extra_body": words_and_end(client, "")}
    whole = ask(client, "Hello!", **options)
    chunks = list(ask(client, "Hello!", stream=True, **options))
    assert text(whole) == "" and whole.usage.completion_tokens == 0 and whole.choices[0].finish_reason == "stop"
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices[0].finish_reason == "stop"


@check
def characters_of_several_tokens_come_whole(client):
    said = "👩‍👩‍👧 é 你好 ﷺ"
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in ask(client, "Hello!", stream=True, temperature=0, max_tokens=100, extra_body=words_and_end(client, said))
    ]
    assert "".join(pieces) == said and not any("\ufffd" in piece for piece in pieces), pieces


@check
def the_async_client_reads_streams(client):
    async def read(other, seed):
        stream = await other.chat.completions.create(
            model="", messages=user("Hello!"), stream=True, temperature=1.5, seed=seed, max_tokens=16, extra_body={**LONG, "model": None})
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def many():
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none") as other:
            return await asyncio.gather(*(read(other, seed) for seed in range(6)))

    for seed, said in enumerate(asyncio.run(many())):
        assert said == text(ask(client, "Hello!", temperature=1.5, seed=seed, max_tokens=16, extra_body=LONG))
