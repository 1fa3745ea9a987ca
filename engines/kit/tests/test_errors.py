from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.common.v1 import errors_pb2
from enginehouse.kit.errors import (
    HTTP_STATUS,
    STATUS_CODES,
    FieldViolation,
    Reason,
    ServiceError,
    from_status,
    to_status,
)


def test_reasons_are_those_of_the_contract_each_with_the_code_that_its_comment_names() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number}
    assert {reason.value for reason in Reason} == names
    assert set(STATUS_CODES) == set(Reason)
    assert set(HTTP_STATUS) == set(grpc.StatusCode)


def test_status_codes_are_those_in_the_comments_of_the_contract() -> None:
    proto = Path(__file__).parents[3] / "proto/enginehouse/api/common/v1/errors.proto"
    documented = re.findall(
        r"^  // ([A-Z_]+)(?: with RetryInfo)?: .*\n(?:  //.*\n)*  ERROR_REASON_([A-Z_]+) =",
        proto.read_text(),
        re.MULTILINE,
    )
    assert {Reason(reason): code for code, reason in documented} == {
        reason: code.name for reason, code in STATUS_CODES.items()
    }


text = st.text(max_size=50)


@given(
    st.sampled_from(Reason),
    text,
    st.lists(st.builds(FieldViolation, text, text), max_size=5),
    st.none() | st.floats(0, 3600),
    st.dictionaries(text, text, max_size=3),
)
def test_an_error_survives_the_wire(
    reason: Reason,
    message: str,
    violations: list[FieldViolation],
    retry_after_s: float | None,
    metadata: dict[str, str],
) -> None:
    error = ServiceError(reason, message, violations=violations, retry_after_s=retry_after_s, metadata=metadata)
    status = to_status(error)
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    back = from_status(type(status).FromString(status.SerializeToString()))
    assert back is not None
    assert (back.reason, back.message, back.violations) == (reason, message, tuple(violations))
    assert back.metadata == metadata
    if retry_after_s is None:
        assert back.retry_after_s is None
    else:
        assert back.retry_after_s == pytest.approx(retry_after_s, abs=0.001)


def test_an_error_of_any_length_fits_into_trailers_and_is_valid_text() -> None:
    violations = [FieldViolation("f" * 5000, "d\ud800" * 5000)] * 500
    status = to_status(ServiceError(Reason.INVALID_REQUEST, "\ud800" + "x" * 100_000, violations=violations))
    assert len(status.SerializeToString()) < 8 * 1024


def test_a_status_of_others_is_not_ours() -> None:
    status = to_status(ServiceError(Reason.INTERNAL, "x"))
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain="example.com")
    status.details[0].Pack(info)
    assert from_status(status) is None
