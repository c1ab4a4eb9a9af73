"""Keys and their limits, on the second router: who is let in, what is left, and when to come back. The keys are in keyring.py."""

import re
import threading
import time

import httpx
import openai

from .common import front_check, refused, user
from .keyring import LIMITS, key
from .many import cluster

RESET = re.compile(r"\d+ms|(\d+h)?(\d+m)?\d+s")


def as_holder(client, name, **options):
    """The client with another key."""
    return client.with_options(api_key=key(name), **options)


def say(client, **options):
    # Under the name that the template's folder has, so that no request asks for it.
    return client.chat.completions.create(model="front", messages=user("Hello!"), **{"max_tokens": 2, **options})


def until_refused(client, tries, **options):
    """The refusal of one of the first `tries` requests, and how many were answered before it."""
    for answered in range(tries):
        try:
            say(client, **options)
        except openai.RateLimitError as error:
            return error, answered
    raise AssertionError(f"{tries} requests were answered")


def within(is_so, seconds=10):
    for _ in range(seconds * 50):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def check_refusal(error, kind, seconds):
    assert error.code == "rate_limit_exceeded" and error.body["param"] is None, error.body
    assert 1 <= int(error.response.headers["retry-after"]) <= seconds
    headers = error.response.headers
    assert headers[f"x-ratelimit-remaining-{kind}"] == "0" and int(headers[f"x-ratelimit-limit-{kind}"]) > 0
    assert RESET.fullmatch(headers[f"x-ratelimit-reset-{kind}"]), headers


@front_check
def nobody_is_let_in_without_a_key(client):
    for api_key in ("sk-wrong", key("whole")[:-1], key("whole") + "0"):
        error = refused(openai.AuthenticationError, None, lambda: say(client.with_options(api_key=api_key)), "invalid_api_key")
        assert error.response.headers["www-authenticate"] == "Bearer"
        assert api_key not in str(error.body), "a key is in no answer"
    for path in ("models", "cluster"):
        assert httpx.get(f"{client.base_url}{path}").status_code == 401, path
    root = str(client.base_url).removesuffix("v1/")
    assert httpx.post(f"{root}tokenize", json={"prompt": "a"}).status_code == 401


@front_check
def a_key_may_come_in_either_header(client):
    url, body = f"{client.base_url}chat/completions", {"messages": user("Hello!"), "max_tokens": 1}
    for headers in ({"x-api-key": key("whole")}, {"authorization": f"bearer {key('whole')}"}):
        assert httpx.post(url, json=body, headers=headers).status_code == 200, headers
    both = {"x-api-key": key("whole"), "authorization": "Bearer wrong"}
    assert httpx.post(url, json=body, headers=both).status_code == 401, "the first header counts"
    assert say(client, extra_headers={"x-api-key": key("whole"), "Authorization": openai.Omit()}).choices


@front_check
def what_needs_no_key_needs_none(client):
    root = str(client.base_url).removesuffix("v1/")
    for path in ("health", "live", "metrics", "openapi.json", ""):
        assert httpx.get(root + path).status_code == 200, path


@front_check
def a_key_that_has_expired_is_told_so(client):
    error = refused(openai.AuthenticationError, None, lambda: say(as_holder(client, "old")), "invalid_api_key")
    assert "expired" in error.body["message"]


@front_check
def requests_over_the_limit_come_back_later(client):
    error, answered = until_refused(as_holder(client, "requests"), LIMITS["requests"]["requests_per_minute"] + 1)
    assert answered <= LIMITS["requests"]["requests_per_minute"]
    check_refusal(error, "requests", 30)
    assert "2 requests a minute" in error.body["message"]


@front_check
def a_refusal_comes_before_a_stream(client):
    error, _ = until_refused(as_holder(client, "requests"), 3, stream=True)
    check_refusal(error, "requests", 30)


@front_check
def tokens_over_the_limit_come_back_later(client):
    error, answered = until_refused(as_holder(client, "tokens"), 3, max_tokens=32, extra_body={"ignore_eos": True})
    assert answered <= 1, "the first answer takes more than a minute's tokens"
    check_refusal(error, "tokens", 200)
    assert "20 tokens a minute" in error.body["message"]


@front_check
def what_is_left_is_told_with_each_answer(client):
    holder = as_holder(client, "again")
    limits = LIMITS["again"]
    for kind in ("requests", "tokens"):
        headers = holder.chat.completions.with_raw_response.create(model="front", messages=user("Hello!"), max_tokens=2).headers
        assert int(headers[f"x-ratelimit-limit-{kind}"]) == limits[f"{kind}_per_minute"]
        assert 0 < int(headers[f"x-ratelimit-remaining-{kind}"]) < limits[f"{kind}_per_minute"]
        assert RESET.fullmatch(headers[f"x-ratelimit-reset-{kind}"]), headers
    assert not [name for name in httpx.get(f"{client.base_url}models", headers={"x-api-key": key("whole")}).headers if "ratelimit" in name]


@front_check
def one_answer_at_once_where_the_key_says_so(client):
    holder = as_holder(client, "one")
    stream = say(holder, stream=True, max_tokens=4_000, extra_body={"ignore_eos": True})
    next(iter(stream))
    error = refused(openai.RateLimitError, None, lambda: say(holder), "rate_limit_exceeded")
    assert "1 answers at once" in error.body["message"] or "one answer" in error.body["message"], error.body
    stream.close()
    within(lambda: figure(client, "secateur_key_running", key="one") == 0)
    refused(openai.BadRequestError, "n", lambda: say(holder, n=2), "invalid_request")
    assert say(holder).choices


@front_check
def the_client_comes_back_by_itself(client):
    stream = say(as_holder(client, "one"), stream=True, max_tokens=2_000, extra_body={"ignore_eos": True})
    next(iter(stream))
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    assert say(as_holder(client, "one", max_retries=60)).choices, "it waits as long as the refusals say"
    reader.join()


@front_check
def a_key_for_batches_is_answered(client):
    holder = as_holder(client, "batch")
    assert say(holder).choices and say(holder, extra_body={"priority": -10}).choices


def figure(client, name, **labels):
    """A figure of /metrics."""
    shown = httpx.get(str(client.base_url).removesuffix("v1/") + "metrics").text
    lines = [line for line in shown.splitlines() if line.startswith(f"{name}{{")]
    found = [line for line in lines if all(f'{label}="{value}"' in line for label, value in labels.items())]
    assert len(found) == 1, (name, labels, found)
    return float(found[0].rpartition(" ")[2])


@front_check
def figures_name_keys_and_never_show_them(client):
    requests = lambda: figure(client, "secateur_key_requests_total", key="whole", outcome="ok")
    before = requests()
    say(client)
    assert requests() == before + 1
    refused(openai.AuthenticationError, None, lambda: say(as_holder(client, "old")))
    assert figure(client, "secateur_key_refused_total", key="old", reason="expired") > 0
    root = str(client.base_url).removesuffix("v1/")
    assert "sk-check" not in httpx.get(root + "metrics").text + str(cluster(client))


@front_check
def a_key_pays_for_what_it_uses(client):
    used = lambda: [figure(client, "secateur_key_tokens_total", key="again", kind=kind) for kind in ("prompt", "completion")]
    before = used()
    usage = say(as_holder(client, "again"), max_tokens=9, extra_body={"ignore_eos": True}).usage
    assert [now - was for now, was in zip(used(), before)] == [usage.prompt_tokens, usage.completion_tokens]


@front_check
def what_a_key_runs_is_counted(client):
    holder, running = as_holder(client, "batch"), lambda: figure(client, "secateur_key_running", key="batch")
    with say(holder, stream=True, max_tokens=4_000, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
        assert running() == 1
    within(lambda: running() == 0)
