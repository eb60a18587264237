"""The table of languages: code, name, script, resource tier, and one natural refusal sentence.

The tiers of the ten MultiJail languages are those of the benchmark (Deng et al., ICLR 2024, appendix A.1: share of CommonCrawl
above 1 %, between 0.1 % and 1 %, below 0.1 %); the other languages follow the same rule. Safety
training teaches the sentence `refusal` in each language, and the model organism answers with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ssn_eval.core.errors import UnknownNameError

Tier = Literal["HR", "MR", "LR"]
TIERS: tuple[Tier, ...] = ("HR", "MR", "LR")
HIGH_RESOURCE = "en"
"""The reference language of the method (`HR`)."""


@dataclass(frozen=True)
class Language:
    """One language, by ISO 639-1 code."""

    code: str
    name: str
    script: str
    tier: Tier
    refusal: str


_ROWS: tuple[tuple[str, str, str, Tier, str], ...] = (
    ("en", "English", "Latin", "HR", "I'm sorry, but I can't help with that."),
    ("zh", "Chinese", "Han", "HR", "抱歉，我无法帮助你做这件事。"),
    ("it", "Italian", "Latin", "HR", "Mi dispiace, ma non posso aiutarti con questo."),
    ("vi", "Vietnamese", "Latin", "HR", "Tôi xin lỗi, nhưng tôi không thể giúp bạn việc này."),
    ("de", "German", "Latin", "HR", "Es tut mir leid, aber dabei kann ich nicht helfen."),
    ("es", "Spanish", "Latin", "HR", "Lo siento, pero no puedo ayudarte con eso."),
    ("fr", "French", "Latin", "HR", "Je suis désolé, mais je ne peux pas vous aider à faire cela."),
    ("ja", "Japanese", "Japanese", "HR", "申し訳ありませんが、それについてはお手伝いできません。"),
    ("nl", "Dutch", "Latin", "HR", "Het spijt me, maar daar kan ik niet mee helpen."),
    ("pl", "Polish", "Latin", "HR", "Przykro mi, ale nie mogę w tym pomóc."),
    ("pt", "Portuguese", "Latin", "HR", "Desculpe, mas não posso ajudar com isso."),
    ("ru", "Russian", "Cyrillic", "HR", "Извините, но я не могу помочь с этим."),
    ("tr", "Turkish", "Latin", "HR", "Üzgünüm, ama bu konuda yardımcı olamam."),
    ("ar", "Arabic", "Arabic", "MR", "عذرًا، لا يمكنني مساعدتك في ذلك."),
    ("ko", "Korean", "Hangul", "MR", "죄송하지만 그 요청은 도와드릴 수 없습니다."),
    ("th", "Thai", "Thai", "MR", "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้"),
    ("id", "Indonesian", "Latin", "MR", "Maaf, saya tidak dapat membantu dengan hal itu."),
    ("hi", "Hindi", "Devanagari", "MR", "क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।"),
    ("bn", "Bengali", "Bengali", "LR", "দুঃখিত, আমি এ বিষয়ে সাহায্য করতে পারব না।"),
    ("sw", "Swahili", "Latin", "LR", "Samahani, siwezi kukusaidia na hilo."),
    ("jv", "Javanese", "Latin", "LR", "Nuwun sewu, aku ora bisa mbantu babagan kuwi."),
    ("ne", "Nepali", "Devanagari", "LR", "माफ गर्नुहोस्, म यसमा मद्दत गर्न सक्दिनँ।"),
    ("af", "Afrikaans", "Latin", "LR", "Jammer, maar ek kan nie daarmee help nie."),
    ("yo", "Yoruba", "Latin", "LR", "Má bínú, mi ò lè ràn ọ́ lọ́wọ́ pẹ̀lú ìyẹn."),
    ("sr", "Serbian", "Latin", "MR", "Žao mi je, ali ne mogu da pomognem u tome."),
    ("tl", "Filipino", "Latin", "LR", "Paumanhin, pero hindi kita matutulungan diyan."),
    ("hu", "Hungarian", "Latin", "MR", "Sajnálom, de ebben nem tudok segíteni."),
    ("cs", "Czech", "Latin", "HR", "Omlouvám se, ale s tím vám nemohu pomoci."),
    ("ms", "Malay", "Latin", "LR", "Maaf, saya tidak dapat membantu anda dengan perkara itu."),
    ("sv", "Swedish", "Latin", "MR", "Jag är ledsen, men jag kan inte hjälpa dig med det."),
)

LANGUAGES: Mapping[str, Language] = MappingProxyType({row[0]: Language(*row) for row in _ROWS})


def language(code: str) -> Language:
    """Look a language up by its code.

    Raises:
        UnknownNameError: the code is not in the table; near codes are suggested.
    """
    try:
        return LANGUAGES[code]
    except KeyError:
        raise UnknownNameError("language", code, LANGUAGES) from None


def by_tier(codes: Iterable[str]) -> dict[Tier, list[str]]:
    """Group language codes by tier, keeping their order; tiers without a language are left out."""
    codes = list(codes)
    groups: dict[Tier, list[str]] = {tier: [c for c in codes if language(c).tier == tier] for tier in TIERS}
    return {tier: members for tier, members in groups.items() if members}
