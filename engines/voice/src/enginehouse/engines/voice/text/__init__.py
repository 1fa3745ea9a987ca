"""The text front end: turn a request's text or SSML into utterances for a voice.

It knows nothing of calls, voices or audio, and does no input or output.
"""

from enginehouse.engines.voice.text._characters import check_text
from enginehouse.engines.voice.text._normalize import normalize
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
    UnknownVoice,
)
from enginehouse.engines.voice.text.ssml import SsmlError, plan_ssml
from enginehouse.kit.scripts import detect_language, reads, script_mismatch, scripts_of, written_in

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
    "UnknownVoice",
    "check_text",
    "detect_language",
    "normalize",
    "plan_ssml",
    "plan_text",
    "reads",
    "script_mismatch",
    "scripts_of",
    "written_in",
]
