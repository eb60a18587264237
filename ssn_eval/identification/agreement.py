"""How far several ways of choosing neurons choose the same ones: size, stability and overlap, beside what chance would give. Pure functions.

Two sets overlap by chance, too. The expected index is that of two independent draws with as many neurons in every layer and site
(`stability.expected_jaccard`). A stable rule (two halves of the prompts agree) that agrees with no other chooses something of its own;
two rules that agree no better than their halves do may well choose the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.settings import SelectParams
from ssn_eval.identification.rules import Evidence
from ssn_eval.identification.stability import expected_jaccard, profile, split_half

EMPTY = NeuronSet(frozenset())


class Row(NamedTuple):
    """One way of choosing neurons."""

    neurons: NeuronSet
    stability: Mapping[str, Any] | None = None
    """`{"sizes", "jaccard", "chance"}` of the sets from two halves of the prompts (`stability.split_half`); None if not measured"""


def agreement(rows: Mapping[str, Row], geometry: Geometry) -> dict[str, Any]:
    """The table, as JSON values.

    Args:
        rows: name → set and stability; all of one model.
        geometry: the widths of the model's sites.

    Returns:
        Two lists. `rows` holds the `name`, `size` and `stability` of every set, `pairs` the `first`, `second`, `shared` (a number of neurons), `jaccard`
        and `chance` of every two; the last two are None if both sets are empty.

    Raises:
        MismatchError: a neuron lies outside the model.
    """
    for name, row in rows.items():
        geometry.check(row.neurons, f"the set {name}")
    pairs = []
    for (first, a), (second, b) in combinations(rows.items(), 2):
        comparable = bool(a.neurons or b.neurons)
        chance = expected_jaccard(profile(a.neurons), profile(b.neurons), geometry) if comparable else None
        pairs.append(
            {
                "first": first,
                "second": second,
                "shared": len(a.neurons & b.neurons),
                "jaccard": round(a.neurons.jaccard(b.neurons), 4) if comparable else None,
                "chance": None if chance is None else round(chance, 4),
            }
        )
    sizes = [{"name": name, "size": len(row.neurons), "stability": row.stability} for name, row in rows.items()]
    return {"rows": sizes, "pairs": pairs}


def of_rule(
    rule: str,
    which: str,
    evidence: Evidence,
    halves: tuple[Evidence, Evidence] | None,
    settings: SelectParams,
    geometry: Geometry,
) -> Row:
    """The set that a rule gives, with its stability.

    Args:
        rule: a row of `core/rules.py`.
        which: `ss` or `ms_hr`.
        evidence: the scores of every language.
        halves: the same from each half of the prompts.
        settings: p, scope, sites and rate count; the rule does not.
        geometry: the widths of the model's sites.

    Raises:
        ParamsError: the rule needs statistics, and the score files hold none.
    """
    neurons = chosen(rule, which, evidence, settings)
    if halves is None:
        return Row(neurons)
    try:
        first, second = (chosen(rule, which, half, settings) for half in halves)
    except (ParamsError, EmptySetError):  # a half has too few prompts for the rule
        return Row(neurons)
    return Row(neurons, stability_of(first, second, geometry))


def stability_of(first: NeuronSet, second: NeuronSet, geometry: Geometry) -> dict[str, Any]:
    """The stability of a row whose two halves gave these sets."""
    return split_half({"set": first}, {"set": second}, geometry)["set"]


def chosen(rule: str, which: str, evidence: Evidence, settings: SelectParams) -> NeuronSet:
    """SS over all NHR languages (`ss`), or MS of HR (`ms_hr`), by a rule; raises what `Evidence.families` raises."""
    families = evidence.families(replace(settings, rule=rule))
    return families.ms[evidence.hr] if which == "ms_hr" else families.shared(families.nhr)


def of_rules(
    rules: Sequence[str],
    which: str,
    evidence: Evidence,
    halves: tuple[Evidence, Evidence] | None,
    settings: SelectParams,
    geometry: Geometry,
) -> dict[str, Row]:
    """The rows of several rules, in order, without those that need statistics where the score files hold none."""
    rows = {}
    for rule in rules:
        try:
            rows[rule] = of_rule(rule, which, evidence, halves, settings, geometry)
        except ParamsError:
            if evidence.moments:
                raise
    return rows


def refuse_few(names: Sequence[str]) -> None:
    """Stop if there is nothing to compare, or if two sets have one name.

    Raises:
        EmptySetError: there are fewer than two sets.
        MismatchError: a name comes twice.
    """
    if len(names) < 2:
        raise EmptySetError(f"An agreement needs two sets or more; {len(names)} was given.")
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if twice:
        raise MismatchError(f"{twice[0]} was given twice; name each set once.")
