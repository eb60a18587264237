"""Neuron-LoRA adapters: built from a neuron set, saved and loaded as ordinary PEFT folders, merged, padded to one rank."""

from ssn_eval.models.lineage import FILE as PROVENANCE
from ssn_eval.training.adapters.folder import CONFIG, load, refuse_other_base, save
from ssn_eval.training.adapters.neuron_lora import build, merge, trainable_parameters
from ssn_eval.training.adapters.uniform import uniform_rank

__all__ = [
    "CONFIG",
    "PROVENANCE",
    "build",
    "load",
    "merge",
    "refuse_other_base",
    "save",
    "trainable_parameters",
    "uniform_rank",
]
