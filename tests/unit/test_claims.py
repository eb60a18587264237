"""The paper's seven claims: made of synthetic runs whose verdicts are known, and the settings that measure them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from ssn_eval.core import params
from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.report import claims, paper
from ssn_eval.report.condition import Condition
from ssn_eval.report.results import Results
from ssn_eval.report.verdicts import Claim, Part
from ssn_eval.stages import repetitions

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
HR, NHR = "en", ("zh", "th", "bn", "jv")
LANGS = (HR, *NHR)
N = 100
BASE = dict(zip(LANGS, (100, 90, 80, 70, 60), strict=True))
NOTHING: Mapping[str, int] = dict.fromkeys(LANGS, 0)


def condition(name: str, refused: Mapping[str, int], harmless: int = 0, capable: int = 95) -> Condition:
    """A state of the model that refuses the first so many of 100 prompts."""
    by_lang = {
        lang: {
            "refusal": {"successes": refused[lang], "total": N},
            "harmless_refusal": {"successes": harmless, "total": N},
            "capability": {"successes": capable, "total": N},
        }
        for lang in LANGS
    }
    verdicts = {lang: {f"p{i}": int(i < refused[lang]) for i in range(N)} for lang in LANGS}
    return Condition(name, name, by_lang, verdicts, {}, {})


def less(**points: int) -> dict[str, int]:
    """The base's refusals, lower by so many points; `all_` in every language not named."""
    everywhere = points.pop("all_", 0)
    return {lang: min(N, max(0, BASE[lang] - points.get(lang, everywhere))) for lang in LANGS}


def run(shift: int = 0) -> Results:
    """A run on which every claim holds, by `shift` points more than it has to."""
    ops = {
        "ss": {"suppress": condition("suppress ss", less(all_=50 + shift)), "scale:1.5": condition("x", less(all_=-5))}
    }
    for name in ("random_0", "random_1"):
        ops[name] = {"suppress": condition(name, less(all_=2)), "scale:1.5": condition(name, less(all_=1))}
    ops["ms_hr"] = {"suppress": condition("suppress ms_hr", less(all_=52 + shift))}
    for lang in NHR:
        ops[f"ms_{lang}"] = {"suppress": condition(f"suppress ms_{lang}", less(all_=40 + shift))}
        ops[f"private_{lang}"] = {"suppress": condition(f"suppress private_{lang}", less(**{lang: 30}))}
    for name in ("ms_hr", *(f"ms_{lang}" for lang in NHR)):
        ops[f"{name}.random_0"] = {"suppress": condition("r", less(all_=3))}
    gain = {lang: min(N, BASE[lang] + 20 + shift) for lang in LANGS}
    half = {lang: BASE[lang] + (gain[lang] - BASE[lang]) * 8 // 10 for lang in LANGS}
    return Results(
        select={
            "hr": HR,
            "languages": list(LANGS),
            "sizes": {"ss": dict(zip(NHR, (9, 8, 6, 5 - shift % 2), strict=True))},
            "named": {"ss": 9},
            "candidates": 900,
        },
        base=condition("base", BASE),
        trained={"ssn": condition("train ssn", gain), "random": condition("train random", less(all_=-5))},
        left_out={"ssn": {lang: condition(f"train ssn.without_{lang}", half) for lang in NHR}},
        interventions=ops,
        training={"ssn": {"trainable": 5, "parameters": 1000, "loss": [], "leave_out": []}},
        tags={},
        provenance={},
    )


def verdicts(runs: list[Results]) -> dict[int, str]:
    return {claim.number: claim.verdict for claim in paper.judge(runs)}


THREE = [run(0), run(1), run(2)]


def test_all_seven_are_reproduced_where_every_part_holds_on_three_seeds():
    found = paper.judge(THREE)
    assert [c.number for c in found] == [1, 2, 3, 4, 5, 6, 7]
    assert {c.verdict for c in found} == {"reproduced"}, [(c.number, c.why) for c in found if c.verdict != "reproduced"]
    assert all(c.why == "every part holds on 3 seeds" for c in found)


def test_one_seed_and_two_are_unclear_at_best():
    for runs in (THREE[:1], THREE[:2]):
        assert set(verdicts(runs).values()) == {"unclear"}
    assert "one seed, and it takes 3" in paper.judge(THREE[:1])[0].why


def changed(name: str, op: str, to: Condition) -> list[Results]:
    """The three runs with one intervention in every seed as given."""
    return [replace(r, interventions={**r.interventions, name: {**r.interventions[name], op: to}}) for r in THREE]


@pytest.mark.parametrize(
    ("number", "runs"),
    [
        (1, changed("ms_th", "suppress", condition("ms", less(all_=40, th=2)))),  # its random control does as much
        (1, changed("ms_hr", "suppress", condition("ms", less(all_=52), capable=20))),
        (2, changed("ss", "suppress", condition("ss", less(all_=50, jv=1)))),
        (2, changed("ss", "suppress", condition("ss", less(all_=30)))),  # far less than MS
        (2, changed("private_th", "suppress", condition("private", less(all_=45)))),  # lowers other languages too
        (3, changed("ss", "scale:1.5", condition("ss", less(all_=5)))),
        (3, changed("random_1", "scale:1.5", condition("random", less(all_=-9)))),
        (3, changed("ss", "scale:1.5", condition("ss", less(all_=-5), harmless=40))),
        (4, [replace(r, select={**r.select, "sizes": {"ss": {"zh": 5, "th": 6, "bn": 8, "jv": 9}}}) for r in THREE]),
        (5, [replace(r, trained={"ssn": condition("train ssn", less(all_=1))}) for r in THREE]),
        (5, [replace(r, trained={"ssn": condition("train ssn", less(all_=-20), harmless=50)}) for r in THREE]),
        (5, [replace(r, training={"ssn": {"trainable": 50, "parameters": 1000}}) for r in THREE]),
        (6, [replace(r, left_out={"ssn": {"jv": condition("without", less(all_=1))}}) for r in THREE]),
        (
            6,
            [replace(r, left_out={"ssn": {"jv": condition("without", less(all_=-4))}}) for r in THREE],
        ),  # a fifth of it
        (7, [replace(r, trained={"ssn": condition("train ssn", less(all_=-20), capable=70)}) for r in THREE]),
    ],
)
def test_a_claim_is_not_reproduced_where_one_part_fails_on_every_seed(number: int, runs: list[Results]):
    claim = next(c for c in paper.judge(runs) if c.number == number)
    assert claim.verdict == "not reproduced" and claim.why.startswith("fails: ")


def test_what_was_not_measured_is_said_with_its_name():
    bare = [replace(r, interventions={}, trained={}, left_out={}, training={}) for r in THREE]
    found = {c.number: c for c in paper.judge(bare)}
    assert {n for n, c in found.items() if c.verdict == "not measured"} == {1, 2, 3, 5, 6, 7}
    assert "not validated: ms_hr" in found[1].why and "ssn.without_<lang>" in found[6].why
    partly = [
        replace(r, interventions={n: o for n, o in r.interventions.items() if n != "ms_th.random_0"}) for r in THREE
    ]
    assert "ms_th.random_0" in next(c for c in paper.judge(partly) if c.number == 1).why


def moved(condition: Condition, kl: float) -> Condition:
    """The same, measured without a capability task: so far from the base in Javanese, half as far in the others."""
    by_lang = {lang: {**rates, "capability": None} for lang, rates in condition.by_lang.items()}
    return replace(condition, by_lang=by_lang, ability={lang: {"kl": kl if lang == "jv" else kl / 2} for lang in LANGS})


@pytest.mark.parametrize(
    ("kl", "failing"),
    [
        (0.1, set()),
        (0.19, {7}),
        (0.21, {1, 2, 3, 7}),
    ],  # limits: 0.2 in a language; 0.1 on average, which 0.19 · 3 / 5 is above
)
def test_the_distance_from_the_base_stands_in_for_a_capability_task(kl: float, failing: set[int]):
    runs = [
        replace(
            r,
            base=moved(r.base, 0.0),
            interventions={n: {op: moved(c, kl) for op, c in ops.items()} for n, ops in r.interventions.items()},
            trained={n: moved(c, kl) for n, c in r.trained.items()},
        )
        for r in THREE
    ]
    found = {c.number: c for c in paper.judge(runs)}
    assert {n for n, c in found.items() if c.verdict == "not reproduced"} == failing
    assert all(c.verdict == "reproduced" for n, c in found.items() if n not in failing)
    assert f"KL {kl:.2f} nats in jv, the most" in found[1].parts[1].told[0]


def test_a_random_training_that_does_as_much_is_shown_and_does_not_count():
    as_good = [replace(r, trained={**r.trained, "random": r.trained["ssn"]}) for r in THREE]
    claim = next(c for c in paper.judge(as_good) if c.number == 5)
    beside = next(p for p in claim.parts if not p.counts)
    assert claim.verdict == "reproduced" and beside.status == "fails"


@pytest.mark.parametrize(
    ("margins", "status"),
    [
        ((0.2, 0.21, 0.22), "holds"),
        ((0.2, 0.3), "open"),  # too few seeds
        ((0.01, 0.02, 0.9), "open"),  # the interval holds 0
        ((0.2, -0.1, 0.2), "open"),
        ((-0.1, -0.11, -0.1), "fails"),
        ((0.0, 0.0, 0.0), "fails"),
        ((0.01, -0.5, -0.51, -0.52, -0.5), "fails"),  # the interval lies below 0
        ((0.2, None, 0.3), "open"),
        ((None, None, None), "open"),
    ],
)
def test_the_rule_from_margins_to_a_status(margins: tuple[float | None, ...], status: str):
    part = Part("x", margins, tuple("told" for _ in margins))
    assert part.status == status
    word = {"holds": "reproduced", "fails": "not reproduced", "open": "unclear" if part.known else "not measured"}
    assert Claim(1, "x", (part,)).verdict == word[status]


def test_claims_over_seeds_are_plain_values_with_a_table_that_fits():
    found = claims.claims({0: THREE[0], 1: THREE[1], 4: THREE[2]})
    assert found["seeds"] == [0, 1, 4] and len(found["claims"]) == 7
    assert found["conditions"]["base"]["zh"]["values"] == [0.9, 0.9, 0.9]
    assert "train ssn.without_jv" in found["conditions"] and "suppress private_th" in found["conditions"]
    assert claims.sentences(found)[0].startswith("1. reproduced: Suppressing MS_l")
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(claims.table(found))
    assert max(map(len, console.export_text().splitlines())) <= 80


def test_claims_need_two_seeds_of_the_same_languages():
    with pytest.raises(EmptySetError, match="at least two seeds"):
        claims.claims({0: THREE[0]})
    other = replace(THREE[1], select={**THREE[1].select, "languages": ["en", "zh"]})
    with pytest.raises(MismatchError, match="different languages"):
        claims.claims({0: THREE[0], 1: other})


def shipped() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text())


def test_a_repetition_asks_for_what_the_claims_need_and_keeps_what_was_asked():
    wanted = repetitions.claimed(shipped())
    settings = params.build(params.Params, wanted, "params.yaml")
    before = params.load(SHIPPED)
    assert settings.validate.sets[: len(before.validate.sets)] == before.validate.sets
    assert {"ms_jv", "private_jv", "ms_jv.random_0", "ms_hr.random_0"} <= set(settings.validate.sets)
    assert (
        settings.validate.ops_of("ms_jv.random_0") == ("suppress",)
        and settings.validate.ops_of("ss") == before.validate.ops
    )
    assert {"ssn.without_jv", "ssn.without_zh"} <= set(settings.train.methods)
    assert "ssn.without_en" not in settings.train.methods and settings.targets["ms_th"].counted(settings.nhr) == ("th",)
    assert repetitions.claimed(wanted) == wanted and shipped() == yaml.safe_load(SHIPPED.read_text())
    short = params.build(params.Params, repetitions.claimed({**shipped(), "validate": {}, "train": {}}), "params.yaml")
    assert short.validate.sets == settings.validate.sets and short.train.methods == settings.train.methods


def test_a_method_without_a_language_trains_as_the_method_on_the_others():
    changed = shipped() | {"train": shipped()["train"] | {"methods": ["ssn.without_jv", "ss.random_3.without_th"]}}
    settings = params.build(params.Params, changed, "params.yaml")
    assert settings.method("ssn.without_jv") == settings.method("ssn")
    assert settings.training("ssn.without_jv").leave_out == ("jv",) and settings.training("ssn").leave_out == ()
    assert settings.method("ss.random_3.without_th").set == "ss.random_3"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("ssn.without_en", ParamsError, "leaves out en"),
        ("ssn.without_ko", ParamsError, "leaves out ko"),
        ("ssn.without_xx", UnknownNameError, "'xx'"),
        ("snn.without_jv", UnknownNameError, "ssn"),
    ],
)
def test_a_method_without_a_language_that_cannot_be_meant(name: str, kind: type[Exception], said: str):
    with pytest.raises(kind, match=said):
        params.build(params.Params, shipped() | {"train": {"methods": [name]}}, "params.yaml")
    with pytest.raises((ParamsError, UnknownNameError)):
        params.build(params.Params, shipped() | {"frontier": {"methods": ["ssn.without_jv"]}}, "params.yaml")
