"""Schemas of OpenAI's bodies, which the contracts carry as bytes and therefore do not describe.

They say what this mesh reads and writes. Requests may have more members, which the pages of OpenAI's API describe and
`docs/openai.md` lists as taken, ignored or refused.
"""

from __future__ import annotations

Json = dict[str, object]


def ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Json, *, optional: tuple[str, ...] = (), open_: bool = False, about: str = "") -> Json:
    made: Json = {"type": "object", "properties": properties}
    required = [name for name in properties if name not in optional]
    if required:
        made["required"] = required
    if open_:
        made["additionalProperties"] = True
    if about:
        made["description"] = about
    return made


def _asked(required: Json, optional: Json, about: str) -> Json:
    return _object({**required, **optional}, optional=tuple(optional), open_=True, about=about)


TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer"}
FLAG: Json = {"type": "boolean"}
_FLAG_OR_NULL: Json = {"type": ["boolean", "null"]}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_ANYTHING: Json = {"type": "object", "additionalProperties": True}
_FINISH: Json = {"type": ["string", "null"], "enum": ["stop", "length", "tool_calls", None]}
_STOPPED: Json = {"type": "string", "enum": ["budget"], "description": "Set where the budget's cap ended the choice."}
_COST: Json = {"type": "integer", "format": "int64", "description": "The charge in nano-dollars."}
_WHEN: Json = {"type": "integer", "format": "int64", "description": "Seconds since 1970 UTC."}
_STOP: Json = {"anyOf": [TEXT, _array(TEXT), {"type": "null"}]}

_SAMPLING: Json = {
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 8},
    "seed": {"type": ["integer", "null"], "format": "int64"},
    "stop": _STOP,
    "stream": {"type": ["boolean", "null"]},
    "stream_options": _or_null(_object({"include_usage": FLAG}, optional=("include_usage",), open_=True)),
    "user": TEXT,
}
_TOOL_CALL = _object(
    {
        "id": TEXT,
        "type": {"type": "string", "enum": ["function"]},
        "function": _object({"name": TEXT, "arguments": {"type": "string", "description": "JSON."}}),
    }
)
_CHAT_LOGPROB = _object({"token": TEXT, "logprob": NUMBER, "bytes": _or_null(_array(WHOLE))})
_CHAT_LOGPROBS = _or_null(
    _object({"content": _or_null(_array(ref("ChatTokenLogprob"))), "refusal": {"type": "null"}}, optional=("refusal",))
)
_COMPLETION_LOGPROBS = _or_null(
    _object(
        {
            "text_offset": _array(WHOLE),
            "token_logprobs": _array({"type": ["number", "null"]}),
            "tokens": _array(TEXT),
            "top_logprobs": _array(_or_null({"type": "object", "additionalProperties": NUMBER})),
        }
    )
)
_COMPLETION_CHOICE = _object(
    {"text": TEXT, "index": WHOLE, "logprobs": _COMPLETION_LOGPROBS, "finish_reason": _FINISH, "stopped_by": _STOPPED},
    optional=("stopped_by",),
)
_TRANSCRIPTION_USAGE = _object({"type": TEXT, "seconds": WHOLE, "cost_nanos": _COST})
_SPEECH_USAGE = _object(
    {
        "input_tokens": WHOLE,
        "output_tokens": WHOLE,
        "total_tokens": WHOLE,
        "audio_milliseconds": WHOLE,
        "cost_nanos": _COST,
    }
)


def _completion(choices: Json, kind: str, *, usage: Json) -> Json:
    members: Json = {
        "id": TEXT,
        "object": {"type": "string", "enum": [kind]},
        "created": _WHEN,
        "model": TEXT,
        "choices": _array(choices),
        "usage": usage,
    }
    return _object(members, optional=() if usage == ref("CompletionUsage") else ("usage",))


def _form(*, translate: bool) -> Json:
    optional: Json = {
        "prompt": TEXT,
        "response_format": {"type": "string", "enum": ["json", "text", "srt", "verbose_json", "vtt"]},
        "temperature": NUMBER,
        "stream": FLAG,
        "user": TEXT,
        "timestamp_granularities[]": _array({"type": "string", "enum": ["word", "segment"]}),
    }
    if not translate:
        optional["language"] = {"type": "string", "description": "A BCP 47 tag."}
    file: Json = {
        "type": "string",
        "format": "binary",
        "contentMediaType": "application/octet-stream",
        "description": "The recording.",
    }
    return _asked({"file": file, "model": TEXT}, optional, "A form with a recording.")


_LIST: Json = {"type": "string", "enum": ["list"]}

SCHEMAS: dict[str, Json] = {
    "ChatCompletionRequest": _asked(
        {"model": TEXT, "messages": _array(ref("ChatMessage"))},
        {
            **_SAMPLING,
            "max_completion_tokens": {"type": ["integer", "null"]},
            "max_tokens": {"type": ["integer", "null"]},
            "logprobs": {"type": ["boolean", "null"]},
            "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
            "tools": _array(ref("ChatTool")),
            "tool_choice": {"anyOf": [{"type": "string", "enum": ["none", "auto", "required"]}, _ANYTHING]},
            "parallel_tool_calls": FLAG,
            "response_format": _asked(
                {"type": {"type": "string", "enum": ["text", "json_object", "json_schema"]}},
                {"json_schema": _asked({"name": TEXT}, {"schema": _ANYTHING, "strict": _FLAG_OR_NULL}, "")},
                "The form of the answer.",
            ),
        },
        "A conversation to answer.",
    ),
    "ChatMessage": _asked(
        {"role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}},
        {
            "content": {
                "anyOf": [TEXT, _array(_asked({"type": TEXT}, {"text": TEXT}, "A part.")), {"type": "null"}],
            },
            "name": TEXT,
            "tool_calls": _array(ref("ChatToolCall")),
            "tool_call_id": TEXT,
        },
        "A message of a conversation.",
    ),
    "ChatTool": _asked(
        {
            "type": {"type": "string", "enum": ["function"]},
            "function": _asked(
                {"name": TEXT},
                {"description": TEXT, "parameters": _ANYTHING, "strict": _FLAG_OR_NULL},
                "",
            ),
        },
        {},
        "A function that the model may call.",
    ),
    "ChatToolCall": _TOOL_CALL,
    "ChatTokenLogprob": _object({**_CHAT_LOGPROB["properties"], "top_logprobs": _array(_CHAT_LOGPROB)}),  # type: ignore[dict-item]
    "ChatCompletion": _completion(
        _object(
            {
                "index": WHOLE,
                "message": _object(
                    {
                        "role": {"type": "string", "enum": ["assistant"]},
                        "content": _TEXT_OR_NULL,
                        "refusal": _TEXT_OR_NULL,
                        "reasoning_content": TEXT,
                        "tool_calls": _array(ref("ChatToolCall")),
                    },
                    optional=("reasoning_content", "tool_calls"),
                ),
                "logprobs": _CHAT_LOGPROBS,
                "finish_reason": _FINISH,
                "stopped_by": _STOPPED,
            },
            optional=("stopped_by",),
        ),
        "chat.completion",
        usage=ref("CompletionUsage"),
    ),
    "ChatCompletionChunk": _completion(
        _object(
            {
                "index": WHOLE,
                "delta": _object(
                    {
                        "role": {"type": "string", "enum": ["assistant"]},
                        "content": _TEXT_OR_NULL,
                        "refusal": _TEXT_OR_NULL,
                        "reasoning_content": TEXT,
                        "tool_calls": _array(
                            _object(
                                {
                                    "index": WHOLE,
                                    "id": TEXT,
                                    "type": {"type": "string", "enum": ["function"]},
                                    "function": _object({"name": TEXT, "arguments": TEXT}, optional=("name",)),
                                },
                                optional=("id", "type"),
                            )
                        ),
                    },
                    optional=("role", "content", "refusal", "reasoning_content", "tool_calls"),
                ),
                "logprobs": _CHAT_LOGPROBS,
                "finish_reason": _FINISH,
                "stopped_by": _STOPPED,
            },
            optional=("stopped_by",),
        ),
        "chat.completion.chunk",
        usage=_or_null(ref("CompletionUsage")),
    ),
    "CompletionRequest": _asked(
        {"model": TEXT, "prompt": {"anyOf": [TEXT, _array(TEXT), _array(WHOLE), _array(_array(WHOLE))]}},
        {
            **_SAMPLING,
            "max_tokens": {"type": ["integer", "null"]},
            "logprobs": {"type": ["integer", "null"]},
            "echo": {"type": ["boolean", "null"]},
        },
        "A prompt to continue.",
    ),
    "Completion": _completion(_COMPLETION_CHOICE, "text_completion", usage=ref("CompletionUsage")),
    "CompletionChunk": _completion(_COMPLETION_CHOICE, "text_completion", usage=_or_null(ref("CompletionUsage"))),
    "CompletionUsage": _object(
        {
            "prompt_tokens": WHOLE,
            "completion_tokens": WHOLE,
            "total_tokens": WHOLE,
            "prompt_tokens_details": _object({"cached_tokens": WHOLE}),
            "cost_nanos": _COST,
        }
    ),
    "EmbeddingRequest": _asked(
        {"model": TEXT, "input": {"anyOf": [TEXT, _array(TEXT)]}},
        {"dimensions": WHOLE, "encoding_format": {"type": "string", "enum": ["float", "base64"]}, "user": TEXT},
        "Texts to embed.",
    ),
    "EmbeddingList": _object(
        {
            "object": _LIST,
            "data": _array(
                _object(
                    {
                        "object": {"type": "string", "enum": ["embedding"]},
                        "index": WHOLE,
                        "embedding": {
                            "anyOf": [_array(NUMBER), TEXT],
                            "description": "Numbers, or with `encoding_format` base64 the base64 of 32-bit floats.",
                        },
                    }
                )
            ),
            "model": TEXT,
            "usage": _object({"prompt_tokens": WHOLE, "total_tokens": WHOLE, "cost_nanos": _COST}),
        }
    ),
    "Model": _object(
        {
            "id": TEXT,
            "object": {"type": "string", "enum": ["model"]},
            "created": _WHEN,
            "owned_by": TEXT,
            "context_length": WHOLE,
            "capabilities": _array(TEXT),
            "alias_of": {"type": "string", "description": "The model that an alias stands for."},
        },
        optional=("context_length", "capabilities", "alias_of"),
    ),
    "ModelList": _object({"object": _LIST, "data": _array(ref("Model"))}),
    "SpeechRequest": _asked(
        {
            "model": TEXT,
            "input": TEXT,
            "voice": {"anyOf": [TEXT, _object({"id": TEXT})]},
        },
        {
            "response_format": {"type": "string", "enum": ["mp3", "opus", "aac", "flac", "wav", "pcm"]},
            "speed": {"type": "number", "minimum": 0.25, "maximum": 4},
            "instructions": TEXT,
            "stream_format": {"type": "string", "enum": ["audio", "sse"]},
            "input_type": {"type": "string", "enum": ["text", "ssml"]},
            "language": TEXT,
            "emotion": TEXT,
            "pitch": NUMBER,
            "volume_db": NUMBER,
            "sample_rate": WHOLE,
            "verbatim": FLAG,
            "user": TEXT,
        },
        "A text to speak.",
    ),
    "SpeechEvent": _object(
        {
            "type": {"type": "string", "enum": ["speech.audio.delta", "speech.audio.done"]},
            "audio": {"type": "string", "contentEncoding": "base64"},
            "usage": _SPEECH_USAGE,
        },
        optional=("audio", "usage"),
    ),
    "TranscriptionForm": _form(translate=False),
    "TranslationForm": _form(translate=True),
    "Transcription": _object(
        {
            "text": TEXT,
            "usage": _TRANSCRIPTION_USAGE,
            "task": {"type": "string", "enum": ["transcribe", "translate"]},
            "language": TEXT,
            "duration": NUMBER,
            "segments": _array(
                _object(
                    {
                        "id": WHOLE,
                        "seek": WHOLE,
                        "start": NUMBER,
                        "end": NUMBER,
                        "text": TEXT,
                        "tokens": _array(WHOLE),
                        "temperature": NUMBER,
                        "avg_logprob": NUMBER,
                        "compression_ratio": NUMBER,
                        "no_speech_prob": NUMBER,
                    }
                )
            ),
            "words": _array(_object({"word": TEXT, "start": NUMBER, "end": NUMBER})),
        },
        optional=("task", "language", "duration", "segments", "words"),
        about="The text; with `response_format` verbose_json also the rest.",
    ),
    "TranscriptionEvent": _object(
        {
            "type": {"type": "string", "enum": ["transcript.text.delta", "transcript.text.done"]},
            "delta": TEXT,
            "text": TEXT,
            "usage": _TRANSCRIPTION_USAGE,
        },
        optional=("delta", "text", "usage"),
    ),
    "AudioVoiceList": _object(
        {
            "object": _LIST,
            "data": _array(
                _object(
                    {
                        "id": TEXT,
                        "object": {"type": "string", "enum": ["audio.voice"]},
                        "name": TEXT,
                        "models": _array(TEXT),
                        "languages": _array(TEXT),
                        "gender": _TEXT_OR_NULL,
                        "style": _TEXT_OR_NULL,
                        "cloned": FLAG,
                    }
                )
            ),
        }
    ),
}

_AUDIO: Json = {"type": "string", "format": "binary"}


def _media(kind: str, schema: Json) -> Json:
    return {kind: {"schema": schema}}


def _events(schema: str) -> Json:
    """Return the content of events, as the schema of what one event's data is."""
    said = "With a true `stream` in the body: the data of one event; the last is `[DONE]`."
    return _media("text/event-stream", {**ref(schema), "description": said})


_TRANSCRIBED: Json = {
    **_media("application/json", ref("Transcription")),
    **_media("text/plain", TEXT),
    **_media("text/vtt", TEXT),
    **_media("application/x-subrip", TEXT),
    **_events("TranscriptionEvent"),
}

# By method: the content of the request, empty where it has no body of OpenAI's, and that of the answer.
BODIES: dict[str, tuple[Json, Json]] = {
    "TextService.CreateChatCompletion": (
        _media("application/json", ref("ChatCompletionRequest")),
        {**_media("application/json", ref("ChatCompletion")), **_events("ChatCompletionChunk")},
    ),
    "TextService.CreateCompletion": (
        _media("application/json", ref("CompletionRequest")),
        {**_media("application/json", ref("Completion")), **_events("CompletionChunk")},
    ),
    "TextService.CreateEmbedding": (
        _media("application/json", ref("EmbeddingRequest")),
        _media("application/json", ref("EmbeddingList")),
    ),
    "ModelsService.ListModels": ({}, _media("application/json", ref("ModelList"))),
    "ModelsService.GetModel": ({}, _media("application/json", ref("Model"))),
    "AudioService.CreateSpeech": (
        _media("application/json", ref("SpeechRequest")),
        {
            **{
                kind: {"schema": _AUDIO}
                for kind in ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
            },
            **_media("text/event-stream", {**ref("SpeechEvent"), "description": "With `stream_format` sse."}),
        },
    ),
    "AudioService.CreateTranscription": (_media("multipart/form-data", ref("TranscriptionForm")), _TRANSCRIBED),
    "AudioService.CreateTranslation": (_media("multipart/form-data", ref("TranslationForm")), _TRANSCRIBED),
    "AudioService.ListVoices": ({}, _media("application/json", ref("AudioVoiceList"))),
    "AdminService.ExportSpend": (
        {},
        _media("text/csv", TEXT),
    ),
}
