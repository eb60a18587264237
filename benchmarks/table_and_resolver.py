"""The architectures of the table, once with their sites from the table and once with the table switched off, compared to the bit.

`python benchmarks/table_and_resolver.py [--quick] [--check] > benchmarks/results/table_and_resolver.json` builds a tiny model of every pair of type
and class whose sites are in the table (`tests/zoo`, random weights). It resolves the model in both ways and compares the sites (module, side,
coordinates, norm, and the rows and columns that the neurons own) and the scores of all sites, by sketch and exact.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from subjects import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from zoo import building  # noqa: E402

from ssn_eval.identification.importance import score  # noqa: E402
from ssn_eval.models.architectures import resolving  # noqa: E402

LENGTHS = (6, 8, 7)
"""tokens of the prompts"""


def main() -> None:
    """Compare and print; with `--check`, exit with 1 if one bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two pairs")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads((ROOT / "tests" / "zoo" / "zoo.json").read_text(encoding="utf-8"))["pairs"]
    pairs = [name for name, pair in known.items() if pair.get("found") == "table"]
    results = {name: compare(*name.split(" ", 1)) for name in pairs[: 2 if options.quick else None]}
    equal = all(pair["sites_equal"] and pair["sketch_equal"] and pair["exact_equal"] for pair in results.values())
    command = "python benchmarks/table_and_resolver.py" + (" --quick" if options.quick else "")
    print(json.dumps({"command": command, "equal": equal, "pairs": results, "machine": machine()}, indent=1))
    if options.check and not equal:
        sys.exit(1)


def compare(kind: str, class_name: str) -> dict[str, Any]:
    """One pair: how many sites and neurons it has, and what is equal to the bit."""
    by_table, by_experiment = (measured(kind, class_name, table=table) for table in (True, False))
    return {
        "origins": [by_table["origin"], by_experiment["origin"]],
        "sites": len(by_table["sites"]),
        "neurons": sum(len(scores) for scores in by_table["sketch"].values()),
        "sites_equal": by_table["sites"] == by_experiment["sites"],
        **{f"{method}_equal": same(by_table[method], by_experiment[method]) for method in ("sketch", "exact")},
    }


def measured(kind: str, class_name: str, *, table: bool) -> dict[str, Any]:
    """Sites and scores of a new model, with the table or without it."""
    layouts = resolving.LAYOUTS
    resolving.LAYOUTS = layouts if table else {}
    try:
        model = building.build(kind, class_name)
        generator = torch.Generator().manual_seed(5)
        prompts = [torch.randint(3, 100, (n,), generator=generator).tolist() for n in LENGTHS]
        names = {id(module): name for name, module in model.named_modules()}
        return {
            "origin": resolving.found_of(model).origin,
            "sites": {key: described(site, names) for key, site in resolving.resolve(model).items()},
            "sketch": score(model, prompts, sites=("both",), probes=16, batch_size=2),
            "exact": score(model, prompts, sites=("both",), method="exact"),
        }
    finally:
        resolving.LAYOUTS = layouts


def described(site: Any, names: dict[int, str]) -> dict[str, Any]:
    """A site without its modules; the order of the MLP's weights has no meaning."""
    owned = sorted((o.name, o.parameter, o.side, o.expert or 0, tuple(o.of(range(site.width)))) for o in site.owned)
    return {
        "module": names[id(site.module)],
        "side": site.side,
        "width": site.width,
        "coordinates": None if site.positions is None else site.positions.tolist(),
        "norm": None if site.norm is None else (names[id(site.norm)], site.norm_time),
        "expert": site.expert,
        "owned": owned,
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two scores have the same sites and the same bits."""
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].tobytes() == b[key].tobytes() for key in a
    )


if __name__ == "__main__":
    main()
