"""Export of a trained model and its tokenizer as one GGUF file that llama.cpp can load.

Matrices are stored as Q8_0, norms as F32; the embedding table doubles as the output layer, so there
is no output tensor. Query and key rows are reordered because llama.cpp rotates neighbouring pairs.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, TokenType
from tokenizers import Tokenizer

from engines.inference.training.storymodel.model import ModelShape, StoryModel
from engines.inference.training.storymodel.tokenizer import (
    CHAT_TEMPLATE,
    DOCUMENT_ID,
    PRE_TOKENIZER,
    SPECIAL_TOKENS,
    TURN_END_ID,
)

NAME = "enginehouse-tiny"
DESCRIPTION = "A very small story model trained from scratch; see MODEL_CARD.md beside this file."
FloatArray = npt.NDArray[np.float32]


def interleave_heads(weight: FloatArray, *, heads: int) -> FloatArray:
    """Reorder ``(heads * head_width, width)`` rows from half-split to neighbouring-pair rotation."""
    rows, width = weight.shape
    split = weight.reshape(heads, 2, rows // heads // 2, width)
    return split.swapaxes(1, 2).reshape(rows, width)


def tensor_names(shape: ModelShape) -> dict[str, str]:
    """From this project's parameter names to llama.cpp's."""
    names = {"embedding.weight": "token_embd.weight", "final_norm.weight": "output_norm.weight"}
    parts = {
        "attention_norm": "attn_norm",
        "attention.q": "attn_q",
        "attention.k": "attn_k",
        "attention.v": "attn_v",
        "attention.out": "attn_output",
        "feed_norm": "ffn_norm",
        "feed.gate": "ffn_gate",
        "feed.up": "ffn_up",
        "feed.down": "ffn_down",
    }
    for layer in range(shape.layers):
        for ours, theirs in parts.items():
            names[f"blocks.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    return names


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Vocabulary, merges, special tokens and the chat template."""
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    control = set(SPECIAL_TOKENS)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([token for token, _ in by_id])
    writer.add_token_types([TokenType.CONTROL if t in control else TokenType.NORMAL for t, _ in by_id])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(DOCUMENT_ID)
    writer.add_eos_token_id(DOCUMENT_ID)
    writer.add_eot_token_id(TURN_END_ID)
    writer.add_pad_token_id(DOCUMENT_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def export(model: StoryModel, tokenizer: Tokenizer, output: Path, *, context: int | None = None) -> None:
    """Write ``output``; the same checkpoint gives the same bytes.

    ``context``, in tokens, declares a shorter context than the longest row of the training, the length
    at which quality holds.
    """
    shape = model.shape
    output.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(output), "llama")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license("Apache-2.0")
    writer.add_languages(["en", "te"])
    writer.add_context_length(context or shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, tokenizer)
    parameters = model.state_dict()
    for ours, theirs in tensor_names(shape).items():
        weight: FloatArray = parameters[ours].float().numpy()
        if ours.endswith("attention.q.weight"):
            weight = interleave_heads(weight, heads=shape.heads)
        elif ours.endswith("attention.k.weight"):
            weight = interleave_heads(weight, heads=shape.kv_heads)
        if weight.ndim == 1:
            writer.add_tensor(theirs, weight)
            continue
        packed = gguf.quantize(weight, GGMLQuantizationType.Q8_0)
        writer.add_tensor(theirs, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
