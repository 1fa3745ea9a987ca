"""The text front end: what a request wants said, as utterances that a voice can say.

It knows nothing of calls, voices' sounds or audio, and does no input or output.
"""

from enginehouse.engines.voice.text._characters import check_text
from enginehouse.engines.voice.text._normalise import normalise
from enginehouse.engines.voice.text._plain import IncrementalText, plan_text
from enginehouse.engines.voice.text._plan import (
    SILENT_DB,
    Chunk,
    Controls,
    Emotion,
    Item,
    Mark,
    Pause,
    Say,
    SpeechPlan,
)
from enginehouse.engines.voice.text._scripts import detect_language, scripts_of, written_in, wrong_script
from enginehouse.engines.voice.text.ssml import SsmlError, plan_ssml

__all__ = [
    "SILENT_DB",
    "Chunk",
    "Controls",
    "Emotion",
    "IncrementalText",
    "Item",
    "Mark",
    "Pause",
    "Say",
    "SpeechPlan",
    "SsmlError",
    "check_text",
    "detect_language",
    "normalise",
    "plan_ssml",
    "plan_text",
    "scripts_of",
    "written_in",
    "wrong_script",
]
