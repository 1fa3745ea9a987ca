"""A GGUF of the true Llama architecture whose weights make it write one given text, piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from engines.inference.tests.tiny_gguf import MERGES, SPECIAL_TOKENS, TOOL_TEMPLATE, byte_characters

_CONTROL, _NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
_HEADS = 4


def write_scripted_llama(
    path: Path, pieces: Sequence[bytes], *, context: int = 2048, chat_template: str = TOOL_TEMPLATE
) -> Path:
    """Write a model that answers every conversation with the pieces, each one token, and then ends its turn.

    Attention and feed-forward add nothing, so that a token's successor depends on that token alone: pieces differ.
    """
    assert len(set(pieces)) == len(pieces)
    spelled = byte_characters()
    names = ["".join(spelled[byte] for byte in piece) for piece in pieces]
    vocabulary = [*SPECIAL_TOKENS, *spelled, *(merge.replace(" ", "") for merge in MERGES)]
    first = len(vocabulary)
    assert not set(names) & set(vocabulary)
    vocabulary += names
    size = len(vocabulary)
    width = -(-size // 32) * 32
    # The prompt ends with a line break.
    chain = [vocabulary.index(spelled[10]), *range(first, size), SPECIAL_TOKENS.index("<|im_end|>")]
    successors = np.zeros((size, width), dtype=np.float32)
    for token, successor in itertools.pairwise(chain):
        successors[successor, token] = 1.0
    nothing, ones = np.zeros((width, width), dtype=np.float32), np.ones(width, dtype=np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("scripted llama")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // _HEADS)
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([_CONTROL] * len(SPECIAL_TOKENS) + [_NORMAL] * (size - len(SPECIAL_TOKENS)))
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)
    writer.add_tensor("token_embd.weight", np.eye(size, width, dtype=np.float32))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", successors)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", nothing)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
