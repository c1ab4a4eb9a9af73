"""Several answers to one request."""

from .common import SAMPLE, SAMPLE_CONTENT, ask, check

LONG = {"ignore_eos": True}


@check
def n_answers_come_in_order(client):
    # The demo is sure of what it says: only flat logits make it say different things.
    reply = ask(client, "Hello!", n=3, max_tokens=48, temperature=2, seed=5, extra_body=LONG)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in reply.choices}) > 1
    assert reply.usage.completion_tokens == 144


@check
def the_first_of_n_is_the_one_alone(client):
    options = {"max_tokens": 8, "temperature": 1.5, "seed": 5, "extra_body": LONG}
    several = ask(client, "Hello!", n=2, **options).choices
    assert several[0].message.content == ask(client, "Hello!", **options).choices[0].message.content


@check
def n_greedy_answers_are_the_same(client):
    reply = ask(client, SAMPLE_CONTENT, n=2, temperature=0)
    assert [choice.message.content for choice in reply.choices] == [SAMPLE["answer"]] * 2


@check
def the_prompt_of_n_answers_is_counted_once(client):
    one, three = (ask(client, "Hello!", n=n, max_tokens=2).usage for n in (1, 3))
    assert one.prompt_tokens == three.prompt_tokens


@check
def the_receipt_of_n_answers_sums_up(client):
    receipt = ask(client, SAMPLE_CONTENT, n=2, temperature=0).model_extra["secateur"]
    assert len(receipt["choices"]) == 2
    assert receipt["transfer"]["bytes_sent"] == sum(each["transfer"]["bytes_sent"] for each in receipt["choices"])


@check
def n_streams_are_told_apart(client):
    options = {"max_tokens": 8, "temperature": 1.5, "seed": 5, "extra_body": LONG}
    whole = ask(client, "Hello!", n=3, **options)
    joined, roles, ends = {}, set(), {}
    for chunk in ask(client, "Hello!", n=3, stream=True, stream_options={"include_usage": True}, **options):
        for choice in chunk.choices:
            if choice.delta.role:
                roles.add(choice.index)
            assert choice.index in roles, "the role comes first"
            joined[choice.index] = joined.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                assert choice.index not in ends, "one finish reason for each choice"
                ends[choice.index] = choice.finish_reason
    assert joined == {choice.index: choice.message.content for choice in whole.choices}
    assert sorted(ends) == [0, 1, 2]
    assert chunk.usage.completion_tokens == 24 and chunk.model_extra["secateur"]["choices"]


@check
def n_with_log_probabilities(client):
    reply = ask(client, "Hello!", n=2, max_tokens=3, logprobs=True, top_logprobs=2, extra_body=LONG)
    assert all(len(choice.logprobs.content) == 3 for choice in reply.choices)


@check
def each_choice_has_the_next_seed(client):
    options = {"max_tokens": 12, "temperature": 2, "extra_body": LONG}
    several = [choice.message.content for choice in ask(client, "Hello!", n=3, seed=5, **options).choices]
    alone = [ask(client, "Hello!", seed=5 + index, **options).choices[0].message.content for index in range(3)]
    assert several == alone and len(set(alone)) == 3


@check
def tokens_of_all_choices_are_counted(client):
    reply = ask(client, SAMPLE_CONTENT, n=3, temperature=0)
    one = ask(client, SAMPLE_CONTENT, temperature=0)
    assert reply.usage.completion_tokens == 3 * one.usage.completion_tokens
    assert reply.usage.total_tokens == one.usage.prompt_tokens + reply.usage.completion_tokens


@check
def choices_end_each_for_itself(client):
    options = {"temperature": 2, "seed": 1, "max_tokens": 60}
    whole = ask(client, "Hello!", n=6, **options)
    ends = {choice.index: choice.finish_reason for choice in whole.choices}
    seen = {}
    for chunk in ask(client, "Hello!", n=6, stream=True, **options):
        for choice in chunk.choices:
            assert choice.index not in seen, "nothing follows a finish reason"
            if choice.finish_reason:
                seen[choice.index] = choice.finish_reason
    assert seen == ends and set(ends) == set(range(6))
