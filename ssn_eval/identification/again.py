"""Find a neuron set again on a model that was trained or edited, by the rule and on the prompts that found it before."""

from __future__ import annotations

from collections.abc import Sequence

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import ScoreParams, SelectParams
from ssn_eval.identification.agreement import chosen
from ssn_eval.identification.identify import identify
from ssn_eval.identification.rules import evidence_of
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.prompt import LABELS, Prompt, select_prompts


def find_again(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    languages: Sequence[str],
    hr: str,
    score: ScoreParams,
    select: SelectParams,
    which: str = "ss",
) -> NeuronSet:
    """SS over all NHR languages (`ss`) or MS of HR (`ms_hr`) of a model in memory; perhaps empty.

    Args:
        loaded: the model as it is now.
        prompts: of these languages and both labels; those of the split `train` count.
        languages: codes, HR among them; for `ms_hr` only HR is scored.
        hr: the high-resource language.
        score: the scorer.
        select: the rule and its size.
        which: the set.

    Raises:
        SsnError: as `identify` and `Evidence.families`.
    """
    counted = (hr,) if which == "ms_hr" and not select.without_common else tuple(languages)
    files = {
        lang: tuple(
            identify(loaded, select_prompts(prompts, lang=lang, label=label, split="train"), score).whole
            for label in LABELS
        )
        for lang in counted
    }
    return chosen(select.rule, which, evidence_of(hr, files), select)  # type: ignore[arg-type]
