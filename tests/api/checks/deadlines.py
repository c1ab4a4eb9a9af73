"""How long an answer may take: the field, the header, and what clients see when the time is over."""

import httpx
import openai

from .common import ask, bad, check, model, refused, user
from .many import FREE_WITHIN_S, freed_after

# An answer of so many tokens takes longer than this many seconds on any machine.
ENDLESS = {"max_tokens": 4_000, "temperature": 0}
SOON = {"ignore_eos": True, "timeout": 0.1}


def gave_up(call):
    error = refused(openai.InternalServerError, None, call, "timeout")
    assert error.status_code == 504 and error.response.headers["x-should-retry"] == "false"
    return error


@check
def an_answer_ends_with_its_time(client):
    gave_up(lambda: ask(client, "Hello!", extra_body=SOON, **ENDLESS))
    assert freed_after(client) <= FREE_WITHIN_S


@check
def the_time_may_stand_in_a_header(client):
    headers = {"x-request-timeout": "0.1"}
    gave_up(lambda: ask(client, "Hello!", extra_body={"ignore_eos": True}, extra_headers=headers, **ENDLESS))


@check
def the_shorter_time_holds(client):
    gave_up(lambda: ask(client, "Hello!", extra_body=SOON, extra_headers={"x-request-timeout": "60"}, **ENDLESS))
    headers = {"x-request-timeout": "0.1"}
    gave_up(lambda: ask(client, "Hello!", extra_body={**SOON, "timeout": 60}, extra_headers=headers, **ENDLESS))


@check
def a_stream_that_takes_too_long_fails(client):
    seen = 0
    try:
        for _ in ask(client, "Hello!", stream=True, extra_body={**SOON, "timeout": 0.3}, **ENDLESS):
            seen += 1
    except openai.APIError as error:
        assert error.code == "timeout", error.body
    else:
        raise AssertionError(f"{seen} chunks came and no error")
    assert freed_after(client) <= FREE_WITHIN_S


@check
def the_client_does_not_try_again(client):
    sent = []
    with httpx.Client(event_hooks={"request": [sent.append]}) as http:
        eager = client.with_options(max_retries=3, http_client=http)
        name = model(client).id
        gave_up(lambda: eager.chat.completions.create(model=name, messages=user("Hello!"), extra_body=SOON, **ENDLESS))
    assert len(sent) == 1, [request.url for request in sent]


@check
def several_answers_have_one_deadline(client):
    gave_up(lambda: ask(client, "Hello!", n=4, extra_body=SOON, **ENDLESS))
    assert freed_after(client) <= FREE_WITHIN_S


@check
def times_that_are_none_are_refused(client):
    for value in (0, -1, "5", True):
        bad(client, "timeout", "invalid_request", extra_body={"timeout": value})
    for value in ("0", "-1", "soon", "1s", "nan"):
        bad(client, "x-request-timeout", "invalid_request", extra_headers={"x-request-timeout": value})


@check
def a_place_among_those_that_wait_is_a_whole_number(client):
    for value in (0.5, "high", [1]):
        bad(client, "priority", extra_body={"priority": value})
    for value in (-(10**30), 10**30, -1.0):
        assert ask(client, "Hello!", max_tokens=1, extra_body={"priority": value}).choices
    for tier in ("auto", "default", "flex", "batch", "priority"):
        assert ask(client, "Hello!", max_tokens=1, extra_body={"service_tier": tier}).choices
