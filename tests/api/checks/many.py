"""Many at once, and clients that leave."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx

from .common import SAMPLE, SAMPLE_CONTENT, ask, check, model, user

LEAVERS = 200
FREE_WITHIN_S = 2.0


def cluster(client):
    return httpx.get(f"{client.base_url}cluster").json()


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
