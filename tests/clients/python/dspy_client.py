"""DSPy: a signature predicted through its adapters."""

from __future__ import annotations

import os

import dspy
import litellm

# DSPy asks LiteLLM's table what a model can do; one that is not in it is said to be able to do nothing.
NAME = f"openai/{os.environ['MODEL']}"
litellm.register_model({NAME: {"litellm_provider": "openai", "mode": "chat", "supports_response_schema": True}})

model = dspy.LM(NAME, max_tokens=96, cache=False, num_retries=0, temperature=0)
assert model("Tell me a story")[0]
with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
    answer = dspy.Predict("question -> slices: bool")(question="Has the loaf slices?")
assert answer.slices in (True, False)

print("passed")
