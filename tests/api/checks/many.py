"""Many at once, and clients that leave."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import openai

from .common import SAMPLE, SAMPLE_CONTENT, ask, check, model, user

LEAVERS = 200
FREE_WITHIN_S = 2.0


def cluster(client):
    return httpx.get(f"{client.base_url}cluster", headers=client.auth_headers).json()


def is_free(view):
    """Nothing runs or waits at the router, and no node has work or a block of a running answer."""
    # A node that has just been too busy to describe itself says nothing.
    if any(node["node"] is None for node in view["nodes"]):
        return False
    loads = [node["node"]["load"] for node in view["nodes"]]
    return (
        view["requests"] == {"running": 0, "waiting": 0}
        and all(node["in_flight"] == 0 for node in view["nodes"])
        and all(load["running"] == 0 and load["waiting"] == 0 and load["kv_blocks_used"] == 0 for load in loads)
    )


def freed_after(client, patience=10):
    begun = time.monotonic()
    while not is_free(cluster(client)):
        waited = time.monotonic() - begun
        assert waited < patience, f"not free after {waited:.1f} s: {cluster(client)}"
        time.sleep(0.02)
    return time.monotonic() - begun


@check
def thirty_two_streams_at_once(client):
    def stream(_):
        return "".join(c.choices[0].delta.content or "" for c in ask(client, SAMPLE_CONTENT, temperature=0, stream=True))

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(stream, range(32))) == {SAMPLE["answer"]}


@check
def two_hundred_that_leave_in_mid_stream_free_everything(client):
    body = {
        "model": model(client).id, "messages": user(SAMPLE_CONTENT), "stream": True,
        "ignore_eos": True, "temperature": 0,
    }

    def leave(_):
        with httpx.Client(timeout=60) as http:
            with http.stream("POST", f"{client.base_url}chat/completions", json=body) as response:
                assert response.status_code == 200, response.status_code
                next(response.iter_raw(64))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, range(LEAVERS)))
    waited = freed_after(client)
    print(f"        {LEAVERS} disconnects in mid-stream; all free {waited:.2f} s after the last")
    assert waited <= FREE_WITHIN_S


@check
def those_that_leave_before_the_first_token_free_everything(client):
    where = urlsplit(str(client.base_url))
    content = httpx.Request("POST", "http://x/", json={"messages": user(SAMPLE_CONTENT), "ignore_eos": True}).content
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    for _ in range(20):
        with socket.create_connection((where.hostname, where.port)) as connection:
            connection.sendall(head.encode() + content)
            time.sleep(0.01)
    assert freed_after(client) <= FREE_WITHIN_S


@check
def a_reader_that_is_slow_gets_everything(client):
    whole = ask(client, "Hello!", temperature=0, max_tokens=32, extra_body={"ignore_eos": True}).choices[0].message.content
    joined = ""
    for chunk in ask(client, "Hello!", temperature=0, max_tokens=32, stream=True, extra_body={"ignore_eos": True}):
        joined += chunk.choices[0].delta.content or ""
        time.sleep(0.03)
    assert joined == whole


@check
def a_reader_that_takes_nothing_loses_its_places(client):
    where = urlsplit(str(client.base_url))
    body = {
        "messages": user("Hello!"), "n": 8, "stream": True, "ignore_eos": True, "logprobs": True, "top_logprobs": 20,
    }
    content = httpx.Request("POST", "http://x/", json=body).content
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((where.hostname, where.port))
        connection.sendall(head.encode() + content)
        begun = time.monotonic()
        while cluster(client)["requests"]["running"] < 8:
            assert time.monotonic() - begun < 10, "not all eight began"
            time.sleep(0.02)
        assert freed_after(client, patience=60) > 20, "it was the patience that ended it"


MIXED = [
    {"content": "Hello!", "temperature": 2, "max_tokens": 32, "extra_body": {"ignore_eos": True}},
    {"content": SAMPLE_CONTENT, "temperature": 0},
    {"content": "A digit.", "temperature": 1, "extra_body": {"guided_regex": "[0-9]{12}"}},
    {"content": "word " * 300, "temperature": 1, "max_tokens": 8, "stop": ["never there"]},
    {"content": "A record.", "temperature": 1.5, "max_tokens": 120, "response_format": {"type": "json_object"}},
]


@check
def twenty_mixed_streams_are_their_whole_answers(client):
    asked = [{**MIXED[number % len(MIXED)], "seed": number} for number in range(20)]
    whole = [ask(client, **options).choices[0] for options in asked]

    def stream(options):
        said, end = "", None
        for chunk in ask(client, stream=True, **options):
            said += chunk.choices[0].delta.content or ""
            end = chunk.choices[0].finish_reason or end
        return said, end

    with ThreadPoolExecutor(20) as pool:
        streams = list(pool.map(stream, asked))
    assert streams == [(choice.message.content, choice.finish_reason) for choice in whole]


def running(client):
    shown = httpx.get(str(client.base_url).removesuffix("v1/") + "metrics").text
    return next(float(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith("vllm:num_requests_running"))


@check
def a_stream_that_its_client_closes_frees_its_place(client):
    freed_after(client)
    for _ in range(5):
        stream = ask(client, "Hello!", stream=True, temperature=0, extra_body={"ignore_eos": True})
        next(iter(stream))
        assert running(client) == 1
        stream.close()
        assert freed_after(client) <= FREE_WITHIN_S and running(client) == 0


@check
def an_answer_that_its_client_gives_up_frees_its_place(client):
    hasty = client.with_options(timeout=0.2)
    for _ in range(3):
        try:
            hasty.chat.completions.create(
                model="", messages=user("Hello!"), temperature=0, max_tokens=4_000, extra_body={"ignore_eos": True, "model": None})
        except openai.APITimeoutError:
            pass
        else:
            raise AssertionError("4000 tokens in 0.2 s")
        assert freed_after(client) <= FREE_WITHIN_S
