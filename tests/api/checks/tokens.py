"""`/tokenize` and `/detokenize`: from text to tokens and back."""

import openai

from .common import ask, check, conversation_tokens, model, refused, text_of, tokens, user

TEXTS = [
    "Hello, world!", "How many red squares are in the picture?", "a\n\tb  c", "x" * 500, "0123456789", "{\"key\": [1, -2.5e3]}",
    "trailing space ", "<tool_call>\n{}\n</tool_call>", "",
]
UNICODE = ["é", "e\u0301", "你好，世界", "👩‍👩‍👧", "\u202eright to left", "\u0000", "\U0010ffff", "Ġ ▁ �", "ﷺ", "Ωμέγα"]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<image>"]


@check
def texts_come_back(client):
    for text in TEXTS:
        assert text_of(client, tokens(client, text)) == text


@check
def every_script_comes_back(client):
    for text in UNICODE:
        assert text_of(client, tokens(client, text)) == text, ascii(text)
    text = "".join(UNICODE)
    assert text_of(client, tokens(client, text)) == text


@check
def special_tokens_come_back(client):
    for token in SPECIAL:
        ids = tokens(client, token)
        assert len(ids) == 1 and text_of(client, ids) == token
    assert text_of(client, tokens(client, "".join(SPECIAL))) == "".join(SPECIAL)
    assert text_of(client, tokens(client, "<s>Hello!</s>")) == "<s>Hello!</s>"


@check
def tokens_come_back_from_their_text(client):
    ids = tokens(client, "The red square is left of the blue circle.")
    assert tokens(client, text_of(client, ids)) == ids


@check
def half_a_character_is_replaced(client):
    ids = tokens(client, "👩")
    assert len(ids) > 1
    assert set(text_of(client, ids[:-1])) == {"\ufffd"}


@check
def tokens_that_there_are_not_are_refused(client):
    for ids in (None, "x", {}, [-1], [1.5], ["1"], [99_999_999], [[1]]):
        refused(openai.BadRequestError, "tokens", lambda: text_of(client, ids), "invalid_request")


@check
def texts_that_are_none_are_refused(client):
    refused(openai.BadRequestError, "prompt", lambda: tokens(client, None))
    refused(openai.BadRequestError, "prompt", lambda: tokens(client, 5))
    refused(openai.BadRequestError, "return_token_strs", lambda: tokens(client, "a", return_token_strs=True), "unsupported_parameter")


@check
def the_prompt_of_a_conversation_can_be_read(client):
    messages = [*user("Hello!"), {"role": "assistant", "content": "Hi."}, *user("And?")]
    prompt = text_of(client, conversation_tokens(client, messages))
    assert prompt == "<s>USER: Hello! ASSISTANT: Hi.</s>USER: And? ASSISTANT:", prompt


@check
def a_conversation_is_counted_as_it_is_used(client):
    for content in ("Hello!", "Wörter 👩‍👧 </s>", "word " * 200):
        count = len(conversation_tokens(client, user(content)))
        assert count == ask(client, content, max_tokens=1).usage.prompt_tokens


@check
def the_count_comes_with_the_longest_context(client):
    body = client.post("/../tokenize", body={"prompt": "Hello!"}, cast_to=object)
    assert set(body) == {"count", "max_model_len", "tokens"} and body["count"] == len(body["tokens"])
    assert body["max_model_len"] == model(client).max_model_len


@check
def a_picture_is_one_token_until_it_is_seen(client):
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}, {"type": "text", "text": "What?"}]
    ids = conversation_tokens(client, user(content))
    assert ids.count(tokens(client, "<image>")[0]) == 1
    assert text_of(client, ids) == "<s>USER: <image>\nWhat? ASSISTANT:"
