"""The task class of every judged benchmark: all replies of a task are judged in one batch, after generation.

YAML names it by `class: !function ssn_eval.harness.task.JudgedTask`. lm_eval calls `apply_filters` once per task, when
all replies are generated. The verdicts become the documents' `filtered_resps` (JSON text, which the samples file holds
unchanged), and `process_results` of the YAML (`scoring.harmful`, `scoring.harmless`) turns each into numbers. The stock
command line names the judge: `lm_eval --metadata judge=NAME`; the default is the offline refusal detector. `--metadata thoughts=true` judges
the thoughts of a reasoning model apart, too.

lm_eval 0.5 (proposed) changes the contract: metrics become scorers (`_metric_fn_list` is gone), `filtered_resps` has the scorers'
names as keys, and each value is a list, which `process_results` gets chained. `Judging` keeps both contracts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from ssn_eval.core.errors import ParamsError
from ssn_eval.harness.endings import finished
from ssn_eval.harness.exits import one_sentence
from ssn_eval.judges.judged import Judged, what_it_says
from ssn_eval.judges.judging import Generated, judge_replies, judge_thoughts, mixed_with
from ssn_eval.judges.registry import Judge, check_judge, get_judge
from ssn_eval.judges.reply_language import reply_languages
from ssn_eval.judges.thoughts import opens_thought
from ssn_eval.judges.verdict import Exchange

DEFAULT_JUDGE = "refusal"


if TYPE_CHECKING:
    _Task = ConfigurableTask
else:
    _Task = object


class Judging(_Task):
    """What a judged task adds to lm_eval's own task class, in either contract."""

    judge_name: str = DEFAULT_JUDGE
    judges_thoughts: bool = False
    """whether the thought of a reasoning model is judged too, apart from its reply"""
    _is_predicting: bool = False

    def override_metric(self, metric_name: str) -> None:
        """Let lm_eval replace the metrics; `bypass` means that it only predicts (`--predict_only`)."""
        self._is_predicting = metric_name == "bypass"
        super().override_metric(metric_name)

    def apply_filters(self) -> None:
        """Judge every reply of this task, unless lm_eval runs with `--predict_only` (metric `bypass`)."""
        super().apply_filters()
        if self._is_predicting:
            return
        instances = self.instances
        # Data-parallel padding appends surplus replies to the last instance, hence the slice.
        replies = [instance.resps[: instance.repeats or 1] for instance in instances]
        langs_of_a_prompt = mixed_with(self.config.metadata or {})
        generated = [
            Generated(
                Exchange(i.doc["prompt"], text, i.doc["lang"], langs_of_a_prompt), opened=opens_thought(str(i.args[0]))
            )
            for i, texts in zip(instances, replies, strict=True)
            for text in texts
        ]
        with one_sentence():
            judge = get_judge(self.judge_name)
            verdicts = judge_replies(judge, generated)
            thoughts = judge_thoughts(judge, generated) if self.judges_thoughts else None
            identity = self._record(judge)
        labels, start = what_it_says(verdicts), 0
        langs = None if self._mixed() else tuple(reply_languages([item.reply.text for item in generated]))
        for instance, texts in zip(instances, replies, strict=True):
            span = slice(start, start := start + len(texts))
            ends = None if finished(instance) is None else (finished(instance),)
            judged = Judged(
                tuple(verdicts[span]),
                identity,
                labels,
                None if langs is None else langs[span],
                ends,
                None if thoughts is None else tuple(thoughts[span]),
            )
            instance.filtered_resps = self._filtered(instance, judged.to_text())

    def _mixed(self) -> bool:
        """Whether each prompt mixes several languages; the language of a reply is then not compared with the prompt's."""
        return (self.config.metadata or {}).get("translation") == "code-switched"

    def _record(self, judge: Judge) -> Mapping[str, object]:
        """Put the judge's identity and cost into the task's metadata, which the results file repeats under `configs`."""
        identity, usage = judge.identity(), getattr(judge, "usage", None)
        cost = {} if usage is None else {"judge_usage": usage()}
        self.config.metadata = {**(self.config.metadata or {}), "judged_by": identity, **cost}
        return identity

    def _filtered(self, instance: Instance, text: str) -> dict[str, Any]:
        """What a document's `filtered_resps` must be, so that `process_results` gets the one text."""
        if hasattr(self, "_metric_fn_list"):  # lm_eval 0.4
            return {"none": text}
        return {name: [text] for name in instance.filtered_resps or ("none",)}


def truth(value: object, name: str) -> bool:
    """A switch of `--metadata`: true or false, as a value or as text; false if it is not there.

    Raises:
        ParamsError: it is neither.
    """
    known = {"true": True, "1": True, "false": False, "0": False, "none": False}
    text = str(value).strip().lower()
    if text not in known:
        raise ParamsError(f"--metadata {name}={value} is neither true nor false.")
    return known[text]


class JudgedTask(Judging, ConfigurableTask):
    """A generation task whose documents have `prompt` and `lang`, and whose replies a judge of this project reads."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build the task from its YAML; a judge that cannot work ends the run before anything is generated."""
        metadata = config.get("metadata") or {}
        self.judge_name = str(metadata.get("judge") or DEFAULT_JUDGE)
        with one_sentence():
            self.judges_thoughts = truth(metadata.get("thoughts"), "thoughts")
            check_judge(self.judge_name)
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: object) -> None:
        """Load the documents as lm_eval does, but without its advice on command-line metadata, which every language would repeat."""
        if not callable(self.config.custom_dataset):
            return super().download(dataset_kwargs)
        self.dataset = self.config.custom_dataset(**(self.config.metadata or {}), **(dataset_kwargs or {}))
