"""A GGUF of the true Llama architecture with random weights, which proves code paths, not sense.

Its tokenizer is byte-level with a few merges, so any text can be read and its output is arbitrary bytes.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("t h", "th e", "Ġ the", "i n", "e r", "a n", "Ġ a", "o n", "Ġ s", "r e")

PLAIN_TEMPLATE = (
    "{%- if messages[0]['role'] == 'assistant' %}{{ raise_exception('A conversation begins with the user') }}"
    "{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Knows of no tools."""

TOOL_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\nYou may call functions.\n<tools>{% for tool in tools %}\n{{ tool | tojson }}"
    "{% endfor %}\n</tools>\nFor each call, return a json object within <tool_call></tool_call> XML tags:\n"
    "<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n{% endif %}'
    "{%- for message in messages %}{%- if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ message.content }}\n</tool_response><|im_end|>\n"
    "{%- else %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}{%- if message.tool_calls %}"
    "{%- for tool_call in message.tool_calls %}\n<tool_call>\n"
    '{"name": "{{ tool_call.function.name }}", "arguments": {{ tool_call.function.arguments | tojson }}}'
    "\n</tool_call>{%- endfor %}{%- endif %}<|im_end|>\n{%- endif %}{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Writes tools and calls as Hermes and Qwen models do, which llama.cpp reads by itself."""


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE vocabularies (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {}
    spare = 0x100
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(spare)
            spare += 1
    return [table[byte] for byte in range(256)]


def write_tiny_llama(
    path: Path,
    *,
    seed: int = 7,
    context: int = 1024,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    chat_template: str = PLAIN_TEMPLATE,
    quantised: bool = False,
) -> Path:
    """Write the model and return `path`. Matrices are Q8_0 where `quantised`, else F32."""
    vocabulary = [*SPECIAL_TOKENS, *byte_characters(), *(merge.replace(" ", "") for merge in MERGES)]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS) + [gguf.TokenType.NORMAL] * (len(vocabulary) - 3)
    hidden = width * 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny random llama")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)

    random = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.3).astype(np.float32)

    def add_matrix(name: str, *shape: int) -> None:
        if quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(weights(*shape), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weights(*shape))

    add_matrix("token_embd.weight", len(vocabulary), width)
    writer.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    add_matrix("output.weight", len(vocabulary), width)
    for layer in range(layers):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", np.ones(width, dtype=np.float32))
        writer.add_tensor(block + "ffn_norm.weight", np.ones(width, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add_matrix(f"{block}{name}.weight", width, width)
        add_matrix(block + "ffn_gate.weight", hidden, width)
        add_matrix(block + "ffn_up.weight", hidden, width)
        add_matrix(block + "ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
