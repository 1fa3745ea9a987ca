"""Read SSML documents and plan their speech."""

from enginehouse.engines.voice.text.ssml._planner import plan_ssml
from enginehouse.engines.voice.text.ssml._reader import SsmlError

__all__ = ["SsmlError", "plan_ssml"]
