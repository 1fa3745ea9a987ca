"""OpenAI's names of languages: its verbose transcriptions name them in English."""

from __future__ import annotations

_NAMES = {
    "af": "afrikaans", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "be": "belarusian", "bg": "bulgarian",
    "bn": "bengali", "bs": "bosnian", "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german",
    "el": "greek", "en": "english", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "gl": "galician", "gu": "gujarati", "he": "hebrew", "hi": "hindi",
    "hr": "croatian", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "is": "icelandic", "it": "italian",
    "ja": "japanese", "ka": "georgian", "kk": "kazakh", "km": "khmer", "kn": "kannada", "ko": "korean", "la": "latin",
    "lt": "lithuanian", "lv": "latvian", "mk": "macedonian", "ml": "malayalam", "mn": "mongolian", "mr": "marathi",
    "ms": "malay", "my": "myanmar", "ne": "nepali", "nl": "dutch", "no": "norwegian", "pa": "punjabi", "pl": "polish",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sa": "sanskrit", "sd": "sindhi", "si": "sinhala",
    "sk": "slovak", "sl": "slovenian", "sq": "albanian", "sr": "serbian", "sv": "swedish", "sw": "swahili",
    "ta": "tamil", "te": "telugu", "th": "thai", "tl": "tagalog", "tr": "turkish", "uk": "ukrainian", "ur": "urdu",
    "uz": "uzbek", "vi": "vietnamese", "yo": "yoruba", "zh": "chinese",
}  # fmt: skip


def language_name(tag: str) -> str:
    """Return the language of a BCP 47 tag in English, in lower case; the tag itself if its name is not known here."""
    return _NAMES.get(tag.partition("-")[0].lower(), tag)
