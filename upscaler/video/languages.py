"""Codes of languages: the same one may have two of three letters (ISO 639-2/B and /T)."""

from collections.abc import Iterable

# Bibliographic code, as in Matroska -> terminological code, as in mp4.
_TERMINOLOGICAL = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld",
    "fre": "fra", "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri",
    "may": "msa", "per": "fas", "rum": "ron", "slo": "slk", "tib": "bod", "wel": "cym",
}  # fmt: skip
# Of the languages that videos have most often, codes of two letters (ISO 639-1).
_TWO_LETTERS = {
    "ar": "ara", "bg": "bul", "cs": "ces", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "es": "spa",
    "et": "est", "fa": "fas", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun",
    "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ko": "kor", "lt": "lit", "lv": "lav", "nb": "nob",
    "nl": "nld", "no": "nor", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv",
    "sr": "srp", "sv": "swe", "ta": "tam", "te": "tel", "th": "tha", "tr": "tur", "uk": "ukr", "vi": "vie",
    "zh": "zho",
}  # fmt: skip


def is_language(tag: str, names: Iterable[str]) -> bool:
    """Whether the language tag of a stream is one of ``names``; regions (``en-US``) do not count."""
    return _canonical(tag) in {_canonical(name) for name in names}


def _canonical(tag: str) -> str:
    code = tag.lower().partition("-")[0]
    code = _TWO_LETTERS.get(code, code)
    return _TERMINOLOGICAL.get(code, code)
