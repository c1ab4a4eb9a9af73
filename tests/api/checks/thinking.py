"""Reasoning: told from the answer, and given back to the template. The demo does not think, so its words are put into its
mouth."""

from .common import ask, bad, check, conversation_tokens, front_check, joined, model, text, text_of, tokens, user, words_and_end

THOUGHT = "The picture\nhas a hint."
SAID = f"<think>\n{THOUGHT}\n</think>\n\nIt is red."
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def say(client, words, **options):
    extra = {**words_and_end(client, words), **options.pop("extra_body", {})}
    return ask(client, "What is it?", extra_body=extra, **{"temperature": 0, "max_tokens": 200, **options})


def thought(message):
    return (message.model_extra or {}).get("reasoning_content")


@front_check
def reasoning_is_told_from_the_answer(client):
    message = say(client, SAID).choices[0].message
    assert thought(message) == THOUGHT and message.content == "It is red."


@front_check
def reasoning_comes_first_in_a_stream(client):
    kinds, parts = [], {"reasoning_content": "", "content": ""}
    for chunk in say(client, SAID, stream=True):
        delta = chunk.choices[0].delta
        for kind, part in (("reasoning_content", thought(delta)), ("content", delta.content)):
            if part:
                kinds.append(kind)
                parts[kind] += part
    assert parts == {"reasoning_content": THOUGHT, "content": "It is red."}, parts
    assert kinds == sorted(kinds, reverse=True) and kinds.count("reasoning_content") > 1, kinds


@front_check
def an_answer_without_thought_has_no_field_for_it(client):
    raw = client.chat.completions.with_raw_response.create(
        model=model(client).id, messages=user("Hello!"), max_tokens=4, extra_body=words_and_end(client, " Hello")
    )
    assert "reasoning_content" not in raw.http_response.json()["choices"][0]["message"]


@front_check
def reasoning_may_be_left_out(client):
    whole, hidden = say(client, SAID), say(client, SAID, extra_body={"include_reasoning": False})
    assert text(hidden) == "It is red." and thought(hidden.choices[0].message) is None
    assert hidden.usage.completion_tokens == whole.usage.completion_tokens, "it was drawn all the same"
    assert joined(say(client, SAID, stream=True, extra_body={"include_reasoning": False})) == "It is red."


@front_check
def reasoning_that_is_cut_off_is_no_answer(client):
    reply = say(client, SAID, max_tokens=len(tokens(client, "<think>\nThe picture")))
    assert reply.choices[0].finish_reason == "length" and not text(reply)
    assert thought(reply.choices[0].message) == "The picture"


@front_check
def a_mark_inside_an_answer_is_text(client):
    for words in ("It is <think>red</think>.", "a < b", "<thin", "</think>"):
        message = say(client, words).choices[0].message
        assert message.content == words and thought(message) is None, message


@front_check
def reasoning_comes_before_a_call(client):
    message = say(client, f"<think>\n{THOUGHT}\n</think>\n\n{CALL}", tools=TOOLS).choices[0].message
    assert thought(message) == THOUGHT and message.tool_calls[0].function.name == "f" and not (message.content or "").strip()
    within = say(client, f"<think>\n{CALL}\n</think>\n\nNo.", tools=TOOLS).choices[0].message
    assert not within.tool_calls and within.content == "No." and thought(within) == CALL, "a thought of a call is no call"


@front_check
def reasoning_goes_back_to_the_template(client):
    for field in ("reasoning_content", "reasoning"):
        messages = [*user("What is it?"), {"role": "assistant", "content": "It is red.", field: THOUGHT}, *user("Sure?")]
        prompt = text_of(client, conversation_tokens(client, messages))
        assert f"ASSISTANT: {SAID}</s>" in prompt, prompt


@front_check
def an_effort_reaches_a_template_that_reads_it(client):
    prompt = text_of(client, conversation_tokens(client, user("Hello!"), reasoning_effort="high"))
    assert "EFFORT: high " in prompt
    assert "EFFORT" not in text_of(client, conversation_tokens(client, user("Hello!"), reasoning_effort="none"))
    assert ask(client, "Hello!", max_tokens=1, reasoning_effort="low").choices


@check
def an_effort_is_refused_where_the_template_reads_none(client):
    for effort in ("minimal", "low", "medium", "high"):
        bad(client, "reasoning_effort", "unsupported_parameter", reasoning_effort=effort)
    assert ask(client, "Hello!", max_tokens=1, reasoning_effort="none").choices


@check
def without_marks_in_the_template_all_is_answer(client):
    message = say(client, SAID).choices[0].message
    assert message.content == SAID and thought(message) is None


@check
def bounds_on_thinking_are_refused_by_name(client):
    for field, value in {"thinking_token_budget": 10, "thinking": {"type": "enabled"}, "enable_thinking": True}.items():
        bad(client, field, "unsupported_parameter", extra_body={field: value})
    bad(client, "include_reasoning", extra_body={"include_reasoning": "no"})
