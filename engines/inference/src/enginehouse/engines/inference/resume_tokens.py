"""Resume tokens: signed receipts for the tokens of an answer, by which another engine can continue it.

Only tokens that an engine of this mesh made for the very same request may be read again at the price of cached input,
and only where this engine would have made the same ones. So a receipt signs the request, everything that determines its
output (`PreparedRequest.output_key`) and the tokens so far; it is not valid if one of them changes.
"""

from __future__ import annotations

import array
import hashlib
import hmac
from collections.abc import Iterable

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import PreparedRequest
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys

_PURPOSE = b"enginehouse receipt v1\0"


class ResumeTokens:
    """The issuer of receipts, which accepts those of other engines with the same keys.

    Args:
        keys: the keys that grants are signed with, which every engine has.
    """

    def __init__(self, *, keys: GrantKeys) -> None:
        self._keys = keys

    def open(
        self, request: generation_pb2.GenerateRequest, prepared: PreparedRequest, *, request_id: str, model: str
    ) -> ResumeToken | None:
        """Return the resume token of an answer, which begins after the tokens that the request resumes from.

        Args:
            request: the request as it came.
            prepared: the same request, prepared for the model.
            request_id: the request's id, by the grant.
            model: the model that serves.

        Returns:
            None where the answer is not to be, or cannot be, resumable.

        Raises:
            ServiceError: RESUME_IMPOSSIBLE where this engine cannot continue the answer exactly.
        """
        resumed = request.HasField("resume")
        if not prepared.output_key:
            if resumed:
                raise _impossible(f"model {model!r} cannot continue such an answer exactly on this engine")
            return None
        token = ResumeToken(self._keys, _scope(request, prepared.output_key, request_id, model))
        if resumed:
            token.add(request.resume.token_ids)
            if not token.accepts(request.resume.receipt):
                raise _impossible(
                    "the receipt is not valid for these tokens of this request on an engine that computes exactly as "
                    "this one; send every field as it was, and all token ids up to the last receipt"
                )
        return token


class ResumeToken:
    """The digest of one answer's tokens so far, for which it issues and checks receipts. Made by
    `ResumeTokens.open`.
    """

    def __init__(self, keys: GrantKeys, scope: bytes) -> None:
        self._keys = keys
        self._so_far = hashlib.sha256(scope)

    def add(self, token_ids: Iterable[int]) -> None:
        """Add the next tokens."""
        self._so_far.update(array.array("i", token_ids).tobytes())

    def receipt(self) -> bytes:
        """Return the receipt for the tokens so far: a key's id and a signature."""
        key_id = self._keys.current_id
        return key_id.encode() + b":" + self._word(key_id)

    def accepts(self, receipt: bytes) -> bool:
        """Return whether the receipt is valid for the tokens so far."""
        name, _, word = receipt.partition(b":")
        key_id = name.decode("latin-1")
        return self._keys.secret(key_id) is not None and hmac.compare_digest(word, self._word(key_id))

    def _word(self, key_id: str) -> bytes:
        word = self._keys.mac(key_id, _PURPOSE + self._so_far.digest())
        assert word is not None
        return word


def seeded(request: generation_pb2.GenerateRequest, request_id: str) -> generation_pb2.GenerateRequest:
    """Return the request with a seed: its own, or one derived from its id, so that every attempt samples alike."""
    if request.sampling.HasField("seed"):
        return request
    copy = generation_pb2.GenerateRequest()
    copy.CopyFrom(request)
    copy.sampling.seed = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4], "big")
    return copy


def _scope(request: generation_pb2.GenerateRequest, output_key: bytes, request_id: str, model: str) -> bytes:
    asked = generation_pb2.GenerateRequest()
    asked.CopyFrom(request)
    asked.ClearField("resume")
    asked.request_id = request_id
    # The router may have replaced "auto" by a name.
    asked.model = model
    return hashlib.sha256(asked.SerializeToString(deterministic=True) + output_key).digest()


def _impossible(why: str) -> ServiceError:
    return ServiceError(Reason.RESUME_IMPOSSIBLE, f"the answer cannot be continued: {why}")
