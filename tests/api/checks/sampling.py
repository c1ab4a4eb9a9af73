"""Parameters that say how tokens are drawn and what ends an answer."""

from .common import SAMPLE_CONTENT, ask, bad, check, complete, joined, text, tokens, words_and_end

LONG = {"ignore_eos": True}


def words(client, count=24, **options):
    extra = options.pop("extra_body", {})
    return ask(client, "Hello!", max_tokens=count, extra_body={**LONG, **extra}, **options)


@check
def max_tokens_ends_with_length(client):
    reply = words(client, 5, temperature=0)
    assert reply.usage.completion_tokens == 5 and reply.choices[0].finish_reason == "length"


@check
def max_completion_tokens_wins(client):
    reply = ask(client, "Hello!", max_tokens=9, max_completion_tokens=3, extra_body=LONG)
    assert reply.usage.completion_tokens == 3


@check
def what_does_not_fit_into_the_context_is_cut_off(client):
    limit = client.models.list().data[0].max_model_len
    reply = ask(client, "Hello!", temperature=0, max_tokens=limit)
    assert reply.choices[0].finish_reason in ("stop", "length")


@check
def temperature_zero_repeats(client):
    assert len({text(words(client, temperature=0)) for _ in range(3)}) == 1


@check
def a_seed_repeats_a_sample(client):
    options = {"temperature": 1.5, "seed": 7}
    first, second = (text(words(client, **options)) for _ in range(2))
    assert first == second


@check
def other_seeds_draw_others(client):
    assert len({text(words(client, temperature=2, seed=seed)) for seed in range(4)}) > 1


@check
def odd_seeds_are_taken(client):
    for seed in (-1, 0, 2**63, 10**30):
        assert ask(client, "Hello!", max_tokens=1, extra_body={"seed": seed}).choices


@check
def a_tiny_temperature_is_greedy(client):
    assert text(words(client, temperature=1e-300)) == text(words(client, temperature=0))


@check
def top_k_one_is_greedy(client):
    assert text(words(client, temperature=2, seed=3, extra_body={"top_k": 1})) == text(words(client, temperature=0))


@check
def a_tiny_top_p_is_greedy(client):
    assert text(words(client, temperature=2, seed=3, top_p=1e-6)) == text(words(client, temperature=0))


@check
def min_p_one_is_greedy(client):
    assert text(words(client, temperature=2, seed=3, extra_body={"min_p": 1})) == text(words(client, temperature=0))


@check
def a_bias_forces_and_bans_a_token(client):
    drawn = words(client, 1, temperature=0, logprobs=True).choices[0].logprobs.content[0]
    token = client.post("/../tokenize", body={"prompt": "cat", "add_special_tokens": False}, cast_to=object)["tokens"][0]
    forced = words(client, 1, temperature=0, logit_bias={str(token): 100}, logprobs=True).choices[0].logprobs.content[0]
    assert forced.token != drawn.token and forced.token == "cat"[: len(forced.token)], (forced, drawn)
    banned = words(client, 8, temperature=2, seed=1, logit_bias={str(token): -100})
    assert banned.choices


@check
def penalties_change_an_answer(client):
    plain = text(words(client, 48, temperature=0))
    options = [{"frequency_penalty": 2}, {"presence_penalty": 2}, {"extra_body": {"repetition_penalty": 5}}]
    assert any(text(words(client, 48, temperature=0, **option)) != plain for option in options)


@check
def min_tokens_holds_the_end_back(client):
    short = ask(client, SAMPLE_CONTENT, temperature=0)
    longer = short.usage.completion_tokens + 5
    reply = ask(client, SAMPLE_CONTENT, temperature=0, extra_body={"min_tokens": longer})
    assert reply.usage.completion_tokens >= longer


@check
def ignore_eos_goes_on_to_the_limit(client):
    reply = ask(client, SAMPLE_CONTENT, temperature=0, max_tokens=40, extra_body=LONG)
    assert reply.usage.completion_tokens == 40 and reply.choices[0].finish_reason == "length"


@check
def a_stop_text_is_cut_off(client):
    whole = text(words(client, 40, temperature=0))
    for start in range(1, len(whole) - 3, 3):
        stop = whole[start : start + 3]
        reply = words(client, 40, temperature=0, stop=stop)
        expected = whole[: whole.index(stop)]
        assert text(reply) == expected and reply.choices[0].finish_reason == "stop", (stop, text(reply))


@check
def the_first_of_several_stop_texts_counts(client):
    whole = text(words(client, 40, temperature=0))
    stops = [whole[20:23], whole[6:9], "never there"]
    expected = min(whole.index(stop) for stop in stops[:2])
    assert text(words(client, 40, temperature=0, stop=stops)) == whole[:expected]


@check
def stop_token_ids_end_an_answer(client):
    entry = words(client, 3, temperature=0, logprobs=True).choices[0].logprobs.content
    body = {"prompt": entry[0].token, "add_special_tokens": False}
    ids = client.post("/../tokenize", body=body, cast_to=object)["tokens"]
    reply = words(client, 3, temperature=0, extra_body={"stop_token_ids": ids})
    assert reply.usage.completion_tokens <= 3


@check
def log_probabilities_are_there_and_true(client):
    reply = words(client, 6, temperature=0, logprobs=True, top_logprobs=5)
    entries = reply.choices[0].logprobs.content
    assert len(entries) == 6
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 5
        assert entry.top_logprobs[0].logprob == max(top.logprob for top in entry.top_logprobs)
        assert entry.token == entry.top_logprobs[0].token, "greedy draws the likeliest"
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == text(reply)


@check
def logprobs_without_alternatives(client):
    entry = words(client, 1, logprobs=True).choices[0].logprobs.content[0]
    assert entry.top_logprobs == []


@check
def a_stop_text_may_be_shown(client):
    whole = text(words(client, 40, temperature=0))
    for start in range(1, len(whole) - 4, 9):
        stop = whole[start : start + 4]
        options = {"temperature": 0, "stop": [stop, "never there"], "extra_body": {"include_stop_str_in_output": True}}
        reply = words(client, 40, **options)
        assert text(reply) == whole[: whole.index(stop) + 4] and reply.choices[0].finish_reason == "stop"
        assert joined(words(client, 40, stream=True, **options)) == text(reply)
    bad(client, "include_stop_str_in_output", extra_body={"include_stop_str_in_output": "yes"})


@check
def a_stop_text_may_be_shown_in_completions(client):
    whole = complete(client, "The red square", temperature=0, max_tokens=24, extra_body=LONG).choices[0].text
    stop = whole[5:9]
    shown = {**LONG, "include_stop_str_in_output": True}
    reply = complete(client, "The red square", temperature=0, max_tokens=24, stop=stop, extra_body=shown)
    assert reply.choices[0].text == whole[: whole.index(stop) + 4]


@check
def bytes_of_tokens_join_to_the_answer(client):
    said = "é 👩‍👧 你好, a red square"
    options = {"temperature": 0, "max_tokens": 100, "logprobs": True, "top_logprobs": 3}
    reply = ask(client, "Hello!", extra_body=words_and_end(client, said), **options)
    entries = reply.choices[0].logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == text(reply) == said
    assert len(entries) == reply.usage.completion_tokens == len(tokens(client, said))
    assert all(len(entry.top_logprobs) == 3 and all(top.bytes for top in entry.top_logprobs) for entry in entries)


@check
def given_tokens_come_first(client):
    ids = tokens(client, "a red square")
    field = {"secateur": {"forced_token_ids": ids}}
    entries = words(client, len(ids) + 4, temperature=0, logprobs=True, extra_body=field).choices[0].logprobs.content
    assert "".join(entry.token for entry in entries).startswith("a red square") and len(entries) == len(ids) + 4
    bad(client, "secateur.forced_token_ids", extra_body={"secateur": {"forced_token_ids": [99_999_999]}})


@check
def tokens_may_be_told_as_ids(client):
    entries = words(client, 4, temperature=0, logprobs=True, extra_body={"return_tokens_as_token_ids": True}).choices[0].logprobs.content
    plain = words(client, 4, temperature=0, logprobs=True).choices[0].logprobs.content
    assert all(entry.token.startswith("token_id:") for entry in entries)
    assert [entry.bytes for entry in entries] == [entry.bytes for entry in plain]


@check
def alternatives_come_in_order(client):
    for entry in words(client, 6, temperature=1, seed=2, logprobs=True, top_logprobs=20).choices[0].logprobs.content:
        numbers = [top.logprob for top in entry.top_logprobs]
        assert numbers == sorted(numbers, reverse=True) and len({top.token for top in entry.top_logprobs}) >= 19
