"""Lets XTTS's GPT write its codes, one at a time, and gives the latent of each.

The library's own loops cannot be left between two codes, and draw from the process's one random generator. This one
draws from a generator of its own: the same text in the same voice sounds the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch  # type: ignore[import-not-found]
from transformers import DynamicCache  # type: ignore[import-not-found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How codes are drawn, as the model's config.json says."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float


def latents(
    gpt: Any, *, voice: Any, text: Any, sampling: Sampling, seed: int, check: Callable[[], None]
) -> Iterator[Any]:
    """Yield the latents (each of the model's channels), up to the stop code's or the most that the model can hold.

    Args:
        gpt: the model's GPT, ready for inference.
        voice: the conditioning latents, (1, count, channels).
        text: the text's tokens, (1, count).
        sampling: how codes are drawn.
        seed: what the draws begin from.
        check: called before each code; what it raises ends the work.
    """
    ids = gpt.compute_embeddings(voice, text)
    draws = torch.Generator(device=ids.device)
    draws.manual_seed(seed)
    model = gpt.gpt_inference
    cache = DynamicCache()
    seen = torch.zeros(gpt.num_audio_tokens, dtype=torch.bool, device=ids.device)
    # With what stands in for the prompt, too: it has always been penalised along with the codes.
    seen[ids] = True
    for _ in range(gpt.max_gen_mel_tokens):
        check()
        made = model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=True, return_dict=True)
        code = _draw(made.logits[0, -1].float(), sampling, seen, draws)
        yield model.final_norm(made.hidden_states[-1][0, -1])
        if int(code) == gpt.stop_audio_token:
            return
        seen[code] = True
        ids = code.view(1, 1)


def _draw(logits: Any, sampling: Sampling, seen: Any, draws: Any) -> Any:
    penalised = torch.where(logits < 0, logits * sampling.repetition_penalty, logits / sampling.repetition_penalty)
    logits = torch.where(seen, penalised, logits) / sampling.temperature
    ordered, codes = logits.sort(descending=True)
    if sampling.top_k > 0:
        ordered, codes = ordered[: sampling.top_k], codes[: sampling.top_k]
    chances = ordered.softmax(dim=-1)
    # Those before which the likelier ones do not make up `top_p` yet: at least the first.
    chances = torch.where(chances.cumsum(dim=-1) - chances < sampling.top_p, chances, 0.0)
    return codes[torch.multinomial(chances, 1, generator=draws)]
