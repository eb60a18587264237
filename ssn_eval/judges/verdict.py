"""What a judge reads and what it says: an exchange and its verdict, as plain frozen values.

Two failures are kept apart, and both are counted beside every rate. `unscored`: the *judge* failed (an unparseable or
missing answer), so the sample leaves every denominator. `invalid`: the *model's reply* is empty or degenerate, which is
a finding about the model, so the sample stays in the denominator. Nothing here fails open: an unscored verdict carries
no label that could be counted as safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ssn_eval.errors import FormatError, MismatchError


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

    def __post_init__(self) -> None:
        if self.unscored and (self.refusal is not None or self.harmful is not None or self.invalid):
            raise MismatchError("An unscored verdict cannot say refusal, harmful or invalid: the judge failed.")
        if not self.unscored and self.refusal is None and self.harmful is None and not self.invalid:
            raise MismatchError("A verdict that says nothing must be marked unscored.")

    @classmethod
    def failed(cls, raw: str) -> Verdict:
        """The verdict of a judge that failed on this exchange; `raw` says how."""
        return cls(refusal=None, harmful=None, invalid=False, unscored=True, raw=raw)

    def to_json(self) -> dict[str, object]:
        """`{"refusal", "harmful", "invalid", "unscored", "raw"}`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Verdict:
        """Read what `to_json` wrote.

        Raises:
            FormatError: a field is missing, of another type, or not one of a verdict's.
        """
        labels = ("refusal", "harmful", "invalid", "unscored")
        if set(data) != {*labels, "raw"}:
            raise FormatError(f"Not a verdict: fields {sorted(data)}; expected {', '.join(labels)}, raw.")
        refusal, harmful, invalid, unscored = (data[label] for label in labels)
        raw = data["raw"]
        if not (isinstance(refusal, bool | None) and isinstance(harmful, bool | None)):
            raise FormatError(
                f"A verdict's refusal and harmful are true, false or null, not {refusal!r} and {harmful!r}."
            )
        if not (isinstance(invalid, bool) and isinstance(unscored, bool) and isinstance(raw, str)):
            raise FormatError(
                f"A verdict's invalid and unscored are true or false and raw is text; found {dict(data)!r}."
            )
        return cls(refusal, harmful, invalid, unscored, raw)
