"""`/v1/completions`: raw prompts."""

import openai

from .common import check, complete, refused

LONG = {"ignore_eos": True}
PROMPT = "The red square is"


@check
def a_prompt_is_continued(client):
    reply = complete(client, PROMPT, max_tokens=5, temperature=0, extra_body=LONG)
    assert reply.object == "text_completion" and reply.id.startswith("cmpl-")
    assert reply.choices[0].text and reply.usage.completion_tokens == 5
    assert reply.choices[0].finish_reason == "length" and reply.choices[0].logprobs is None


@check
def sixteen_tokens_are_the_default(client):
    assert complete(client, PROMPT, extra_body=LONG).usage.completion_tokens == 16


@check
def a_list_of_prompts_is_answered_one_by_one(client):
    alone = [complete(client, prompt, max_tokens=5, temperature=0).choices[0].text for prompt in (PROMPT, "Hello!")]
    both = complete(client, [PROMPT, "Hello!"], max_tokens=5, temperature=0)
    assert [choice.text for choice in both.choices] == alone
    assert [choice.index for choice in both.choices] == [0, 1]


@check
def tokens_are_a_prompt(client):
    tokens = client.post("/../tokenize", body={"prompt": PROMPT}, cast_to=object)["tokens"]
    options = {"max_tokens": 5, "temperature": 0}
    text, ids, lists = (complete(client, prompt, **options).choices[0].text for prompt in (PROMPT, tokens, [tokens]))
    assert text == ids == lists


@check
def echo_brings_the_prompt_back(client):
    plain = complete(client, PROMPT, max_tokens=4, temperature=0).choices[0].text
    assert complete(client, PROMPT, max_tokens=4, temperature=0, echo=True).choices[0].text == PROMPT + plain
    streamed = complete(client, PROMPT, max_tokens=4, temperature=0, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == PROMPT + plain


@check
def a_returned_prompt_is_scored(client):
    choice = complete(client, PROMPT, max_tokens=0, echo=True, logprobs=2).choices[0]
    lists = choice.logprobs
    assert choice.text == PROMPT and choice.finish_reason == "length"
    assert lists.token_logprobs[0] is None and all(number <= 0 for number in lists.token_logprobs[1:])
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset)
    both = complete(client, PROMPT, max_tokens=4, temperature=0, echo=True, logprobs=2, extra_body=LONG).choices[0]
    assert both.logprobs.token_logprobs[: len(lists.tokens)] == lists.token_logprobs
    assert len(both.logprobs.tokens) == len(lists.tokens) + 4


@check
def prompt_logprobs_are_vllms(client):
    choice = complete(client, PROMPT, max_tokens=1, extra_body={"prompt_logprobs": 1}).choices[0]
    scores = choice.model_extra["prompt_logprobs"]
    assert scores[0] is None and all(set(entry) == {"logprob", "rank", "decoded_token"} for entry in scores[1].values())


@check
def n_and_lists_multiply(client):
    reply = complete(client, [PROMPT, "Hello!"], n=2, best_of=2, max_tokens=4, seed=1, extra_body=LONG)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.usage.completion_tokens == 16


@check
def a_streamed_completion_equals_the_whole(client):
    whole = complete(client, PROMPT, max_tokens=12, temperature=0).choices[0].text
    chunks = list(complete(client, PROMPT, max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0 and chunks[-1].model_extra["secateur"]["epoch"]


@check
def log_probabilities_are_parallel_lists(client):
    choice = complete(client, PROMPT, max_tokens=4, temperature=0, logprobs=2, extra_body=LONG).choices[0]
    lists = choice.logprobs
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset) == 4
    assert lists.text_offset[0] == 0 and all(2 <= len(top) <= 3 for top in lists.top_logprobs)
    assert "".join(lists.tokens).strip() == choice.text.strip()


@check
def stop_and_penalties_hold_for_completions(client):
    whole = complete(client, PROMPT, max_tokens=24, temperature=0, extra_body=LONG).choices[0].text
    stop = whole[8:11]
    reply = complete(client, PROMPT, max_tokens=24, temperature=0, stop=[stop], presence_penalty=0, extra_body=LONG)
    assert reply.choices[0].text == whole[: whole.index(stop)]


@check
def completions_refuse_by_field(client):
    for param, options in {
        "suffix": {"suffix": "x"},
        "best_of": {"best_of": 3},
        "echo": {"echo": True, "logprobs": 1, "stream": True},
        "max_tokens": {"max_tokens": 0},
        "logprobs": {"logprobs": 21},
        "n": {"n": 129},
    }.items():
        refused(openai.BadRequestError, param, lambda: complete(client, PROMPT, **options))
    for param, prompt in {"prompt": [], "prompt[0]": [[]]}.items():
        refused(openai.BadRequestError, param, lambda: complete(client, prompt))
