"""Embeddings as OpenAI's own client sends and reads them."""

import base64
import json
import struct

import openai
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai.text._embedding import read_embedding

BODY_LIMIT = 1 << 20
VECTORS = [[0.25, -0.5, 1.0], [1e-8, 3.0, 0.1]]


def embedded():
    response = generation_pb2.EmbedResponse(model="mini")
    for vector in VECTORS:
        response.embeddings.add(values=vector)
    response.usage.cost_nanos = 9
    response.usage.units.add(unit=1, amount=6)
    return response


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_vectors_are_equal_in_every_encoding(bench, encoding):
    bench.engine.embedding = embedded()
    extra = {"encoding_format": encoding} if encoding else {}
    answer = await bench.client.embeddings.create(model="auto", input=["a", "b"], dimensions=3, **extra)
    assert [entry.index for entry in answer.data] == [0, 1]
    expected = [list(embedding.values) for embedding in embedded().embeddings]
    if encoding == "base64":
        got = [list(struct.unpack("<3f", base64.b64decode(entry.embedding))) for entry in answer.data]
    else:
        got = [list(map(float, entry.embedding)) for entry in answer.data]
    assert got == expected
    assert (answer.model, answer.object) == ("mini", "list")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.usage.cost_nanos) == (6, 6, 9)
    asked = bench.engine.asked[0]
    assert (asked.model, list(asked.inputs), asked.dimensions) == ("auto", ["a", "b"], 3)


async def test_one_text(bench):
    bench.engine.embedding = embedded()
    await bench.client.embeddings.create(model="auto", input="a")
    assert list(bench.engine.asked[0].inputs) == ["a"]


async def test_failure_is_openais_error(bench):
    bench.engine.embedding = ServiceError(Reason.UNSUPPORTED_CAPABILITY, "tiny makes no embeddings.")
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        await bench.client.embeddings.create(model="tiny", input="a")


async def test_too_large_a_body(bench):
    response = await bench.post("/v1/embeddings", b" " * (BODY_LIMIT + 1))
    assert response.status_code == 413
    assert str(BODY_LIMIT) in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1]]}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"user": 5}, "user"),
        ({"inputs": "x"}, "inputs"),
    ],
)
def test_refusals_name_the_parameter(extra, param):
    with pytest.raises(ServiceError) as raised:
        read_embedding(json.dumps({"model": "m", "input": "x"} | extra).encode())
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == param
