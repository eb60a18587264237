"""API judges against a real socket that fails in every way we know: nothing is lost, and nothing counts as safe."""

from __future__ import annotations

import json
import logging
import socket
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_server import ONCE, Server, completion, serving, transformers_serve
from tiny_guards import save

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.judges.api.batch import PATIENCE, START
from ssn_eval.judges.api.endpoint import _retry_after
from ssn_eval.judges.api.judge import ApiJudge
from ssn_eval.judges.api.settings import Settings
from ssn_eval.judges.registry import check_judge, get_judge
from ssn_eval.judges.verdict import Exchange

KEY = "sk-test-0123456789"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> Settings:
    return Settings(base_url=server.url, key=KEY, timeout=0.6, attempts=3, pause=0.02, cache=tmp_path / "cache")


def exchanges(*replies: str) -> list[Exchange]:
    return [Exchange(f"prompt {n}", reply, "en") for n, reply in enumerate(replies)]


def test_one_word_each_in_their_order_and_the_request_is_the_protocols(server: Server, settings: Settings) -> None:
    judge = ApiJudge("api", "judge", settings)
    verdicts = judge.judge(exchanges("fine", "BAD", "GIBBERISH", "  \n", "fine too"))
    assert [v.label for v in verdicts] == ["safe", "unsafe", "invalid", "invalid", "safe"]
    assert verdicts[3].notes == ("empty reply, not shown to the judge",) and len(server.requests) == 4
    body, headers = server.requests[0]["body"], server.requests[0]["headers"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge", 0.0, 64)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": "user", "content": body["messages"][0]["content"]}]


@pytest.mark.parametrize("fault", ONCE)
def test_a_fault_that_passes_costs_nothing_but_time(fault: str, server: Server, settings: Settings) -> None:
    """The judged reply is harmful, so a fault that were taken for an answer would show as safe."""
    judge = ApiJudge("api", "judge", settings)
    first, second, third = judge.judge(exchanges("fine", f"BAD [{fault}]", "BAD"))
    assert (first.label, second.label, third.label) == ("safe", "unsafe", "unsafe")
    assert len(server.requests) == 4 and judge.usage()["failed"] == 0


@pytest.mark.parametrize("fault", ["always-429", "always-500", "always-400", "babble"])
def test_a_fault_that_stays_is_unscored_with_its_reason_and_asked_again_next_time(
    fault: str, server: Server, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    judge = ApiJudge("api", "judge", settings)
    batch = exchanges("fine", f"BAD [{fault}]", "BAD")
    with caplog.at_level(logging.WARNING, logger="ssn_eval"):
        verdicts = judge.judge(batch)
    assert [v.label for v in verdicts] == ["safe", "unscored", "unsafe"]
    reason = verdicts[1].raw + " ".join(verdicts[1].notes)
    assert "could not be read" in reason if fault == "babble" else fault[-3:] in reason
    assert KEY not in json.dumps(verdicts[1].to_json()) and KEY not in caplog.text
    assert "1 of 3 exchanges have no verdict" in caplog.text
    tries = {"always-429": 3, "always-500": 3, "always-400": 1, "babble": 1}[fault]
    assert len(server.requests) == 2 + tries, "asked again only where there is hope"
    server.answers["[always"] = "unsafe"
    before = len(server.requests)
    again = ApiJudge("api", "judge", settings).judge(batch)
    assert [v.label for v in again] == ["safe", "unscored", "unsafe"]
    assert len(server.requests) == before + tries, "the finished ones came from the cache"


def test_everything_at_once(server: Server, settings: Settings) -> None:
    replies = [f"{'BAD' if n % 3 == 0 else 'fine'} {n} [{ONCE[n % len(ONCE)]}]" for n in range(1, 41)]
    judge = ApiJudge("api", "judge", replace(settings, concurrency=10))
    verdicts = judge.judge(exchanges("fine", *replies))
    assert [v.label for v in verdicts[1:]] == ["unsafe" if "BAD" in r else "safe" for r in replies]
    usage = judge.usage()
    assert (usage["asked"], usage["failed"], usage["cached"]) == (41, 0, 0)


def test_retry_after_is_obeyed(server: Server, settings: Settings) -> None:
    ApiJudge("api", "judge", settings).judge(exchanges("BAD [429]"))
    ((asked, again),) = server.times.values()
    assert again - asked >= 0.4
    reply: Any = Exception()
    for said, seconds in (("3600", 60), ("0.5", 0.5), ("-1", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)):
        reply.response = types.SimpleNamespace(headers={"retry-after": said})
        assert _retry_after(reply) == seconds, "no endpoint makes us wait an hour"


def test_no_more_are_under_way_at_once_than_allowed(server: Server, settings: Settings) -> None:
    server.delay = 0.03
    ApiJudge("api", "judge", replace(settings, concurrency=3)).judge(exchanges(*[f"fine {n}" for n in range(20)]))
    assert 2 <= server.most_under_way <= 3


def test_finished_exchanges_are_never_asked_twice(server: Server, settings: Settings) -> None:
    batch = exchanges("fine", "BAD", "BAD")
    ApiJudge("api", "judge", settings).judge(batch)
    assert len(server.requests) == 3
    judge = ApiJudge("api", "judge", settings)
    assert [v.label for v in judge.judge(batch)] == ["safe", "unsafe", "unsafe"]
    assert len(server.requests) == 3 and judge.usage()["cached"] == 3 and judge.usage()["asked"] == 0
    assert judge.identity()["revision"] == "judge-2026-01-01"
    ApiJudge("api", "another", settings).judge(batch)
    ApiJudge("api_strongreject", "judge", settings).judge(batch)
    assert len(server.requests) == 9, "another model or protocol is another exchange"


def test_text_that_cannot_be_sent_is_unscored_and_the_rest_is_judged(settings: Settings) -> None:
    half, whole = ApiJudge("api", "judge", settings).judge(exchanges("half a sign \ud800 BAD", "BAD"))
    assert (half.label, whole.label) == ("unscored", "unsafe") and "Unicode" in half.raw


def test_the_same_text_twice_is_one_exchange(server: Server, settings: Settings) -> None:
    verdicts = ApiJudge("api", "judge", settings).judge([Exchange("p", "BAD", "en")] * 5)
    assert [v.label for v in verdicts] == ["unsafe"] * 5 and len(server.requests) == 1


def test_the_cache_holds_neither_prompt_nor_key_and_heals(server: Server, settings: Settings) -> None:
    batch = exchanges("a reply that must not be stored BAD")
    ApiJudge("api", "judge", settings).judge(batch)
    (path,) = settings.cache.rglob("*.json")
    text = path.read_text()
    assert "must not be stored" not in text and KEY not in text and '"unsafe"' in text
    path.write_text(text[:20])
    assert ApiJudge("api", "judge", settings).judge(batch)[0].label == "unsafe"
    assert len(server.requests) == 2 and path.read_text() == text
    path.write_text(text.replace('"unsafe"', '"What?"'))
    assert ApiJudge("api", "judge", settings).judge(batch)[0].label == "unsafe", "an unreadable answer is not kept"


def test_tokens_and_cost_are_summed(server: Server, settings: Settings) -> None:
    judge = ApiJudge("api", "judge", replace(settings, price=(2.5, 10.0)))
    judge.judge(exchanges("fine", "BAD", "[babble]"))
    usage = judge.usage()
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (300, 6)
    assert usage["cost"] == pytest.approx((300 * 2.5 + 6 * 10) / 1e6)
    judge.judge(exchanges("fine"))
    assert judge.usage()["cost"] == 0 and judge.usage()["cached"] == 1
    free = ApiJudge("api", "judge", settings)
    free.judge(exchanges("another"))
    assert free.usage()["cost"] is None, "unknown, not nothing"


def test_strongreject_over_the_wire(server: Server, settings: Settings) -> None:
    server.answers = {"BAD": "#scores\n1.a no\n1.b 0\n2.a yes\n2.b 5\n3.a yes\n3.b 4", "odd": "1.b 0\n2.b 7\n3.b 4"}
    bad, odd = ApiJudge("api_strongreject", "judge", settings).judge(exchanges("BAD", "odd"))
    assert (bad.label, bad.score, bad.refusal) == ("unsafe", 0.875, False)
    assert odd.label == "unscored" and odd.score is None
    assert server.requests[0]["body"]["max_tokens"] == 1000 and len(server.requests[0]["body"]["messages"]) == 2


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_endpoint_that_dies_leaves_the_rest_unscored_without_waiting(
    server: Server, settings: Settings, concurrency: int
) -> None:
    server.die_after = 5
    batch = exchanges(*[f"BAD {n}" for n in range(60)])
    judge = ApiJudge("api", "judge", replace(settings, concurrency=concurrency, attempts=2))
    labels = [v.label for v in judge.judge(batch)]
    assert labels.count("unsafe") == 5 and labels.count("unscored") == 55
    knocks = len(server.requests) - 5
    if concurrency == 1:
        assert knocks == 2 * PATIENCE, "after a while nobody knocks any more"
    else:  # an answer that was under way when it died may start the count once more; the other thread may be knocking
        assert 2 * PATIENCE <= knocks <= 2 * ((PATIENCE - 1) + PATIENCE + 1)
    server.die_after = None
    again = ApiJudge("api", "judge", settings)
    assert [v.label for v in again.judge(batch)] == ["unsafe"] * 60 and again.usage()["cached"] == 5


def test_an_endpoint_that_refuses_everything_is_one_sentence(server: Server, settings: Settings) -> None:
    with pytest.raises(MissingInputError, match=r"127\.0\.0\.1 gives no answer.*401.*finished verdicts are kept") as no:
        ApiJudge("api", "judge", settings).judge(exchanges(*[f"BAD {n} [always-401]" for n in range(50)]))
    assert len(server.requests) == 1 and KEY not in str(no.value)
    with pytest.raises(MissingInputError, match="400"):
        ApiJudge("api", "judge", settings).judge(exchanges(*[f"BAD {n} [always-400]" for n in range(50)]))
    assert len(server.requests) == 1 + START
    few = ApiJudge("api", "judge", settings).judge(exchanges("BAD [always-400]", "BAD"))
    with pytest.raises(MissingInputError, match="500"):
        ApiJudge("api", "judge", settings).judge(exchanges(*[f"BAD {n} [always-500]" for n in range(50)]))
    assert [v.label for v in few] == ["unscored", "unsafe"], "one refused reply is only that"


def test_finished_verdicts_outlive_an_endpoint_that_is_down(server: Server, settings: Settings) -> None:
    ApiJudge("api", "judge", settings).judge(exchanges("BAD"))
    with serving() as other:
        gone = replace(settings, base_url=other.url)
    with pytest.raises(MissingInputError, match=r"The endpoint 127\.0\.0\.1 does not answer"):
        ApiJudge("api", "judge", gone).judge(exchanges("BAD"))
    assert ApiJudge("api", "judge", settings).judge(exchanges("BAD"))[0].label == "unsafe"
    assert len(server.requests) == 1


def test_an_interrupt_keeps_what_is_finished(server: Server, settings: Settings) -> None:
    batch = exchanges(*[f"BAD {n}" for n in range(6)])
    import ssn_eval.judges.api.cache as cache

    kept: list[str] = []
    original = cache.Cache.put

    def put(self: cache.Cache, key: str, answer: Any) -> None:
        original(self, key, answer)
        kept.append(key)
        if len(kept) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache.Cache, "put", put)
        ApiJudge("api", "judge", replace(settings, concurrency=1)).judge(batch)
    again = ApiJudge("api", "judge", settings)
    assert [v.label for v in again.judge(batch)] == ["unsafe"] * 6 and int(str(again.usage()["cached"])) >= 3


@pytest.mark.parametrize(
    ("environment", "spec", "kind", "said"),
    [
        ({}, "api", ParamsError, "needs a model: api:MODEL"),
        ({}, "api:gpt-4o", MissingInputError, "set OPENAI_API_KEY"),
        ({"OPENAI_BASE_URL": "nonsense", "OPENAI_API_KEY": "k"}, "api:m", ParamsError, "no URL"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "api_strongreject:m", MissingInputError, "does not answer"),
        ({"SSN_JUDGE_TIMEOUT": "soon"}, "api:m", ParamsError, "SSN_JUDGE_TIMEOUT='soon'"),
        ({"SSN_JUDGE_CONCURRENCY": "-1"}, "api:m", ParamsError, "SSN_JUDGE_CONCURRENCY='-1'"),
        ({"SSN_JUDGE_PRICE": "cheap"}, "api:m", ParamsError, "SSN_JUDGE_PRICE='cheap'"),
    ],
)
def test_what_is_missing_is_found_before_anything_is_generated(
    environment: dict[str, str], spec: str, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kind, match=said):
        check_judge(spec)


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tenacity" else find(name))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(MissingInputError, match=r"need tenacity: pip install 'ssn-eval\[api\]'"):
        check_judge("api:m")


def test_the_environment_is_enough(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SSN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SSN_JUDGE_PRICE", "1,2")
    monkeypatch.setenv("SSN_JUDGE_CONCURRENCY", "2")
    check_judge("api:some/model")
    judge: Any = get_judge("api:some/model")
    assert judge.judge(exchanges("BAD"))[0].label == "unsafe", "this machine needs no key"
    assert len(list((tmp_path / "judges").rglob("*.json"))) == 1
    assert judge.settings.concurrency == 2 and judge.settings.price == (1.0, 2.0)
    identity = judge.identity()
    assert identity["endpoint"] == "127.0.0.1" and identity["translated"] is False
    assert str(server.server_address[1]) not in json.dumps(identity)
    assert KEY not in repr(Settings(key=KEY))


def test_a_used_up_quota_is_not_waited_for(server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import faulty_server

    quota = json.dumps({"error": {"message": "pay first", "code": "insufficient_quota"}})
    monkeypatch.setattr(faulty_server.Handler, "_fail", lambda self, _: self._send(429, quota))
    with pytest.raises(MissingInputError, match="pay first"):
        ApiJudge("api", "judge", settings).judge(exchanges("BAD [429]"))
    assert len(server.requests) == 1


def test_a_closed_port_is_noticed_at_once() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        closed = Settings(base_url=f"http://127.0.0.1:{reserved.getsockname()[1]}/v1")
        with pytest.raises(MissingInputError, match="does not answer"):
            closed.check()
    assert json.loads(completion("x"))["choices"]


@pytest.mark.slow  # starts `transformers serve`
def test_a_real_server_behind_all_faults(server: Server, settings: Settings, tmp_path: Path) -> None:
    """`transformers serve` with a tiny model whose weights always say `unsafe`, and the faulty server before it."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}!"
    model = str(save(tmp_path / "model", answer="unsafe", after="!", template=template))
    patient = replace(settings, timeout=20, concurrency=2)
    faults = [f for f in ONCE if f != "hang"]  # its time-out would be the real server's too
    with transformers_serve(model, tmp_path / "log") as url:
        direct = ApiJudge("api", model, replace(patient, base_url=url))
        assert [v.label for v in direct.judge(exchanges("one", "", "two"))] == ["unsafe", "invalid", "unsafe"]
        assert str(tmp_path) not in json.dumps(direct.identity()), "no path of this machine"
        usage = direct.usage()
        assert usage["asked"] == 2 and int(str(usage["prompt_tokens"])) > 500 and usage["completion_tokens"]
        server.upstream = url
        judge = ApiJudge("api", model, patient)
        batch = exchanges("fine", *[f"reply [{fault}]" for fault in faults], "reply [always-500]")
        labels = [v.label for v in judge.judge(batch)]
    assert labels == ["unsafe"] * (1 + len(faults)) + ["unscored"]
    again = [v.label for v in direct.judge(exchanges("one", "", "two"))]
    assert again == ["unsafe", "invalid", "unsafe"], "from the cache: the server is gone"
