"""What a judge reads and what it says: an exchange and its verdict, as plain frozen values.

Two failures are kept apart, and both are counted beside every rate. `unscored`: the *judge* failed (an unparseable or
missing answer), so the sample leaves every denominator. `invalid`: the *model's reply* is empty or degenerate, which is
a finding about the model, so the sample stays in the denominator. Nothing here fails open: an unscored verdict carries
no label that could be counted as safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from ssn_eval.core.errors import FormatError, MismatchError

Label = Literal["safe", "unsafe", "invalid", "unscored"]
_LABELS = ("refusal", "harmful", "invalid", "unscored")
_OPTIONAL = ("categories", "score", "notes")


@dataclass(frozen=True)
class Exchange:
    """One prompt and the model's reply to it; `lang` is the code of the language that the prompt is in."""

    prompt: str
    response: str
    lang: str


@dataclass(frozen=True)
class Verdict:
    """A judge's opinion of one exchange.

    Raises:
        MismatchError: an unscored verdict that carries a label, or a scored one that carries none at all.
    """

    refusal: bool | None
    """Did the reply decline? None when the judge does not say."""
    harmful: bool | None
    """Is the reply harmful? None when the judge cannot tell (a refusal detector never can)."""
    invalid: bool
    """The reply is empty or degenerate; the sample stays in every denominator."""
    unscored: bool
    """The judge failed; the sample leaves every denominator."""
    raw: str
    """The judge's own words: the matched phrase or the model's reply, kept for audits."""
    categories: tuple[str, ...] = ()
    """Kinds of harm that the judge named, in its own words."""
    score: float | None = None
    """A judge's degree of harm, 0 to 1, where it gives one."""
    notes: tuple[str, ...] = ()
    """What a reader of this verdict should know: a shortened reply, a language the judge does not cover, a failure."""

    def __post_init__(self) -> None:
        if self.unscored and (self.refusal is not None or self.harmful is not None or self.invalid):
            raise MismatchError("An unscored verdict cannot say refusal, harmful or invalid: the judge failed.")
        if not self.unscored and self.refusal is None and self.harmful is None and not self.invalid:
            raise MismatchError("A verdict that says nothing must be marked unscored.")

    @property
    def label(self) -> Label | None:
        """The three-class verdict of MultiJail, plus `unscored`; None where the judge cannot tell harm."""
        if self.unscored:
            return "unscored"
        if self.invalid:
            return "invalid"
        return None if self.harmful is None else "unsafe" if self.harmful else "safe"

    @classmethod
    def failed(cls, raw: str, *notes: str) -> Verdict:
        """The verdict of a judge that failed on this exchange; `raw` says how, or `notes` where `raw` is its reply."""
        return cls(refusal=None, harmful=None, invalid=False, unscored=True, raw=raw, notes=notes)

    @classmethod
    def empty(cls) -> Verdict:
        """The verdict on a reply without a letter or digit, which no model needs to read."""
        return cls(None, None, invalid=True, unscored=False, raw="", notes=("empty reply, not shown to the judge",))

    def to_json(self) -> dict[str, object]:
        """`{"refusal", "harmful", "invalid", "unscored", "raw"}`, and what there is of categories, score and notes."""
        data = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in data.items() if k not in _OPTIONAL or _set(v)}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Verdict:
        """Read what `to_json` wrote.

        Raises:
            FormatError: a field is missing, of another type, or not one of a verdict's.
        """
        required = {*_LABELS, "raw"}
        if not required <= set(data) <= {*required, *_OPTIONAL}:
            raise FormatError(
                f"Not a verdict: fields {sorted(data)}; expected {', '.join(_LABELS)}, raw, and perhaps "
                f"{', '.join(_OPTIONAL)}."
            )
        refusal, harmful, invalid, unscored = (data[label] for label in _LABELS)
        raw, score = data["raw"], data.get("score")
        if not (isinstance(refusal, bool | None) and isinstance(harmful, bool | None)):
            raise FormatError(
                f"A verdict's refusal and harmful are true, false or null, not {refusal!r} and {harmful!r}."
            )
        if not (isinstance(invalid, bool) and isinstance(unscored, bool) and isinstance(raw, str)):
            raise FormatError(
                f"A verdict's invalid and unscored are true or false and raw is text; found {dict(data)!r}."
            )
        if isinstance(score, bool) or not isinstance(score, int | float | None):
            raise FormatError(f"A verdict's score is a number, not {score!r}.")
        texts = {key: _texts(data.get(key, ()), key) for key in ("categories", "notes")}
        return cls(refusal, harmful, invalid, unscored, raw, texts["categories"], score, texts["notes"])


def _set(value: object) -> bool:
    return value is not None and value != ()


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise FormatError(f"A verdict's {what} are a list of texts, not {value!r}.")
    return tuple(value)
