"""`/v1/embeddings`: vectors of texts."""

import openai

from .common import check, model, refused


def embed(client, texts, **options):
    return client.embeddings.create(model=model(client).id, input=texts, **options)


@check
def texts_become_vectors_of_length_one(client):
    # The client asks for base64 unless told otherwise, and decodes it.
    reply = embed(client, ["a red square", "Hello!"])
    assert [entry.index for entry in reply.data] == [0, 1]
    for entry in reply.data:
        assert abs(sum(number * number for number in entry.embedding) - 1) < 1e-4
    floats = embed(client, "a red square", encoding_format="float").data[0].embedding
    assert len(floats) == len(reply.data[0].embedding)
    assert max(abs(a - b) for a, b in zip(floats, reply.data[0].embedding)) < 1e-6
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 2


@check
def pooling_is_chosen(client):
    last, mean = (
        embed(client, "a red square", encoding_format="float", extra_body={"secateur": {"pooling": pooling}})
        for pooling in ("last", "mean")
    )
    assert last.data[0].embedding != mean.data[0].embedding


@check
def embeddings_refuse_by_field(client):
    for param, options in {"dimensions": {"dimensions": 3}, "encoding_format": {"encoding_format": "bytes"}}.items():
        refused(openai.BadRequestError, param, lambda: embed(client, "a", **options))
    refused(openai.BadRequestError, "input", lambda: embed(client, []))


@check
def there_is_no_scoring_head(client):
    create = lambda: client.post("/score", body={"text_1": "a", "text_2": "b"}, cast_to=object)
    refused(openai.BadRequestError, "model", create)
