"""The table of selection rules: how scores become neuron sets. `identification/rules.py` applies them; no scores are needed here.

A row of the table is a value of `select.rule`, and the rules beside the paper's are also sets that a preset of `targets` may start
from. The filter `without_common` can be added to every rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    when: str
    """when to use it, in one line"""
    contrast: bool = False
    """rank by the contrast of harmful against harmless prompts, which needs score files with statistics; else by importance"""
    by_rate: bool = False
    """take every neuron within the false discovery rate `select.rate`; else as many as the paper's rule takes"""
    statistic: str | None = None
    """rank by this statistic of `identification/effects.py` in place of Welch's t"""


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "paper": Rule("The default: to compare with the paper, and for score files without statistics."),
        "contrast": Rule(
            "To rank neurons by how surely they tell harmful prompts from harmless ones, with sets as large as the paper's rule gives.",
            contrast=True,
        ),
        "contrast_fdr": Rule(
            "When the size should follow from the evidence: every neuron that more than chance supports, perhaps none or very many.",
            contrast=True,
            by_rate=True,
        ),
        "effect_size": Rule(
            "SafeNeuron's effect size (Cohen's d); with score.method activation, sites mlp, as its source does.",
            contrast=True,
            statistic="effect_size",
        ),
        "shift": Rule(
            "SafeNeuron's activation shift, compared within a layer; with score.method activation, sites mlp.",
            contrast=True,
            statistic="shift",
        ),
        "activation_gap": Rule(
            "Contrastive neuron attribution: the largest gap of activations, either sign; with score.method activation, scope global.",
            contrast=True,
            statistic="activation_gap",
        ),
    }
)
CONTRASTS = tuple(name for name, rule in RULES.items() if rule.contrast)
"""the rules beside the paper's"""
