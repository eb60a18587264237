"""Optional stage: which neurons other rules and scorers choose, beside those of `select.compare`. SET MODEL PROMPTS PAIRS SCORES TRAINED OUT.

It runs if the section `agreement` of `params.yaml` names rows (`core/choices.py`). Rows that read responses (`attribution`, `pathway`,
`model_diff`) take the training pairs: refusals to harmful prompts, the model's own answers to harmless ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from ssn_eval.core import choices, files
from ssn_eval.core.choices import MODEL_DIFF, Choice
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.params import Params
from ssn_eval.core.settings import ALONE
from ssn_eval.identification.agreement import Row, agreement, chosen, of_rule, of_rules, stability_of
from ssn_eval.identification.by_language import Second, score_languages
from ssn_eval.identification.rules import Evidence, evidence_of, halves_of
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.pairs import read_pairs
from ssn_eval.prompts.prompt import Label, Prompt, select_prompts
from ssn_eval.stages.common import is_untrained, need, provenance, run_stage
from ssn_eval.stages.select import read
from ssn_eval.stages.story import counted

WITH_RESPONSES = ("attribution", MODEL_DIFF)
"""the scorers that read the tokens of a response"""


def main(
    settings: Params,
    which: Path,
    model: Path,
    prompt_file: Path,
    pairs_file: Path,
    scores: Path,
    trained: Path,
    out: Path,
) -> str:
    """Write the agreement table of one set, `ss` or `ms_hr`, as `{"set", "rows", "pairs", "provenance"}`; return what it holds.

    Raises:
        EmptySetError: a row's training method has trained nothing, or a pathway has too few samples.
    """
    name = which.name
    files_by_lang, ref = read(settings.languages, scores)
    own = evidence_of(settings.hr, files_by_lang), halves_of(settings.hr, files_by_lang)
    rows = of_rules(settings.select.compare, name, *own, settings.select, ref.geometry)
    source = Source(settings, model, prompt_file, pairs_file, trained)
    for text in settings.agreement[name]:
        choice = choices.parse(text, ALONE)
        if choice.is_pathway:
            rows[text] = on_pathway(source, name, *own)
        else:
            evidence, halves = own if choice.scorer is None else source.evidence(choice)
            rows[text] = of_rule(choice.rule, name, evidence, halves, settings.select, ref.geometry)
    content = {"set": name, **agreement(rows, ref.geometry), "provenance": provenance(settings, scores=scores)}
    files.write_json(out, content)
    sizes = ", ".join(f"{row} {len(one.neurons)}" for row, one in list(rows.items())[-3:])
    return f"{counted(len(rows), 'way')} of choosing {name}; neurons: {sizes}"


@dataclass(frozen=True)
class Source:
    """What the rows need that the scores of the pipeline do not hold: the model, the prompts, the pairs, the trained models."""

    settings: Params
    model: Path
    prompt_file: Path
    pairs_file: Path
    trained: Path

    @cached_property
    def loaded(self) -> Loaded:
        """The pipeline's model."""
        return loading.load(self.spec)

    @cached_property
    def spec(self) -> loading.ModelSpec:
        """How it is loaded."""
        return loading.read_spec(need(self.model, "organism") / "spec.json")

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts of the pipeline."""
        return read_jsonl(need(self.prompt_file, "prompts"))

    @cached_property
    def exchanges(self) -> list[Prompt]:
        """The training pairs as prompts with responses.

        Raises:
            EmptySetError: there is no harmless one.
        """
        labels: dict[str, Label] = {"harmful": "harmful", "harmless": "harmless"}
        pairs = read_pairs(need(self.pairs_file, "prompts"))
        if not any(p.label == "harmless" for p in pairs):
            raise EmptySetError(
                "agreement names a row that reads responses, and the training pairs hold no harmless answer; set train.replay above 0, "
                "and prompts.replay_tokens high enough for whole answers."
            )
        return [Prompt(p.id, p.lang, labels[p.label], p.prompt, "train", (), p.response) for p in pairs]

    def evidence(self, choice: Choice) -> tuple[Evidence, tuple[Evidence, Evidence] | None]:
        """The scores of another scorer, whole and by halves; finished languages are kept.

        Raises:
            SsnError: as `score_languages`.
        """
        settings, scorer = self.settings, str(choice.scorer)
        reads_responses = scorer in WITH_RESPONSES
        score = replace(settings.score, method=scorer)
        if reads_responses:
            score = replace(score, position="response")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "scores"
            score_languages(
                self.spec,
                self.exchanges if reads_responses else self.prompts,
                settings.languages,
                score,
                out,
                load=lambda: self.loaded,
                against=self._second(choice.method) if choice.method else None,
            )
            files_by_lang, _ = read(settings.languages, out)
        return evidence_of(settings.hr, files_by_lang), halves_of(settings.hr, files_by_lang)

    def _second(self, method: str) -> Second:
        from ssn_eval.training.adapters.opening import open_trained

        folder = need(self.trained / method, f"train@{method}")
        if is_untrained(folder):
            raise EmptySetError(
                f"agreement asks for model_diff:{method}, and {method} trained nothing; leave the row out."
            )
        return Second(files.sha256(folder), cache(lambda: open_trained(self.spec, folder)))


def on_pathway(source: Source, which: str, evidence: Evidence, halves: tuple[Evidence, Evidence] | None) -> Row:
    """The neurons of the paper's set that lie on a pathway of HR by co-activation; in the halves, set and samples are halved."""
    settings = source.settings
    harmful, harmless = (
        select_prompts(source.exchanges, lang=settings.hr, label=label) for label in ("harmful", "harmless")
    )

    def kept(part: Evidence, first: int, step: int) -> NeuronSet:
        neurons = chosen("paper", which, part, settings.select)
        return _acting(source, neurons, harmful[first::step], harmless[first::step])

    whole = kept(evidence, 0, 1)
    if halves is None or min(len(harmful), len(harmless)) < 4:
        return Row(whole)
    first, second = (kept(half, n, 2) for n, half in enumerate(halves))
    return Row(whole, stability_of(first, second, source.loaded.ref.geometry))


def _acting(source: Source, neurons: NeuronSet, harmful: Sequence[Prompt], harmless: Sequence[Prompt]) -> NeuronSet:
    from ssn_eval.identification import acting, pathway

    batch_size = source.settings.score.batch_size
    if not neurons:
        return neurons
    return pathway.endpoints(acting.co_activating(source.loaded, neurons, harmful, harmless, batch_size=batch_size))


if __name__ == "__main__":
    run_stage(main)
