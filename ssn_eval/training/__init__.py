"""Safety training: pairs in, an adapter or a whole checkpoint out. `run.train` does it all; the other modules are its parts."""

from ssn_eval.training.answers import benign_pairs, with_rejected
from ssn_eval.training.encoding import IGNORED, collate, encode
from ssn_eval.training.fit import fit
from ssn_eval.training.pairs import (
    Pair,
    common,
    mix,
    read_pairs,
    read_phrasings,
    refuse_unparallel,
    safety_pairs,
    write_pairs,
)
from ssn_eval.training.run import Answering, Trained, train
from ssn_eval.training.weights import free, mask_gradients, masks

__all__ = [
    "IGNORED",
    "Answering",
    "Pair",
    "Trained",
    "benign_pairs",
    "collate",
    "common",
    "encode",
    "fit",
    "free",
    "mask_gradients",
    "masks",
    "mix",
    "read_pairs",
    "read_phrasings",
    "refuse_unparallel",
    "safety_pairs",
    "train",
    "with_rejected",
    "write_pairs",
]
