"""What nobody should send: thirty malformed bodies and more that are hostile. Each gets a clear 4xx with OpenAI's error
body, quickly and in bounded memory, and the next request is answered.

    python tests/api/hostile.py http://127.0.0.1:8080/v1 ROUTER_PID PREFILL_PID
"""

import base64
import json
import socket
import struct
import sys
import time
import zlib
from urllib.parse import urlsplit

import httpx

MEMORY_GROWTH_MAX_MIB = 400
failures = 0


def tell(name, problem=None, found=""):
    global failures
    failures += problem is not None
    print(f"{'FAILED ' if problem else 'ok     '} {name} {problem or found}", flush=True)


def png(width, height, rows):
    """A PNG of one colour; `rows` of its rows are really there."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = b"\0" + b"\0" * width
    squeeze = zlib.compressobj(9)
    data = b"".join(squeeze.compress(row) for _ in range(rows)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def image(data):
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    return [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What is it?"}]


def said(content):
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 4})


def asked(**fields):
    return json.dumps({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4, **fields})


MALFORMED = {
    "empty": "", "not json": "hello", "half an object": '{"messages": [', "two documents": "{} {}", "a list": "[]",
    "a string": '"x"', "a number": "5", "null": "null", "trailing comma": '{"messages": [],}', "single quotes": "{'a': 1}",
    "no messages": "{}", "messages is a string": '{"messages": "hi"}', "no message": '{"messages": []}',
    "a message is a string": '{"messages": ["hi"]}', "no role": '{"messages": [{"content": "x"}]}',
    "a number as role": '{"messages": [{"role": 5, "content": "x"}]}', "a number as content": said(5),
    "an unknown part": said([{"type": "hologram"}]), "a part without type": said([{"text": "x"}]),
    "a picture without url": said([{"type": "image_url", "image_url": {}}]),
    "a picture that is no data": said([{"type": "image_url", "image_url": {"url": "x"}}]),
    "a data uri without comma": said([{"type": "image_url", "image_url": {"url": "data:image/png;base64"}}]),
    "bad base64": said([{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!!"}}]),
    "not a number": '{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "temperature as text": asked(temperature="hot"), "negative max_tokens": asked(max_tokens=-1),
    "stop is an object": asked(stop={}), "n is a list": asked(n=[1]), "bias is a list": asked(logit_bias=[]),
    "stream is a word": asked(stream="yes"), "seed is a fraction": asked(seed=1.5), "unknown model": asked(model="x"),
    "invalid utf-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
}

HOSTILE = {
    "decompression bomb, 30000x30000 of zeros": lambda: said(image(png(30_000, 30_000, 3_000))),
    "100 megapixels that are there": lambda: said(image(png(10_000, 10_000, 10_000))),
    "65535x65535 by its header": lambda: said(image(png(65_535, 65_535, 1))),
    "10000 deep": lambda: '{"messages": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "10000 deep in an unknown field": lambda: '{"x": ' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}",
    "a lone surrogate": lambda: '{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "a raw NUL": lambda: b'{"messages": [{"role": "user", "content": "a\x00b"}]}',
    "a body over the limit": lambda: b'{"x": "' + b"a" * 40_000_000 + b'"}',
    "100000 messages without content": lambda: json.dumps({"messages": [{"role": "user"}] * 100_000}),
    "1000 pictures": lambda: said(image(png(1, 1, 1))[:1] * 1_000),
    "a million stop texts": lambda: asked(stop=["a"] * 1_000_000),
    "a 400-digit number": lambda: '{"messages": [{"role": "user", "content": "x"}], "max_tokens": -' + "9" * 400 + "}",
    "a truncated picture": lambda: said(image(png(64, 64, 64)[:60])),
    "30 megabytes of one word": lambda: said("a" * 30_000_000),
}


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))


def check_error(name, response, seconds):
    try:
        error = response.json()["error"]
        fits = 400 <= response.status_code < 500 and set(error) == {"message", "type", "param", "code"}
        fits = fits and len(response.content) < 32_000
    except (ValueError, KeyError):
        fits = False
    words = f"{response.status_code} {response.text[:150]!r}"
    tell(name, None if fits else words, f"{response.status_code} in {seconds:.2f} s: {response.text[12:90]}")


def still_answers(http, url):
    reply = http.post(url, content=asked(), headers={"content-type": "application/json"})
    return None if reply.status_code == 200 else f"the next request got {reply.status_code}"


def send_raw(where, data, patience):
    with socket.create_connection((where.hostname, where.port), timeout=patience) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass  # Refused before all was sent; the answer may still be there.
        begun, received = time.monotonic(), b""
        try:
            while b"\r\n\r\n" not in received and (piece := connection.recv(65536)):
                received += piece
        except OSError:
            pass
        return received, time.monotonic() - begun


def main():
    base, pids = sys.argv[1], [int(pid) for pid in sys.argv[2:]]
    url, where = f"{base}/chat/completions", urlsplit(base)
    before = [peak_mib(pid) for pid in pids]
    with httpx.Client(timeout=30) as http:
        for name, body in {**MALFORMED, **HOSTILE}.items():
            body = body() if callable(body) else body
            begun = time.monotonic()
            response = http.post(url, content=body, headers={"content-type": "application/json"})
            check_error(name, response, time.monotonic() - begun)
            if name in HOSTILE:
                tell(f"after {name}", still_answers(http, url))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        answer, _ = send_raw(where, head + b"x-big: " + b"a" * 1_000_000 + b"\r\n\r\n", 10)
        tell("a header of 1 MB", None if b" 431 " in answer[:20] else repr(answer[:40]), answer[:40])
        answer, waited = send_raw(where, head + b"content-length: 100\r\n\r\n{", 40)
        tell("a sender that stops", None if b" 408 " in answer[:20] else repr(answer[:40]), f"408 after {waited:.0f} s")
        tell("after both", still_answers(http, url))
    for pid, was in zip(pids, before):
        grown = peak_mib(pid) - was
        tell(f"memory of process {pid}", f"grew by {grown} MiB" if grown > MEMORY_GROWTH_MAX_MIB else None, f"grew by {grown} MiB")
    print(f"{len(MALFORMED)} malformed, {len(HOSTILE) + 2} hostile: {failures} failed")
    sys.exit(1 if failures else 0)


main()
