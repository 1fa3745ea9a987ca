"""Convert the GPT's latents to audio while they come, each latent once.

XTTS stretches latents to frames by linear interpolation, three times over (for the speed, to the vocoder's frames, to
its sample rate), and its vocoder turns every frame into 256 samples. The vocoder's receptive field is 13 frames to
either side, so a window with that margin makes exactly the samples that the whole would have made: no crossfade is
needed, and the work is linear in the length of the audio.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]

from enginehouse.engines.voice.backends.base import Samples

# The number of frames to either side that a sample depends on. Most of it is the first convolution (7 wide: 3 frames),
# the upsampling by 8 (16 wide: 1) and the residual blocks after it (11 wide, dilations 1, 3 and 5, each with a plain
# one: 60 of 8 to the frame); later layers have 64 to the frame and more. Found by setting frames to NaN.
RECEPTIVE_FRAMES = 13


class TimeStretcher:
    """Incremental linear interpolation of columns along time.

    Its whole output equals that of `torch.nn.functional.interpolate(mode="linear")` for its whole input, except for
    rounding.

    Args:
        scale: output columns for an input column.
    """

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._held: Any = None
        # Numbers of columns from the beginning: of the first one held, of the input, of the output.
        self._first = 0
        self._taken = 0
        self._given = 0

    def push(self, columns: Any, *, last: bool) -> Any:
        """Take columns (a tensor of channels x time) and return those that are ready; with `last`, all the rest."""
        self._taken += columns.shape[-1]
        self._held = columns if self._held is None else torch.cat((self._held, columns), dim=-1)
        end = math.floor(self._taken * self._scale)
        if not last:
            # The last input column only serves as a neighbour, until it is known whether another follows.
            end = min(end, math.ceil((self._taken - 0.5) * self._scale - 0.5))
        end = max(end, self._given)
        places = torch.arange(self._given, end, dtype=torch.float64)
        sources = ((places + 0.5) / self._scale - 0.5).clamp_(min=0.0)
        left = sources.floor()
        weights = (sources - left).to(columns)
        left = left.long()
        right = (left + 1).clamp_(max=self._taken - 1)
        held = self._held
        made = torch.lerp(held[:, left - self._first], held[:, right - self._first], weights)
        self._given = end
        # The columns that the next output needs; at least the newest is kept as its left neighbour.
        keep = max(0, min(math.floor((end + 0.5) / self._scale - 0.5), self._taken - 1))
        self._held = held[:, keep - self._first :]
        self._first = keep
        return made


class Vocoder:
    """Vocoder of one utterance's latents, for one thread, in inference mode.

    Args:
        decoder: the model's vocoder with its scales, a `HifiDecoder`.
        speaker: the voice's embedding, (1, dimensions, 1).
        speed: the factor of the speed.
    """

    def __init__(self, *, decoder: Any, speaker: Any, speed: float) -> None:
        self._decode = decoder.waveform_decoder
        self._hop: int = decoder.output_hop_length
        self._speaker = speaker
        scales = [1 / speed, decoder.ar_mel_length_compression / decoder.output_hop_length]
        scales.append(decoder.output_sample_rate / decoder.input_sample_rate)
        self._stretchers = [TimeStretcher(scale) for scale in scales if scale != 1]
        self._frames: Any = None
        # Numbers of frames from the beginning: of the first one held, of the next one to be vocoded.
        self._first = 0
        self._next = 0

    def push(self, generate_latents: Any, *, last: bool = False) -> Samples:
        """Take the next latents (count x channels; at least one) and return the audio that is ready; may be empty."""
        columns = generate_latents.transpose(0, 1)
        for stretcher in self._stretchers:
            columns = stretcher.push(columns, last=last)
        self._frames = columns if self._frames is None else torch.cat((self._frames, columns), dim=-1)
        known = self._first + self._frames.shape[-1]
        end = known if last else known - RECEPTIVE_FRAMES
        if end <= self._next:
            return np.empty(0, np.int16)
        sound = self._decode(self._frames.unsqueeze(0), g=self._speaker).flatten()
        sound = sound[(self._next - self._first) * self._hop : (end - self._first) * self._hop]
        self._next = end
        keep = max(self._first, end - RECEPTIVE_FRAMES)
        self._frames = self._frames[:, keep - self._first :]
        self._first = keep
        samples: Samples = (sound * 32767).round_().to(torch.int16).cpu().numpy()
        return samples
