"""Payloads: two releases understand each other, and sizes are those that travel."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import DataConverter, JSONProtoPayloadConverter

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentOutput
from stigma.contracts import json_text, payloads
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    Bind,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
)

CONVERTER = payloads.DATA_CONVERTER.payload_converter
UNKNOWN = b"\xa2\x06\x03new"  # field 100, of a later release

texts = st.text()
outputs = st.builds(AgentOutput, text=texts, json=texts, truncated=st.booleans())


@given(outputs)
def test_a_message_travels_as_json_and_comes_back(output: AgentOutput) -> None:
    (payload,) = CONVERTER.to_payloads([output])
    assert payload.metadata["encoding"] == b"json/protobuf"
    assert CONVERTER.from_payloads([payload], [AgentOutput]) == [output]


@pytest.mark.parametrize(
    "message",
    [
        Bind(token=b"token", spec_digest=b"digest"),
        DeliverCallbackRequest(execution_id="agent-1", token=b"token"),
        DeliverCallbackResponse(verdict=DELIVERY_VERDICT_DELIVERED),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_only_connects_the_services_is_binary(message: Message) -> None:
    (payload,) = CONVERTER.to_payloads([message])
    assert payload.metadata["encoding"] == b"binary/protobuf"
    payload.data += UNKNOWN
    (read,) = CONVERTER.from_payloads([payload], [type(message)])
    assert message.SerializeToString() + UNKNOWN == read.SerializeToString()


def test_a_bind_of_0_1_0_is_read() -> None:
    bind = Bind(token=b"token", spec_digest=b"digest")
    payload = JSONProtoPayloadConverter().to_payload(bind)
    assert payload is not None
    assert CONVERTER.from_payloads([payload], [Bind]) == [bind]


@given(outputs)
def test_what_we_write_the_sdk_reads(output: AgentOutput) -> None:
    (payload,) = CONVERTER.to_payloads([output])
    sdk = DataConverter.default.payload_converter
    assert sdk.from_payloads([payload], [AgentOutput]) == [output]


@given(outputs)
def test_the_size_is_that_of_the_payload(output: AgentOutput) -> None:
    assume(output.ByteSize())
    (payload,) = CONVERTER.to_payloads([output])
    size = len(payload.data)
    assert payloads.json_size_if_over(size - 1, output) == size
    assert payloads.json_size_if_over(size, output) == 0


def test_binary_is_measured_only_when_its_json_may_be_over_the_limit() -> None:
    assert payloads.json_size_if_over(20_000, AgentOutput(text="x" * 1000)) == 0
    assert (
        payloads.json_size_if_over(1000, AgentOutput(text="x" * 1000)) == len('{"text":""}') + 1000
    )


def test_letters_beyond_ascii_are_not_made_longer() -> None:
    assert payloads.json_size_if_over(2000, AgentOutput(text="ж" * 1000)) < 2100


def test_json_with_an_unknown_field_is_read() -> None:
    (payload,) = CONVERTER.to_payloads([AgentOutput(text="42")])
    payload.data = json.dumps(json.loads(payload.data) | {"laterField": {"deep": [1]}}).encode()
    assert CONVERTER.from_payloads([payload], [AgentOutput]) == [AgentOutput(text="42")]
    assert payloads.from_raw(RawValue(payload), AgentOutput) == AgentOutput(text="42")


def test_a_binary_message_with_an_unknown_field_is_read() -> None:
    payload = payloads.binary_payload(AgentOutput(text="42"))
    payload.data += UNKNOWN
    assert payloads.from_raw(RawValue(payload), AgentOutput).text == "42"
    (read,) = CONVERTER.from_payloads([payload], [AgentOutput])
    assert read.text == "42"


@pytest.mark.parametrize("value", [None, b"bytes", {"plain": [1, "two"]}, "text", 3])
def test_other_values_travel_as_the_sdk_sends_them(value: object) -> None:
    ours = CONVERTER.to_payloads([value])
    assert ours == DataConverter.default.payload_converter.to_payloads([value])
    assert CONVERTER.from_payloads(ours) == [value]


@given(outputs)
def test_a_raw_message_is_binary_and_comes_back(output: AgentOutput) -> None:
    raw = payloads.to_binary_payload(output)
    assert raw.payload.metadata["encoding"] == b"binary/protobuf"
    assert raw.payload.metadata["messageType"] == b"stigma.agent.v1.AgentOutput"
    assert payloads.from_raw(raw, AgentOutput) == output


def test_a_bind_keeps_its_token_to_the_byte() -> None:
    bind = Bind(token=bytes(range(256)), spec_digest=b"\x00\xff")
    assert CONVERTER.from_payloads(CONVERTER.to_payloads([bind]), [Bind]) == [bind]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [(b"binary/protobuf", b"\x00odd"), (b"json/protobuf", b"[1]"), (b"json/protobuf", b"\xff")],
)
def test_what_cannot_be_decoded_is_refused_without_being_quoted(
    encoding: bytes, data: bytes
) -> None:
    payload = Payload(metadata={"encoding": encoding}, data=data)
    with pytest.raises(ValueError, match=r"^not a stigma\.agent\.v1\.AgentOutput$"):
        payloads.from_raw(RawValue(payload), AgentOutput)


def test_another_encoding_is_refused() -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
    with pytest.raises(ValueError, match="AgentExecution, got a payload encoded 'json/plain'"):
        payloads.from_raw(RawValue(payload), AgentExecution)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(json_values)
def test_a_json_value_is_plain_json(value: object) -> None:
    payload = payloads.json_payload(value)
    assert payload.metadata["encoding"] == b"json/plain"
    assert json.loads(payload.data) == value


def test_json_text_passes_unchanged() -> None:
    text = '{"n": 12345678901234567890,  "spaces": "kept"}'
    assert payloads.json_text_payload(text).data == text.encode()


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    assert json_text.replace_surrogates("half \ud83d, whole \U0001f600, é") == (
        "half \ufffd, whole \U0001f600, é"
    )
