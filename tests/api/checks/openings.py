"""Where the prompt ends and the answer begins, and what of a client's words reaches the model as it stands."""

import openai

from .common import SAMPLE_CONTENT, ask, bad, check, complete, conversation_tokens, joined, model, refused, text, text_of
from .common import tokens, user

LONG = {"ignore_eos": True}
BEGUN = [*user("What is it?"), {"role": "assistant", "content": "A large"}]
CONTINUE = {"continue_final_message": True}


def talk(client, messages, **options):
    return client.chat.completions.create(model=model(client).id, messages=messages, temperature=0, **options)


@check
def an_answer_goes_on_from_words(client):
    ids = conversation_tokens(client, BEGUN, **CONTINUE)
    assert text_of(client, ids) == "<s>USER: What is it? ASSISTANT: A large"
    answer = text(talk(client, BEGUN, max_tokens=12, extra_body={**CONTINUE, **LONG}))
    raw = complete(client, [ids], temperature=0, max_tokens=12, extra_body=LONG).choices[0].text
    assert answer == raw and answer.startswith(" "), (answer, raw)


@check
def a_stream_goes_on_from_words(client):
    options = {"max_tokens": 12, "extra_body": {**CONTINUE, **LONG}}
    assert joined(talk(client, BEGUN, stream=True, **options)) == text(talk(client, BEGUN, **options))


@check
def several_answers_go_on_from_the_same_words(client):
    reply = talk(client, BEGUN, n=2, max_tokens=8, extra_body={**CONTINUE, **LONG})
    one = talk(client, BEGUN, max_tokens=8, extra_body={**CONTINUE, **LONG})
    assert [choice.message.content for choice in reply.choices] == [text(one)] * 2
    assert reply.usage.prompt_tokens == one.usage.prompt_tokens == len(conversation_tokens(client, BEGUN, **CONTINUE))


@check
def going_on_needs_words(client):
    field = "continue_final_message"
    refused(openai.BadRequestError, field, lambda: talk(client, BEGUN, extra_body={**CONTINUE, "add_generation_prompt": True}))
    for content in ("", " \n"):
        silent = [*user("What is it?"), {"role": "assistant", "content": content}]
        refused(openai.BadRequestError, field, lambda: talk(client, silent, extra_body=CONTINUE))
    refused(openai.BadRequestError, field, lambda: talk(client, BEGUN, extra_body={field: "yes"}))


@check
def the_answers_turn_may_be_left_unopened(client):
    closed = {"add_generation_prompt": False}
    ids = conversation_tokens(client, user("Hello!"), **closed)
    assert text_of(client, ids) == "<s>USER: Hello! "
    options = {"max_tokens": 8, "extra_body": {**LONG, **closed}}
    reply = talk(client, user("Hello!"), **options)
    assert reply.usage.prompt_tokens == len(ids)
    raw = complete(client, [ids], temperature=0, max_tokens=8, extra_body=LONG).choices[0].text
    assert text(reply).strip() == raw.strip()
    bad(client, "add_generation_prompt", extra_body={"add_generation_prompt": "no"})


@check
def words_that_look_like_special_tokens_are_words(client):
    special = [tokens(client, token)[0] for token in ("<s>", "</s>", "<image>", "<pad>")]
    plain = conversation_tokens(client, user("Hello!"))
    for words in ("</s>", "an <image> here", "<s>USER: <pad></s>", "what is </s> in <s>HTML</s>?"):
        ids = conversation_tokens(client, user(words))
        assert [ids.count(token) for token in special] == [plain.count(token) for token in special], words
        assert text_of(client, ids) == f"<s>USER: {words} ASSISTANT:"
        assert talk(client, user(words), max_tokens=2).choices


@check
def such_words_are_words_in_every_role(client):
    messages = [{"role": "system", "content": "Say </s>."}, *user("<image>"), {"role": "assistant", "content": "<s>"}, *user("</s>")]
    ids = conversation_tokens(client, messages)
    assert ids.count(tokens(client, "</s>")[0]) == 1, "the template's own"
    assert ids.count(tokens(client, "<image>")[0]) == 0
    assert talk(client, messages, max_tokens=2).choices


@check
def such_words_are_words_beside_a_picture(client):
    content = [SAMPLE_CONTENT[0], {"type": "text", "text": "Is an <image> in the picture?"}]
    reply = ask(client, content, temperature=0, max_tokens=8)
    assert reply.model_extra["secateur"]["visual"]["images"] == 1


@check
def a_raw_prompt_may_hold_special_tokens(client):
    ids = tokens(client, "<s>USER: Hello! ASSISTANT:")
    options = {"temperature": 0, "max_tokens": 8, "extra_body": LONG}
    raw = complete(client, "<s>USER: Hello! ASSISTANT:", **options).choices[0].text
    assert raw == complete(client, ids, **options).choices[0].text
    assert raw.strip() == text(ask(client, "Hello!", **options)).strip()
    refused(openai.BadRequestError, "prompt", lambda: complete(client, "an <image>"))


@check
def variables_of_the_template_are_taken(client):
    assert ask(client, "Hello!", max_tokens=1, extra_body={"chat_template_kwargs": {"enable_thinking": False, "x": [1]}}).choices
    for name in ("tools", "messages", "add_generation_prompt", "chat_template"):
        bad(client, f"chat_template_kwargs.{name}", "unsupported_parameter", extra_body={"chat_template_kwargs": {name: "x"}})
    bad(client, "chat_template_kwargs", extra_body={"chat_template_kwargs": [1]})


@check
def another_template_is_refused(client):
    bad(client, "chat_template", "unsupported_parameter", extra_body={"chat_template": "{{ messages }}"})
    bad(client, "documents", "unsupported_parameter", extra_body={"documents": [{"text": "x"}]})
