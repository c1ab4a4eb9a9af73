"""Errors: the status, the field, the words that clients look for."""

import httpx
import openai

from .common import ask, bad, check, model, refused, user


@check
def ranges_are_checked_by_field(client):
    for param, value in {
        "temperature": 2.1, "top_p": 0, "n": 0, "max_tokens": 0, "presence_penalty": 3, "frequency_penalty": -3,
        "top_logprobs": 3, "stop": 5, "logit_bias": {"99999999": 1}, "max_completion_tokens": -1,
    }.items():
        bad(client, param, "invalid_request", **{param: value})


@check
def ranges_of_extra_parameters_are_checked_by_field(client):
    for param, value in {
        "top_k": -2, "min_p": 2, "repetition_penalty": 0, "min_tokens": -1, "ignore_eos": "yes", "priority": "high",
        "timeout": 0, "service_tier": 5,
    }.items():
        bad(client, param, extra_body={param: value})


@check
def min_tokens_above_max_tokens_is_refused(client):
    bad(client, "min_tokens", max_tokens=3, extra_body={"min_tokens": 4})


@check
def an_empty_stop_text_is_refused(client):
    bad(client, "stop[1]", stop=["a", ""])


@check
def stream_options_need_a_stream(client):
    bad(client, "stream_options", stream_options={"include_usage": True})


@check
def unsupported_parameters_are_refused_by_name(client):
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bad(client, "tools", "unsupported_parameter", tools=[tool])
    bad(client, "structured_outputs.structural_tag", "unsupported_parameter", extra_body={"structured_outputs": {"structural_tag": "x"}})
    bad(client, "prompt_logprobs", "unsupported_parameter", stream=True, extra_body={"prompt_logprobs": 1})
    bad(client, "prompt_logprobs", extra_body={"prompt_logprobs": 21})


@check
def a_misspelt_extension_is_refused(client):
    bad(client, "secateur.visuals", extra_body={"secateur": {"visuals": {}}})
    bad(client, "secateur.transfer.policy", extra_body={"secateur": {"transfer": {"policy": "all"}}})


@check
def a_broken_picture_is_a_bad_request(client):
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    content = [{"type": "text", "text": "What is this?"}, broken]
    param = "messages[0].content[1].image_url.url"
    refused(openai.BadRequestError, param, lambda: ask(client, content), "invalid_image")


@check
def a_url_is_not_fetched(client):
    content = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}]
    error = refused(openai.BadRequestError, "messages[0].content[0].image_url.url", lambda: ask(client, content))
    assert "data URI" in error.body["message"]


@check
def detail_is_one_of_three(client):
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "medium"}}]
    refused(openai.BadRequestError, "messages[0].content[0].image_url.detail", lambda: ask(client, content), "invalid_request")


@check
def a_prompt_that_is_too_long_says_so(client):
    error = refused(openai.BadRequestError, "messages", lambda: ask(client, "word " * 20_000), "context_length_exceeded")
    assert "maximum context length" in error.body["message"]


@check
def max_tokens_above_the_context_says_so(client):
    error = bad(client, "max_tokens", "context_length_exceeded", max_tokens=model(client).max_model_len + 1)
    assert "maximum context length" in error.body["message"]


@check
def an_unknown_model_is_not_found(client):
    create = lambda: client.chat.completions.create(model="no-such-model", messages=user("Hello!"))
    refused(openai.NotFoundError, "model", create, "model_not_found")
    refused(openai.NotFoundError, "model", lambda: client.models.retrieve("no-such-model"), "model_not_found")


@check
def errors_before_a_stream_have_a_status(client):
    bad(client, "temperature", temperature=5, stream=True)


@check
def wrong_methods_routes_and_types_are_told(client):
    root = str(client.base_url)
    with httpx.Client() as http:
        assert http.get(root + "chat/completions").status_code == 405
        assert http.get(root + "nothing").status_code == 404
        wrong = http.post(root + "chat/completions", content="{}", headers={"content-type": "text/plain"})
        assert wrong.status_code == 415 and wrong.json()["error"]["code"] == "unsupported_media_type"


@check
def messages_must_be_there(client):
    create = lambda messages: client.chat.completions.create(model=model(client).id, messages=messages)
    refused(openai.BadRequestError, "messages", lambda: create([]))
    refused(openai.BadRequestError, "messages[0].role", lambda: create([{"role": "robot", "content": "x"}]))
    refused(openai.BadRequestError, "messages[0].content", lambda: create([{"role": "user", "content": None}]))


@check
def special_tokens_in_words_are_words(client):
    for words in ["an <image> here", "what is </s> in <s>HTML</s>?"]:
        assert ask(client, words).choices[0].message.content is not None


@check
def errors_have_their_parts_as_the_client_names_them(client):
    error = bad(client, "temperature", temperature=3, extra_headers={"x-request-id": "check-of-errors"})
    assert (error.status_code, error.param, error.code, error.type) == (400, "temperature", "invalid_request", "invalid_request_error")
    assert error.request_id == "check-of-errors" and "2" in error.body["message"]


@check
def each_status_has_the_clients_own_type(client):
    kinds = {
        openai.BadRequestError: lambda: ask(client, "Hello!", n=0),
        openai.NotFoundError: lambda: client.post("/nothing", body={}, cast_to=object),
        openai.APIStatusError: lambda: client.get("/chat/completions", cast_to=object),
    }
    found = [refused(kind, None if kind is not openai.BadRequestError else "n", call) for kind, call in kinds.items()]
    assert [error.status_code for error in found] == [400, 404, 405]
    assert [error.code for error in found] == ["invalid_request", "not_found", "method_not_allowed"]


@check
def refusals_cost_nothing_and_the_next_request_is_answered(client):
    before = httpx.get(f"{client.base_url}cluster").json()["totals"]["generation_tokens"]
    for _ in range(50):
        bad(client, "temperature", temperature=5)
    assert httpx.get(f"{client.base_url}cluster").json()["totals"]["generation_tokens"] == before
    assert ask(client, "Hello!", max_tokens=1).choices


@check
def samplers_of_other_servers_are_refused_by_name(client):
    for field, value in {
        "mirostat": 2, "dry_multiplier": 0.8, "xtc_probability": 0.5, "typical_p": 0.5, "use_beam_search": True, "bad_words": ["x"],
        "allowed_token_ids": [1], "grammar": "root ::= x", "ebnf": "root ::= x", "logits_processors": ["x"], "lora": [{"id": 0}],
        "stop_regex": "x", "min_keep": 3, "n_predict": 5, "top_n_sigma": 1, "return_token_ids": True, "audio": {"voice": "x"},
        "skip_special_tokens": False, "modalities": ["audio"], "verbosity": "low", "repeat_penalty": 1.1, "custom_logit_processor": "x",
    }.items():
        bad(client, field, "unsupported_parameter", extra_body={field: value})


@check
def values_that_mean_off_are_taken(client):
    off = {
        "mirostat": 0, "dry_multiplier": 0, "xtc_probability": 0, "typical_p": 1, "use_beam_search": False, "bad_words": [],
        "grammar": "", "top_n_sigma": -1, "repeat_penalty": 1, "skip_special_tokens": True, "modalities": ["text"], "verbosity": "medium",
        "top_k": -1, "min_p": 0, "best_of": 1, "tool_choice": "none", "tools": [], "response_format": {"type": "text"}, "echo": False,
    }
    assert ask(client, "Hello!", max_tokens=1, extra_body=off).choices
