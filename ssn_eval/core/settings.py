"""The settings of the stages as frozen values, one class for each section of `params.yaml`: name, type, default, help and checks.

Both doors take them from here: `params.py` builds them from the file, `cli/options.py` makes options of a command from them.
Importing this module loads no library.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.core.languages import language
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.rules import RULES
from ssn_eval.core.setnames import DIRECTION, SETS, SetName

STRICT = {"extra": "forbid"}
"""for pydantic: an unknown key is an error"""


def setting(default: Any, text: str) -> Any:
    """A field with its default and its help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class PromptParams:
    """The source of the prompts of a real model; the organism has its own prompts."""

    __pydantic_config__: ClassVar = STRICT

    harmful: str = setting(
        "multijail",
        "The harmful prompts: the name of a benchmark (multijail, advbench_x, …), or the path of a prompt file.",
    )
    harmless: str = setting("polyrefuse", "The harmless prompts, likewise.")
    heldout: float = setting(
        0.25, "Share of the prompt ids that is kept for evaluation, if the source has no split of its own."
    )
    limit: int | None = setting(None, "The largest number of ids of each label and split.")
    replay_tokens: int = setting(
        256, "The largest number of tokens of an answer that the base model writes for training."
    )
    seed: int = setting(0, "Seed of the split and of every draw.")


SCORERS = ("sketch", "exact", "local", "attribution", "activation", "model_diff")
SIGNED = ("attribution", "activation")
"""the scorers whose values have a sign"""
ALONE = tuple(name for name in SCORERS if name != "model_diff")
"""the scorers that need no second model"""
POSITIONS = ("last", "mean", "response")
READOUTS = ("hidden", "logits")


@dataclass(frozen=True)
class ScoreParams:
    """How importance is measured, of which sites, on how many prompts."""

    __pydantic_config__: ClassVar = STRICT

    method: str = setting(
        "sketch",
        "The scorer: sketch (an estimate for all neurons at once), exact (ablation, slow), local (a closed form), attribution "
        "(support of a response, with position=response), activation (for the rules effect_size, shift and activation_gap) or model_diff "
        "(against a second model, ssn identify --against).",
    )
    sites: str | list[str] = setting(
        "attention", "The sites that are scored: attention (the paper), mlp, both, or a list."
    )
    prompts: int | None = setting(
        None, "The largest number of prompts of a language and label, drawn at random; all by default."
    )
    probes: int = setting(4, "Random probes per prompt (sketch); prompts × probes decides the accuracy.")
    batch_size: int = setting(16, "Prompts in one forward pass; the scores do not depend on it beyond rounding.")
    position: str = setting(
        "last",
        "The tokens that are read: last (the last prompt token, as in the paper), mean (over the prompt) or response.",
    )
    target: str = setting(
        "hidden", "What is read there: hidden (the state after the last norm, as in the paper) or logits."
    )
    tolerance: float | None = setting(
        None,
        "Stop early when the standard error of the ranking is at most this, for example 0.1; by default every prompt is used.",
    )
    checkpointing: bool = setting(
        False,
        "Compute each layer again in the backward pass: less memory, more time, the same scores. Automatic if memory is too small.",
    )
    seed: int = setting(0, "Seed of the draw of prompts and of the probes.")

    def __post_init__(self) -> None:
        expand_sites(self.sites)
        for kind, name, names in (
            ("method", self.method, SCORERS),
            ("position", self.position, POSITIONS),
            ("target", self.target, READOUTS),
        ):
            if name not in names:
                raise UnknownNameError(kind, name, names)
        for name in ("probes", "batch_size", "prompts"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ParamsError(f"{name} must be at least 1, got {value}.")
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ParamsError(f"The tolerance is a standard error between 0 and 1, got {self.tolerance:g}; try 0.1.")


@dataclass(frozen=True)
class SelectParams:
    """Settings of selection: the rule, the top p per cent of each layer (or of all layers together), and the seeds of the controls."""

    __pydantic_config__: ClassVar = STRICT

    rule: str = setting(
        "paper",
        "The rule: paper (the top p per cent by importance), contrast (harmful against harmless prompts, as many neurons as paper), "
        "contrast_fdr (all neurons within the false discovery rate), or effect_size, shift, activation_gap (of other papers).",
    )
    p: float = setting(3.0, "The most important p per cent of the neurons of each layer, or of all layers.")
    scope: Literal["layer", "global"] = setting(
        "layer", "Where the top p per cent are taken: in every layer (the paper), or among all layers at once."
    )
    sites: str | list[str] = setting(
        "both", "The scored sites whose neurons compete: attention, mlp, both (all that were scored), or a list."
    )
    rate: float = setting(0.05, "The false discovery rate of contrast_fdr.")
    without_common: bool = setting(
        False,
        "Leave out neurons that matter for every prompt, harmful or not (the top p per cent of each label and language); when suppressing a set harms harmless replies.",
    )
    random_seeds: tuple[int, ...] = setting((0, 1, 2), "Seeds of the matched random controls of SS.")
    sensitivity: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0, 3.0, 5.0, 10.0), "Other values of p, whose sets are compared with the sets at `p`."
    )
    compare: tuple[str, ...] = setting(
        tuple(RULES),
        "The rules whose SS is compared with each other: sizes, stability and agreement. An empty list: none.",
    )

    def __post_init__(self) -> None:
        expand_sites(self.sites)
        if self.rule not in RULES:
            raise UnknownNameError("selection rule", self.rule, RULES)
        for name in self.compare:
            if name not in RULES:
                raise UnknownNameError("selection rule in select.compare", name, RULES)
        if not 0 < self.rate < 1:
            raise ParamsError(f"select.rate must be a rate between 0 and 1, got {self.rate:g}; try 0.05.")
        for name, p in (("p", self.p), *(("sensitivity", p) for p in self.sensitivity)):
            if not 0 < p <= 100:
                raise ParamsError(f"select.{name} must be a percentage in (0, 100], got {p:g}.")


@dataclass(frozen=True)
class ValidateParams:
    """Settings of causal validation: the sets and the operations on them."""

    __pydantic_config__: ClassVar = STRICT

    sets: tuple[str, ...] = setting((*SETS, "random_0", "random_1", "random_2"), "The neuron sets that are tested.")
    ops: tuple[str, ...] = setting(
        ("suppress", "scale:1.5", "scale:2"),
        "The intervention ops on each set. direction:ablate and direction:add:1 are done once, on the refusal direction, beside random directions.",
    )
    suppress_only: tuple[str, ...] = setting((), "Sets that are only suppressed.")

    def ops_of(self, name: str) -> tuple[str, ...]:
        """The operations on a set; those on the refusal direction are none."""
        own = tuple(op for op in self.ops if not op.startswith(f"{DIRECTION}:"))
        return ("suppress",) if name in self.suppress_only else own

    @property
    def direction_ops(self) -> tuple[str, ...]:
        """The operations on the refusal direction."""
        return tuple(op for op in self.ops if op.startswith(f"{DIRECTION}:"))

    @property
    def directions(self) -> tuple[str, ...]:
        """The refusal direction and its random controls, by name: as many as SS has among `sets`, at least one. Empty if no op asks for them."""
        if not self.direction_ops:
            return ()
        seeds = [parsed.seed for parsed in map(SetName.parse, self.sets) if not parsed.base] or [0]
        return (DIRECTION, *(f"{DIRECTION}.random_{seed}" for seed in seeds))

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that validation has a file of: the sets, and the directions."""
        return (*self.sets, *self.directions)


@dataclass(frozen=True)
class TrainParams:
    """Settings of SS-Neuron expansion and of the training methods compared with it."""

    __pydantic_config__: ClassVar = STRICT

    methods: tuple[str, ...] = setting(("ssn", "ms_hr", "random", "full"), "The training methods.")
    lr: float = setting(1e-3, "The largest learning rate.")
    lr_full: float = setting(2e-4, "The learning rate of a method that trains every weight.")
    epochs: float = setting(3.0, "Passes over the pairs (the paper: 3).")
    steps: int | None = setting(None, "A fixed number of steps in place of epochs.")
    batch_size: int = setting(16, "Pairs in one step, over all processes.")
    micro_batch: int | None = setting(
        None,
        "Pairs that a process computes at once; a step adds up the gradients of as many as it needs. By default the most that fit.",
    )
    checkpointing: bool = setting(
        False,
        "Compute each layer again in the backward pass: less memory, more time, the same weights. Automatic if memory is too small.",
    )
    autocast: bool = setting(
        False,
        "Compute in bfloat16 (autocast): less memory; the weights keep their dtype, which is float32 for an adapter.",
    )
    optimizer: Literal["adamw", "adafactor", "adamw_8bit"] = setting(
        "adamw", "The optimiser: adamw, adafactor (almost no state) or adamw_8bit (needs bitsandbytes)."
    )
    pairs: int = setting(64, "Refusals per language.")
    replay: float = setting(1.0, "Benign pairs per refusal; 0 trains on refusals only.")
    warmup_ratio: float = setting(0.03, "Share of the steps in which the learning rate rises.")
    weight_decay: float = setting(0.0, "Must be 0 with masked gradients, because decay changes masked weights.")
    schedule: Literal["linear", "cosine", "constant"] = setting("linear", "The learning rate after the warm-up.")
    max_length: int = setting(512, "The largest number of tokens of a pair.")
    leave_out: tuple[str, ...] = setting((), "Languages whose pairs are left out of training.")
    seed: int = setting(0, "Seed of the choice and the order of the pairs.")

    def __post_init__(self) -> None:
        for name in ("lr", "lr_full"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParamsError(f"train.{name} must be a finite number above 0, got {value}.")
        for name in ("batch_size", "micro_batch", "pairs", "max_length"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ParamsError(f"train.{name} must be at least 1, got {value}.")
        if not (math.isfinite(self.replay) and self.replay >= 0):
            raise ParamsError(f"train.replay must be a finite number, 0 or more, got {self.replay}.")
        if (self.steps is not None and self.steps < 1) or not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ParamsError("train.steps must be at least 1, and train.epochs a finite number above 0.")
        for code in self.leave_out:
            language(code)

    def recorded(self) -> dict[str, Any]:
        """The settings by name; those of memory only where they differ from the default, which changes no result."""
        memory = ("micro_batch", "checkpointing", "autocast", "optimizer")
        standard = {item.name: item.default for item in fields(self)}
        return {k: v for k, v in asdict(self).items() if k not in memory or v != standard[k]}


@dataclass(frozen=True)
class EvaluateParams:
    """Settings of evaluation with lm-evaluation-harness, on held-out prompts."""

    __pydantic_config__: ClassVar = STRICT

    judge: str = setting("refusal", "The judge of the replies.")
    batch_size: int = setting(256, "Replies generated at once.")
    max_new_tokens: int = setting(256, "The largest number of tokens of a reply.")
    limit: int | None = setting(None, "The largest number of prompts of each language and task.")
    capability: str | None = setting(
        "organism_capability", "An lm_eval task or group that measures general capability, or null for none."
    )
    ability: int = setting(
        16,
        "Harmless held-out prompts of each language on which the distance from the base model is measured (KL divergence and perplexity); 0 for none.",
    )
    samples: bool = setting(
        False,
        "true keeps every prompt and reply in `artifacts/samples`, harmful ones too; false keeps only the verdicts.",
    )
    thoughts: bool = setting(
        False,
        "true judges the thoughts of a reasoning model, too, apart from its replies: leak (unsafe thought, safe reply) and escape (the reverse).",
    )
    engine: Literal["hf", "vllm"] = setting("hf", "What runs the model: hf (transformers) or vllm (needs ability: 0).")
    engine_args: dict[str, Any] = field(
        default_factory=dict,
        hash=False,  # a dictionary has none; equal settings still have equal hashes
        metadata={"help": "Arguments of vLLM, for example {tensor_parallel_size: 2, max_model_len: 4096}."},
    )

    def __post_init__(self) -> None:
        if self.engine == "vllm" and self.ability:
            raise ParamsError(
                "evaluate.engine is vllm, and evaluate.ability reads the model's logits, which vLLM does not give; set "
                "evaluate.ability to 0, or evaluate.engine to hf."
            )
        if self.engine != "vllm" and self.engine_args:
            raise ParamsError(
                "evaluate.engine_args are arguments of vLLM; set evaluate.engine to vllm, or leave them out."
            )


@dataclass(frozen=True)
class HardenParams:
    """How `ssn harden` chooses a dose, and what it costs at most."""

    __pydantic_config__: ClassVar = STRICT

    doses: tuple[float, ...] = setting((1.25, 1.5, 2.0), "The factors that are tried.")
    over_refusal: float = setting(
        0.05, "The largest rise of the share of harmless prompts refused, mean over languages (0.05 is five points)."
    )
    kl: float = setting(
        0.2,
        "The largest distance from the base model on harmless prompts: KL divergence, nats a token, mean over languages.",
    )
    controls: int = setting(1, "Matched random sets that get the same dose as a control.")

    def __post_init__(self) -> None:
        if not self.doses or any(not (math.isfinite(dose) and dose > 0) for dose in self.doses):
            raise ParamsError(f"doses must be finite numbers above 0, got {list(self.doses)}.")
        if self.over_refusal < 0 or self.kl < 0 or self.controls < 0:
            raise ParamsError("over_refusal, kl and controls must be 0 or more.")
