"""Models over real HTTP on loopback: how many requests a failure costs, what is paid, when a call ends, what is kept of it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_server import HALF, INVALID, NEVER, Answer, Failing, ModelServer, Slow

from operators.models.call import Message, ModelError, ModelFailure, OutOfMoney, Reply
from operators.models.cassette import Cassette
from operators.models.desk import Desk, Patience, Record
from operators.models.ledger import Ledger
from operators.models.limits import Limiter
from operators.models.prices import Price, most_tokens, price_of
from operators.models.secrets import scrub
from operators.models.spec import ModelSpec

QUESTION = (Message("user", "Make it faster."),)
QUICK = Patience(retries=2, timeout=5.0, deadline=10.0, pause=0.01)
KEY = "sk-test-0123456789abcdef"


def spec(server: ModelServer, **changes: Any) -> ModelSpec:
    return replace(ModelSpec("openai/small", base_url=server.url, dollars_in=1.0, dollars_out=10.0, max_tokens=1000), **changes)


def ask(desk: Desk, model: str = "openai/small") -> Reply:
    return asyncio.run(desk.ask(QUESTION, model=model, purpose="test", asker=1))


def failing(desk: Desk) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        ask(desk)
    return caught.value


# ── one call ──


def test_an_answer_costs_what_its_tokens_cost() -> None:
    with ModelServer([Answer("faster", tokens_in=1000, tokens_out=200)]) as server:
        desk = Desk([spec(server)])
        reply = ask(desk)
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.requests) == ("faster", 1000, 200, 1)
    assert reply.dollars == pytest.approx(0.001 + 0.002) == desk.ledger.spent
    assert desk.ledger.reserved == 0.0


def test_an_answer_without_usage_counts_with_all_that_was_reserved() -> None:
    with ModelServer([Answer("faster", usage=False)]) as server:
        reply = ask(Desk([spec(server)]))
    assert reply.dollars == pytest.approx(most_tokens(QUESTION) * 1e-6 + 1000 * 1e-5)
    assert reply.facts == {"assumed": True}


def test_text_that_is_no_unicode_is_mended() -> None:
    with ModelServer(["a \ud800 b"]) as server:
        assert ask(Desk([spec(server)])).text == "a ? b"


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize(
    ("behaviour", "reason", "paid"),
    [
        (Failing(500), "server_error", False),
        (Failing(503), "server_error", False),
        (Failing(429, retry_after=0.01), "rate_limited", False),
        (HALF, "unreadable_answer", True),
        (INVALID, "unreadable_answer", True),
    ],
)
def test_a_call_that_fails_costs_exactly_one_request_and_its_retries(behaviour: Any, reason: str, paid: bool, retries: int) -> None:
    with ModelServer([behaviour]) as server:
        desk = Desk([spec(server)], patience=replace(QUICK, retries=retries))
        failure = failing(desk)
        assert server.requests == retries + 1 == failure.requests
    assert failure.reason == reason
    assert (desk.ledger.spent > 0) == paid and desk.ledger.reserved == 0.0


def test_a_server_that_is_not_there_is_unreachable_and_costs_nothing() -> None:
    with ModelServer(["never asked"]) as server:
        gone = spec(server)
    desk = Desk([gone], patience=QUICK)
    assert failing(desk).reason == "unreachable"
    assert desk.ledger.spent == 0.0


def test_a_call_recovers_and_pays_for_the_answer_alone() -> None:
    with ModelServer([Failing(500), Failing(429, retry_after=0.05), Answer("at last", tokens_in=10, tokens_out=10)]) as server:
        reply = ask(Desk([spec(server)], patience=QUICK))
        assert server.requests == 3
    assert reply.text == "at last" and reply.requests == 3 and reply.dollars == pytest.approx(10e-6 + 10e-5)


def test_retry_after_is_waited_for_by_every_call_of_the_model() -> None:
    with ModelServer([Failing(429, retry_after=0.6), "one", "two"]) as server:
        desk = Desk([spec(server, concurrency=1)], patience=QUICK)

        async def both() -> None:
            await asyncio.gather(*(desk.ask(QUESTION, model="openai/small", purpose="test") for _ in range(2)))

        asyncio.run(both())
        assert server.requests == 3
        assert min(server.times[1:]) - server.times[0] >= 0.6


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    with ModelServer([Failing(429, retry_after=3600)]) as server:
        began = time.monotonic()
        failure = failing(Desk([spec(server)], patience=QUICK))
        assert server.requests == 1
    assert failure.reason == "rate_limited" and time.monotonic() - began < 2.0


def test_a_server_that_never_answers_is_given_up_at_the_deadline() -> None:
    with ModelServer([NEVER]) as server:
        desk = Desk([spec(server)], patience=Patience(retries=5, timeout=0.25, deadline=0.6, pause=0.01))
        began = time.monotonic()
        failure = failing(desk)
        assert time.monotonic() - began < 1.5
        assert server.requests == failure.requests <= 4
    assert failure.reason in ("timeout", "deadline")
    assert desk.ledger.spent == pytest.approx(failure.dollars) and failure.dollars > 0.0  # nobody knows what the endpoint billed


def test_a_request_that_is_refused_is_not_repeated() -> None:
    with ModelServer([Failing(400)]) as server:
        assert failing(Desk([spec(server)], patience=QUICK)).reason == "refused_request"
        assert server.requests == 1


@pytest.mark.parametrize(("status", "words"), [(401, "refuses the key"), (404, "does not know model")])
def test_what_the_user_has_to_put_right_is_said_at_once(status: int, words: str) -> None:
    with ModelServer([Failing(status)]) as server:
        with pytest.raises(ModelError, match=words) as caught:
            ask(Desk([spec(server)], patience=QUICK))
        assert server.requests == 1
    assert caught.value.remedy


# ── money ──


def test_fifty_calls_at_once_never_exceed_the_dollar_cap() -> None:
    seen: list[float] = []
    with ModelServer(lambda body: Answer("x", tokens_in=40, tokens_out=1000)) as server:
        price = Price(1e-6, 1e-5)
        most = price.of(most_tokens(QUESTION), 1000)
        ledger = Ledger(10.5 * most)
        desk = Desk([spec(server, concurrency=50)], ledger=ledger, journal=lambda record: seen.append(ledger.spent + ledger.reserved))

        async def flood() -> list[object]:
            calls = [desk.ask(QUESTION, model="openai/small", purpose="test", asker=number) for number in range(50)]
            return list(await asyncio.gather(*calls, return_exceptions=True))

        answers = asyncio.run(flood())
        billed = server.requests * price.of(40, 1000)
    assert sum(isinstance(answer, Reply) for answer in answers) == server.requests >= 10
    assert all(isinstance(answer, (Reply, OutOfMoney)) for answer in answers)
    assert billed <= ledger.cap and ledger.spent == pytest.approx(billed) and ledger.reserved == 0.0  # type: ignore[operator]
    assert max(seen) <= ledger.cap * (1 + 1e-9) and desk.broke  # type: ignore[operator]


def test_money_that_calls_in_flight_give_back_is_waited_for() -> None:
    async def story() -> list[str]:
        ledger, order = Ledger(1.0), list[str]()

        async def second() -> None:
            await ledger.reserve(0.6)
            order.append("second")

        await ledger.reserve(0.6)
        task = asyncio.ensure_future(second())
        await asyncio.sleep(0.01)
        order.append("first paid little")
        await ledger.settle(0.6, 0.1)
        await task
        return order

    assert asyncio.run(story()) == ["first paid little", "second"]


def test_an_unknown_price_is_an_error_unless_it_is_allowed() -> None:
    unknown = ModelSpec("openai/of-my-own", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ModelError, match="price of model `openai/of-my-own` is not known") as caught:
        price_of(unknown, {}, unknown_is_free=False)
    assert "llm.unknown_price=free" in caught.value.remedy
    assert price_of(unknown, {}, unknown_is_free=True) == Price(0.0, 0.0)


def test_prices_come_from_the_config_first_and_a_private_endpoint_has_no_list_price() -> None:
    table = {"gpt-x": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}
    assert price_of(ModelSpec("openai/gpt-x"), table, unknown_is_free=False) == Price(1e-6, 2e-6)
    assert price_of(ModelSpec("openai/gpt-x", dollars_in=3, dollars_out=4), table, unknown_is_free=False) == Price(3e-6, 4e-6)
    with pytest.raises(ModelError):
        price_of(ModelSpec("openai/gpt-x", base_url="http://127.0.0.1:1/v1"), table, unknown_is_free=False)


# ── limits ──


def test_no_more_calls_are_at_once_than_the_model_allows() -> None:
    with ModelServer([Slow("x", 0.05)]) as server:
        desk = Desk([spec(server, concurrency=3)])

        async def flood() -> None:
            await asyncio.gather(*(desk.ask(QUESTION, model="openai/small", purpose="test") for _ in range(12)))

        asyncio.run(flood())
        assert server.most_at_once == 3 and server.requests == 12


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        rest = asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await rest(0)

        monkeypatch.setattr("operators.models.limits.asyncio.sleep", sleep)

    def __call__(self) -> float:
        return self.now


def sent(clock: Clock, limiter: Limiter, tokens: list[int]) -> list[float]:
    times: list[float] = []

    async def story() -> None:
        for number in tokens:
            async with limiter.slot(number):
                times.append(clock.now)

    asyncio.run(story())
    return times


def test_requests_and_tokens_of_any_minute_stay_under_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert sent(clock, Limiter(1, 2, None, clock=clock), [1] * 5) == [0.0, 0.0, 60.0, 60.0, 120.0]
    clock.now = 0.0
    assert sent(clock, Limiter(1, None, 100, clock=clock), [60, 60, 30, 200, 10]) == [0.0, 60.0, 60.0, 120.0, 180.0]


# ── what is kept ──


def test_calls_are_stored_before_the_answer_is_returned_and_stored_answers_are_not_paid_again() -> None:
    records: list[Record] = []
    with ModelServer([Answer("first"), Failing(500)]) as server:
        desk = Desk([spec(server)], patience=replace(QUICK, retries=0), journal=records.append)
        ask(desk)
        failing(desk)
        kept = Desk([spec(server)], stored={1: [Reply("openai/small", "from before")]})
        assert ask(kept).text == "from before"
        assert server.requests == 2
    assert [type(record.outcome).__name__ for record in records] == ["Reply", "ModelFailure"]


@pytest.mark.parametrize("mode", ["cache", "replay"])
def test_a_cassette_answers_without_a_network_byte_for_byte(tmp_path: Path, mode: str) -> None:
    tape = tmp_path / "tape.jsonl"
    with ModelServer(["one £ \x7f", "two", Failing(500)]) as server:
        desk = Desk([spec(server)], patience=replace(QUICK, retries=0), cassette=Cassette(tape))
        first = [ask(desk).text, ask(desk).text, failing(desk).reason]
        gone = spec(server)
    again = Desk([gone], cassette=Cassette(tape, replay=mode == "replay"))
    assert [ask(again).text, ask(again).text, failing(again).reason] == first
    assert (again.ledger.spent > 0) == (mode == "replay")  # a replay repeats the run's spending too, a cache saves it


def test_a_replay_that_lacks_an_answer_says_so(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    tape.write_text('{"key": "cut sho')
    with pytest.raises(ModelError, match="no answer to this question"):
        ask(Desk([ModelSpec("openai/small")], cassette=Cassette(tape, replay=True)))
    with pytest.raises(ModelError, match="no recording"):
        Cassette(tmp_path / "none.jsonl", replay=True)


def test_keys_reach_the_endpoint_and_nothing_else(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    records: list[Record] = []
    with ModelServer([Failing(500, echo=True), Answer(f"your key is {KEY}"), Failing(401, echo=True)]) as server:
        desk = Desk([spec(server, key="MY_KEY")], patience=replace(QUICK, retries=0), journal=records.append)
        failure = failing(desk)
        reply = ask(desk)
        with pytest.raises(ModelError) as refused:
            ask(desk)
        assert server.keys == [f"Bearer {KEY}"] * 3
    said = "\n".join(
        [str(failure), repr(failure), reply.text, str(refused.value), repr(refused.value.__context__), repr(records), *capfd.readouterr()]
    )
    assert KEY not in said and "[hidden]" in said


def test_a_providers_key_is_not_sent_to_an_endpoint_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("EVO_API_KEY", raising=False)
    with ModelServer(["x"]) as server:
        ask(Desk([spec(server)]))
        ask(Desk([spec(server, key="OPENAI_API_KEY")]))
        assert server.keys == ["Bearer none", f"Bearer {KEY}"]


def test_scrubbing_knows_values_of_secret_variables_and_the_usual_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "plainword")
    assert scrub("a plainword, Bearer abcdefgh123, sk-abcdefghijklmnop, task-oriented") == "a [hidden], [hidden], [hidden], task-oriented"


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ModelError, match="no variable MY_KEY"):
        ModelSpec("openai/x", key="MY_KEY").secret()


# ── which model ──


@pytest.mark.parametrize("kind", ["ucb", "thompson"])
def test_a_bandit_prefers_the_model_that_improves_more_per_dollar(kind: str) -> None:
    models = [ModelSpec("openai/good", dollars_in=1, dollars_out=1), ModelSpec("openai/dear", dollars_in=9, dollars_out=9)]
    desk, rng = Desk(models, choose=kind), random.Random(5)
    chosen = []
    for _ in range(400):
        model = desk.choose(rng)
        chosen.append(model)
        desk.learn(model, rng.random() * 0.2, 0.01 if model == "openai/good" else 0.1, 1.0)
    assert chosen[200:].count("openai/good") > 150 and "openai/dear" in chosen


def test_fixed_weights_are_kept() -> None:
    desk, rng = Desk([ModelSpec("a/b", weight=3.0), ModelSpec("c/d", weight=1.0)]), random.Random(1)
    assert [desk.choose(rng) for _ in range(2000)].count("a/b") / 2000 == pytest.approx(0.75, abs=0.04)


def test_recorded_lines_are_json(tmp_path: Path) -> None:
    tape = tmp_path / "deep" / "tape.jsonl"
    with ModelServer(["x"]) as server:
        ask(Desk([spec(server)], cassette=Cassette(tape)))
    (line,) = tape.read_text().splitlines()
    assert json.loads(line)["answer"] == "x"
