"""Chat answers in one piece: shapes, pictures, the receipt."""

import httpx
import openai

from .common import DEMO, SAMPLE, SAMPLE_CONTENT, ask, check, data_uri, model, picture, text, user


@check
def models_are_listed(client):
    card = model(client)
    assert card.object == "model" and card.max_model_len > 0 and card.root
    assert client.models.retrieve(card.id).id == card.id


@check
def text_is_answered(client):
    reply = ask(client, "Hello!", temperature=0, max_tokens=32)
    assert text(reply) and reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@check
def every_key_of_the_reply_is_present(client):
    raw = client.chat.completions.with_raw_response.create(model=model(client).id, messages=user("Hello!"), max_tokens=2)
    body = raw.http_response.json()
    assert {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"} <= set(body)
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    choice = body["choices"][0]
    assert choice["logprobs"] is None and choice["message"]["refusal"] is None and choice["index"] == 0


@check
def a_picture_is_answered_with_a_receipt(client):
    reply = ask(client, SAMPLE_CONTENT, temperature=0)
    assert text(reply) == SAMPLE["answer"], text(reply)
    receipt = reply.model_extra["secateur"]
    assert receipt["visual"]["tokens_after"] < receipt["visual"]["tokens_before"]
    assert receipt["transfer"]["bytes_sent"] > 0


@check
def several_pictures_and_turns_are_taken(client):
    images = sorted((DEMO / "eval" / "images").glob("*.png"))[:3]
    content = [picture(path) for path in images] + [{"type": "text", "text": "How many objects are in picture 2?"}]
    reply = ask(client, content, temperature=0)
    assert text(reply)
    assert reply.model_extra["secateur"]["visual"]["images"] == 3


@check
def pictures_keep_their_order(client):
    images = sorted((DEMO / "eval" / "images").glob("*.png"))[:2]
    question = {"type": "text", "text": "How many objects are in picture 1?"}
    here, there = ([picture(path) for path in order] + [question] for order in (images, images[::-1]))
    tokens = [ask(client, content, temperature=0, logprobs=True, max_tokens=3).choices[0].logprobs for content in (here, there)]
    assert tokens[0] != tokens[1], "two orders, one answer to the last digit"


@check
def image_url_may_be_a_bare_string_with_keys_beside_it(client):
    part = {"type": "image_url", "image_url": data_uri(DEMO / SAMPLE["image"]), "uuid": "x", "detail": "low"}
    assert text(ask(client, [part, SAMPLE_CONTENT[1]], temperature=0)) == SAMPLE["answer"]


@check
def content_may_be_parts_in_every_role(client):
    part = lambda words: [{"type": "text", "text": words}]
    messages = [
        {"role": "system", "content": part("Be brief.")},
        {"role": "user", "content": part("Hello!")},
        {"role": "assistant", "content": part("Hello.")},
        {"role": "user", "content": part("Hello again!")},
    ]
    assert client.chat.completions.create(model=model(client).id, messages=messages, max_tokens=4).choices


@check
def developer_is_a_system_role(client):
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
    assert client.chat.completions.create(model=model(client).id, messages=messages, max_tokens=4).choices


@check
def explicit_nulls_and_unknown_fields_are_taken(client):
    nulls = {name: None for name in ("n", "stop", "temperature", "tools", "logit_bias", "secateur", "seed", "max_tokens")}
    assert ask(client, "Hello!", max_completion_tokens=2, extra_body={**nulls, "whatever": {"x": [1]}}).choices


@check
def user_and_metadata_are_accepted(client):
    assert ask(client, "Hello!", max_tokens=2, user="u-1", metadata={"a": "b"}, store=False).choices


@check
def how_soon_an_answer_is_wanted_may_be_said(client):
    for options in {"priority": -3}, {"priority": 90}, {"timeout": 60.5}, {"service_tier": "flex"}:
        assert ask(client, "Hello!", max_tokens=2, extra_body=options).choices
    headers = {"x-request-timeout": "60"}
    assert ask(client, "Hello!", max_tokens=2, extra_headers=headers).choices


@check
def the_model_may_be_left_out(client):
    body = {"messages": user("Hello!"), "max_tokens": 2}
    assert client.post("/chat/completions", body=body, cast_to=httpx.Response).status_code == 200


@check
def the_extension_turns_pruning_off(client):
    extension = {"secateur": {"visual": {"method": "none"}, "transfer": {"policy": "dense"}}}
    receipt = ask(client, SAMPLE_CONTENT, temperature=0, extra_body=extension).model_extra["secateur"]
    assert receipt["visual"]["tokens_after"] == receipt["visual"]["tokens_before"]
    assert receipt["transfer"]["policy"] == "dense"


@check
def the_request_id_is_echoed(client):
    raw = client.chat.completions.with_raw_response.create(
        model=model(client).id, messages=user("Hello!"), max_tokens=2, extra_headers={"x-request-id": "check-7"}
    )
    assert raw.headers["x-request-id"] == "check-7"


@check
def a_body_of_20_megabytes_is_read(client):
    # Read, and then refused for its length in tokens, not for its size.
    try:
        ask(client, "x" * 20_000_000)
    except openai.BadRequestError as error:
        assert "maximum context length" in error.body["message"], error.body
    else:
        raise AssertionError("no error")


@check
def the_async_client_is_answered(client):
    import asyncio

    async def question():
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none") as other:
            replies = [other.chat.completions.create(model=model(client).id, messages=user("Hello!"), max_tokens=3) for _ in range(4)]
            return await asyncio.gather(*replies)

    assert len(asyncio.run(question())) == 4


@check
def probes_are_answered(client):
    root = str(client.base_url).removesuffix("/v1/")
    with httpx.Client() as http:
        for path in ("/health", "/live", "/metrics", "/openapi.json", "/v1/cluster"):
            assert http.get(root + path).status_code == 200, path
        for path in ("/health", "/metrics"):
            assert http.head(root + path).status_code == 200, path
        assert http.get(root + "/server_info").status_code == 404
        tokens = http.post(root + "/tokenize", json={"prompt": "Hello!"}).json()
        assert tokens["count"] == len(tokens["tokens"]) > 0


@check
def a_model_is_described(client):
    card = model(client)
    assert card.owned_by == "secateur" and card.created > 1_700_000_000 and card.model_extra["parent"] is None
    assert [each.id for each in client.models.list()] == [card.id]
    reply = ask(client, "Hello!", max_tokens=1)
    assert reply.model == card.id and abs(reply.created - card.created) < 10**9


@check
def a_prompt_that_was_seen_before_is_cached(client):
    content = "The red square is left of the blue circle. " * 20
    first, second = (ask(client, content, max_tokens=1).usage for _ in range(2))
    cached = second.prompt_tokens_details.cached_tokens
    assert second.prompt_tokens == first.prompt_tokens and 0 < cached <= second.prompt_tokens, second


@check
def tokens_of_whole_answers_and_streams_are_the_same(client):
    for content in ("Hello!", SAMPLE_CONTENT):
        whole = ask(client, content, temperature=0, max_tokens=24).usage
        chunks = list(ask(client, content, temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}))
        streamed = chunks[-1].usage
        assert (whole.prompt_tokens, whole.completion_tokens) == (streamed.prompt_tokens, streamed.completion_tokens)
        assert whole.total_tokens == whole.prompt_tokens + whole.completion_tokens == streamed.total_tokens


@check
def names_in_messages_are_taken(client):
    messages = [{"role": "system", "content": "Be brief.", "name": "boss"}, {"role": "user", "content": "Hello!", "name": "ann"}]
    assert client.chat.completions.create(model=model(client).id, messages=messages, max_tokens=2).choices


@check
def a_request_is_seen_in_the_cluster(client):
    raw = client.chat.completions.with_raw_response.create(
        model=model(client).id, messages=user("Hello!"), max_tokens=2, extra_headers={"x-request-id": "check-of-the-view"})
    usage = raw.parse().usage
    recent = httpx.get(f"{client.base_url}cluster").json()["recent"]
    found = [entry for entry in recent if entry["id"] == "check-of-the-view"]
    assert len(found) == 1 and found[0]["usage"]["prompt_tokens"] == usage.prompt_tokens, found
    assert "Hello!" not in str(recent), "no word of a prompt is kept"
