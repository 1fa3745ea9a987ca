"""The catalog of the routers under test."""

CATALOG = """
aliases: {gpt-4o-mini: auto, author: large, sleeper: asleep}
models:
  - name: small
    cluster: inference
    backend: llama.cpp
    source: bundled:small.gguf
    context_tokens: 4096
    max_output_tokens: 256
    capabilities: [chat, completion, tools, json_schema]
    quality: 0.5
    prices: {input_tokens: 50000000, cached_input_tokens: 5000000, output_tokens: 200000000}
  - name: large
    cluster: inference
    backend: vllm
    source: hf:org/repo/file
    context_tokens: 32768
    max_output_tokens: 1024
    capabilities: [chat, completion, tools, json_schema]
    quality: 0.9
    prices: {input_tokens: 500000000, output_tokens: 2000000000}
  - name: vectors
    cluster: inference
    backend: llama.cpp
    source: bundled:vectors.gguf
    context_tokens: 512
    capabilities: [embeddings]
    quality: 0.5
    prices: {input_tokens: 1000000}
  - name: asleep
    cluster: inference
    backend: llama.cpp
    source: bundled:asleep.gguf
    context_tokens: 512
    capabilities: [chat]
    quality: 0.1
    prices: {}
"""
