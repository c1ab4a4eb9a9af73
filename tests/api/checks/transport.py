"""What stands between client and router: encodings of bodies, HTTP/2, and scripts of other origins."""

import asyncio
import gzip
import json
import socket
import zlib
from urllib.parse import urlsplit

import httpx
import openai
import zstandard
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived

from .common import SAMPLE, SAMPLE_CONTENT, ask, check, front_check, joined, model, text, user
from .many import FREE_WITHIN_S, freed_after

ORIGIN = "https://app.example"
ENCODERS = {"gzip": gzip.compress, "zstd": zstandard.compress, "deflate": zlib.compress, "identity": bytes}


def body(**more):
    return json.dumps({"messages": user("Hello!"), "max_tokens": 4, "temperature": 0, **more}).encode()


def post(client, content, encoding):
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return httpx.post(f"{client.base_url}chat/completions", content=content, headers=headers, timeout=60)


class Squeezing(httpx.HTTPTransport):
    """Compresses every body that a client sends."""

    def __init__(self, encoding):
        super().__init__()
        self.encoding = encoding

    def handle_request(self, request):
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        headers["content-encoding"] = self.encoding
        squeezed = ENCODERS[self.encoding](request.read())
        return super().handle_request(httpx.Request(request.method, request.url, headers=headers, content=squeezed))


def over(client, **options):
    """The same client over another connection."""
    return client.with_options(http_client=httpx.Client(**options))


@check
def bodies_may_be_compressed(client):
    whole = post(client, body(), "identity").json()["choices"][0]["message"]["content"]
    for name, encode in ENCODERS.items():
        assert post(client, encode(body()), name).json()["choices"][0]["message"]["content"] == whole, name
    twice = zstandard.compress(gzip.compress(body()))
    assert post(client, twice, "gzip, zstd").json()["choices"][0]["message"]["content"] == whole


@check
def the_client_may_compress_a_picture(client):
    for encoding in ("gzip", "zstd"):
        assert text(ask(over(client, transport=Squeezing(encoding)), SAMPLE_CONTENT, temperature=0)) == SAMPLE["answer"]


@check
def an_encoding_that_is_not_known_is_told(client):
    for encoding in ("br", "gzip, x", "gzip, gzip, gzip, gzip"):
        reply = post(client, body(), encoding)
        assert reply.status_code == 415 and reply.json()["error"]["code"] == "unsupported_encoding", reply.text
        assert {"gzip", "zstd"} <= {name.strip() for name in reply.headers["accept-encoding"].split(",")}


@check
def a_damaged_body_is_a_bad_request(client):
    for encoding in ("gzip", "zstd", "deflate"):
        whole = ENCODERS[encoding](body(padding="x" * 10_000))
        for damaged in (whole[: len(whole) // 2], b"not at all"):
            reply = post(client, damaged, encoding)
            assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_request", (encoding, reply.text)


@check
def a_small_body_that_inflates_is_bounded(client):
    bomb = b'{"x": "' + b"a" * 80_000_000 + b'"}'
    for encoding in ("gzip", "zstd"):
        reply = post(client, ENCODERS[encoding](bomb), encoding)
        assert reply.status_code == 413 and reply.json()["error"]["code"] == "payload_too_large", (encoding, reply.text)


@check
def http_2_is_spoken_with_prior_knowledge(client):
    with httpx.Client(http1=False, http2=True, timeout=60) as http:
        reply = http.post(f"{client.base_url}chat/completions", content=body(), headers={"content-type": "application/json"})
        assert reply.http_version == "HTTP/2" and reply.status_code == 200
        assert reply.json()["choices"][0]["message"]["content"] == post(client, body(), "identity").json()["choices"][0]["message"]["content"]
        assert http.get(f"{client.base_url}models").http_version == "HTTP/2"


@check
def the_client_speaks_http_2(client):
    other = over(client, http1=False, http2=True)
    assert text(ask(other, SAMPLE_CONTENT, temperature=0)) == SAMPLE["answer"]
    assert joined(ask(other, SAMPLE_CONTENT, temperature=0, stream=True)) == SAMPLE["answer"]
    try:
        ask(other, "Hello!", temperature=5)
    except openai.BadRequestError as error:
        assert error.body["param"] == "temperature"
    else:
        raise AssertionError("was not refused")


@check
def one_connection_of_http_2_carries_many(client):
    name = model(client).id
    asked = [{"temperature": 1.5, "seed": seed, "max_tokens": 24, "extra_body": {"ignore_eos": True}} for seed in range(16)]

    async def read(other, options):
        stream = await other.chat.completions.create(model=name, messages=user("Hello!"), stream=True, **options)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def together():
        # Not with threads: there httpx may send a later stream's head first, which HTTP/2 forbids.
        http = httpx.AsyncClient(http1=False, http2=True, timeout=60, limits=httpx.Limits(max_connections=1))
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none", http_client=http) as other:
            return await asyncio.gather(*(read(other, options) for options in asked))

    for options, said in zip(asked, asyncio.run(together())):
        assert said == text(ask(client, "Hello!", **options)), options


@check
def a_stream_of_http_2_that_is_reset_frees_everything(client):
    # By hand: httpx closes a stream without resetting it.
    where = urlsplit(str(client.base_url))
    connection = H2Connection()
    names = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": f"{where.path}chat/completions"}
    with socket.create_connection((where.hostname, where.port), timeout=10) as wire:
        connection.initiate_connection()
        connection.send_headers(1, [*names.items(), ("content-type", "application/json")])
        connection.send_data(1, body(max_tokens=4_000, ignore_eos=True, stream=True), end_stream=True)
        events = []
        while not any(isinstance(event, DataReceived) for event in events):
            wire.sendall(connection.data_to_send())
            events = connection.receive_data(wire.recv(65_536))
        connection.reset_stream(1, ErrorCodes.CANCEL)
        wire.sendall(connection.data_to_send())
        assert freed_after(client) <= FREE_WITHIN_S, "while the connection stays"
        connection.ping(b"whatever")
        wire.sendall(connection.data_to_send())
        while not any(isinstance(event, PingAckReceived) for event in events):
            events = connection.receive_data(wire.recv(65_536))


@check
def a_connection_of_http_2_that_closes_frees_everything(client):
    name = model(client).id
    with httpx.Client(http1=False, http2=True, timeout=60) as http:
        other = client.with_options(http_client=http)
        endless = {"stream": True, "temperature": 0, "extra_body": {"ignore_eos": True}}
        streams = [other.chat.completions.create(model=name, messages=user(SAMPLE_CONTENT), **endless) for _ in range(4)]
        for stream in streams:
            next(iter(stream))
    assert freed_after(client) <= FREE_WITHIN_S


def preflight(client, origin, path="chat/completions"):
    headers = {
        "origin": origin, "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    return httpx.options(f"{client.base_url}{path}", headers=headers)


@front_check
def scripts_of_the_named_origin_are_let_in(client):
    reply = preflight(client, ORIGIN)
    assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in reply.headers["access-control-allow-methods"]
    allowed = {name.strip() for name in reply.headers["access-control-allow-headers"].lower().split(",")}
    assert {"authorization", "content-type", "x-stainless-lang"} <= allowed
    assert "access-control-allow-credentials" not in reply.headers


@front_check
def answers_to_scripts_show_their_headers(client):
    raw = client.chat.completions.with_raw_response.create(
        model=model(client).id, messages=user("Hello!"), max_tokens=2, extra_headers={"origin": ORIGIN}
    )
    assert raw.headers["access-control-allow-origin"] == ORIGIN
    shown = raw.headers["access-control-expose-headers"].lower()
    assert "x-request-id" in shown and "retry-after" in shown and "x-ratelimit-remaining-requests" in shown


@front_check
def scripts_of_other_origins_are_not_let_in(client):
    for origin in ("https://other.example", "http://app.example", "https://app.example.evil", "null"):
        assert "access-control-allow-origin" not in preflight(client, origin).headers, origin


@check
def without_named_origins_there_are_no_such_headers(client):
    found = preflight(client, ORIGIN)
    assert not [name for name in found.headers if name.startswith("access-control")]
    reply = httpx.get(f"{client.base_url}models", headers={"origin": ORIGIN})
    assert reply.status_code == 200 and not [name for name in reply.headers if name.startswith("access-control")]
