"""Generate the audio codes of XTTS's GPT, one at a time, with the latent of each.

The library's own loops cannot be interrupted between two codes, and sample from the process's global random generator.
This one samples from a generator of its own: the same text in the same voice sounds the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch  # type: ignore[import-not-found]
from transformers import DynamicCache  # type: ignore[import-not-found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling parameters, from the model's config.json."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float


def generate_latents(
    gpt: Any, *, voice: Any, text: Any, sampling: Sampling, seed: int, check: Callable[[], None]
) -> Iterator[Any]:
    """Yield the latents (each of the model's channels), up to the stop code or the model's maximum.

    Args:
        gpt: the model's GPT, ready for inference.
        voice: the conditioning latents, (1, count, channels).
        text: the text's tokens, (1, count).
        sampling: the sampling parameters.
        seed: the seed of the random generator.
        check: called before each code; an exception from it ends the work.
    """
    ids = gpt.compute_embeddings(voice, text)
    generator = torch.Generator(device=ids.device)
    generator.manual_seed(seed)
    model = gpt.gpt_inference
    cache = DynamicCache()
    seen = torch.zeros(gpt.num_audio_tokens, dtype=torch.bool, device=ids.device)
    # The prompt's placeholder too: the library has always penalised it along with the codes.
    seen[ids] = True
    for _ in range(gpt.max_gen_mel_tokens):
        check()
        made = model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=True, return_dict=True)
        code = _sample(made.logits[0, -1].float(), sampling, seen, generator)
        yield model.final_norm(made.hidden_states[-1][0, -1])
        if int(code) == gpt.stop_audio_token:
            return
        seen[code] = True
        ids = code.view(1, 1)


def _sample(logits: Any, sampling: Sampling, seen: Any, generator: Any) -> Any:
    penalised = torch.where(logits < 0, logits * sampling.repetition_penalty, logits / sampling.repetition_penalty)
    logits = torch.where(seen, penalised, logits) / sampling.temperature
    ordered, codes = logits.sort(descending=True)
    if sampling.top_k > 0:
        ordered, codes = ordered[: sampling.top_k], codes[: sampling.top_k]
    chances = ordered.softmax(dim=-1)
    # Codes before which the likelier ones do not add up to `top_p` yet: at least the first.
    chances = torch.where(chances.cumsum(dim=-1) - chances < sampling.top_p, chances, 0.0)
    return codes[torch.multinomial(chances, 1, generator=generator)]
