"""Breakers: when they open, whom they let through, and what the decision makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.router.fleet.fleet import Fleet, in_order
from enginehouse.router.fleet.health import Breaker, BreakerState, BreakerTerms, Health, HealthMetrics, HealthSettings

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def breaker(**terms: float) -> Breaker:
    return Breaker(terms=BreakerTerms(**terms), jitter=lambda: 0.0)  # type: ignore[arg-type]


class Mesh:
    """Engines that each serve some models, as a router sees them through the registry."""

    def __init__(self, engines: dict[str, tuple[str, ...]], **settings: float) -> None:
        self.now = 1000.0
        self.engines = dict(engines)
        self.tallies: dict[tuple[str, str], list[int]] = {}
        self.refusing: set[tuple[str, str]] = set()
        self.active: dict[str, int] = {}
        self.health = Health(
            settings=HealthSettings.model_validate(settings), clock=lambda: self.now, jitter=lambda: 0.0
        )
        self.fleet = Fleet(health=self.health)
        self.update()

    def update(self) -> None:
        self.fleet.update(
            registry_pb2.LiveEngine(
                engine=registry_pb2.Engine(
                    engine_id=engine_id,
                    address=f"127.0.0.1:{5000 + number}",
                    cluster="inference",
                    capacity=4,
                    models=[registry_pb2.ServedModel(name=name) for name in models],
                ),
                load=registry_pb2.Load(
                    active=self.active.get(engine_id, 0),
                    tallies=[
                        registry_pb2.ModelTally(
                            model=model, answered=counts[0], failed=counts[1], refusing=(model, one) in self.refusing
                        )
                        for (model, one), counts in sorted(self.tallies.items())
                        if one == engine_id
                    ],
                ),
            )
            for number, (engine_id, models) in enumerate(self.engines.items())
        )

    def tally(self, model: str, engine_id: str, *, answered: int = 0, failed: int = 0) -> None:
        counts = self.tallies.setdefault((model, engine_id), [0, 0])
        counts[0] += answered
        counts[1] += failed
        self.update()

    def order(self, model: str = "m", affinity: int = 0) -> list[str]:
        return [endpoint.engine_id for endpoint in self.fleet.serving(model, affinity=affinity)]

    def send(self, model: str = "m") -> str:
        first = self.fleet.serving(model)[0]
        self.fleet.sent(first, model)
        return first.engine_id


def two_engines(**settings: float) -> Mesh:
    return Mesh({"a": ("m",), "b": ("m",)}, **settings)


def test_a_breaker_opens_by_failures_and_their_share() -> None:
    one = breaker(failures=5, failure_share=0.5)
    one.record(0, answered=4, failed=4)
    assert one.state(0) is CLOSED
    one.record(1, answered=2, failed=1)
    assert one.state(1) is CLOSED, "5 of 11 is under half"
    one.record(2, answered=0, failed=1)
    assert one.state(2) is OPEN


def test_failures_long_ago_do_not_count() -> None:
    one = breaker(failures=5, window_s=10)
    one.record(0, answered=0, failed=4)
    one.record(25, answered=0, failed=1)
    assert one.state(25) is CLOSED
    one.record(26, answered=0, failed=4)
    assert one.state(26) is OPEN


def test_it_tries_again_ever_later_and_closes_by_an_answer() -> None:
    one = breaker(failures=1, open_s=1, max_open_s=5)
    now = 100.0
    one.record(now, answered=0, failed=1)
    for span in (1, 2, 4, 5, 5):
        assert one.until == now + span
        assert not one.lets_through(now + span - 0.01)
        now += span
        assert one.state(now) is HALF_OPEN
        one.record(now, answered=0, failed=1)
    now = one.until
    one.record(now, answered=1, failed=0)
    assert one.state(now) is CLOSED
    # Soon after it is not trusted as before; after a while it is.
    one.record(now + 1, answered=0, failed=1)
    assert one.until == now + 1 + 5
    one.record(now + 6, answered=1, failed=0)
    one.record(now + 1000, answered=0, failed=1)
    assert one.until == now + 1000 + 1


def test_what_was_under_way_when_it_opened_does_not_close_it() -> None:
    one = breaker(failures=1, open_s=10)
    one.record(0, answered=0, failed=1)
    one.record(5, answered=9, failed=0)
    assert one.state(5) is OPEN


def test_probes_are_few_and_a_lost_one_is_replaced() -> None:
    one = breaker(failures=1, open_s=1, probes=2, probe_s=10)
    one.record(0, answered=0, failed=1)
    assert not one.lets_through(0.5)
    for _ in range(2):
        assert one.lets_through(1)
        one.sent(1)
    assert not one.lets_through(1)
    assert not one.lets_through(10.9)
    assert one.lets_through(11)
    one.sent(11)
    assert one.lets_through(11)
    one.sent(11)
    assert not one.lets_through(20.9)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=60))
def test_whatever_happens_a_breaker_lets_something_through_in_time(events: list[tuple[float, int, int, bool]]) -> None:
    one = breaker(failures=2, open_s=1, max_open_s=8, window_s=10)
    now = 0.0
    for pause, answered, failed, send in events:
        now += pause
        if send and one.lets_through(now):
            one.sent(now)
        one.record(now, answered=answered, failed=failed)
        assert one.lets_through(now + 8 * 1.1 + 10)


def test_an_engine_that_fails_is_left_out_and_one_probe_brings_it_back() -> None:
    mesh = two_engines()
    mesh.tally("m", "a", failed=5)
    assert mesh.health.state("m", "a") is OPEN
    assert mesh.order() == ["b"]
    assert mesh.fleet.is_well("m")
    mesh.now += 1
    assert mesh.health.state("m", "a") is HALF_OPEN
    # The probe goes first, so that it happens, and the other stands by.
    assert mesh.order() == ["a", "b"]
    assert [mesh.send() for _ in range(4)] == ["a", "b", "b", "b"]
    mesh.tally("m", "a", answered=1)
    assert mesh.health.state("m", "a") is CLOSED
    assert set(mesh.order()) == {"a", "b"}


def test_every_router_learns_the_same_from_the_registry() -> None:
    """Whichever router had the calls, tallies are the engines' own; one that starts later does not count history."""
    mesh = two_engines()
    mesh.tally("m", "a", failed=4)
    late = Mesh({"a": ("m",), "b": ("m",)})
    late.tallies = mesh.tallies
    late.health = Health(clock=lambda: late.now, jitter=lambda: 0.0)
    late.fleet = Fleet(health=late.health)
    for replica in (mesh, late):
        replica.update()
    mesh.tallies["m", "a"][1] += 1
    for replica in (mesh, late):
        replica.update()
    assert mesh.health.state("m", "a") is OPEN
    assert late.health.state("m", "a") is CLOSED
    mesh.tallies["m", "a"][1] += 4
    late.update()
    assert late.health.state("m", "a") is OPEN


def test_an_engine_that_starts_anew_tallies_from_nothing() -> None:
    mesh = two_engines()
    mesh.tally("m", "a", answered=100, failed=3)
    mesh.tallies["m", "a"] = [0, 2]
    mesh.update()
    assert mesh.health.state("m", "a") is CLOSED
    mesh.tally("m", "a", failed=98)
    assert mesh.health.state("m", "a") is OPEN


def test_one_bad_engine_is_not_a_bad_model_but_two_are() -> None:
    mesh = two_engines()
    # Before the second has ended its first answer, or failed, nothing is known of it.
    mesh.tally("m", "a", failed=20)
    assert mesh.fleet.is_well("m")
    mesh.tally("m", "b", answered=20)
    mesh.tally("m", "a", failed=20)
    assert mesh.fleet.is_well("m")
    bad = two_engines()
    bad.tally("m", "a", failed=4)
    bad.tally("m", "b", failed=4)
    assert bad.fleet.is_well("m")
    bad.tally("m", "b", failed=2)
    assert bad.health.state("m") is OPEN
    assert not bad.fleet.is_well("m")
    assert bad.fleet.health_of("m") == "2 live, 1 open; failing everywhere (open)"
    alone = Mesh({"a": ("m",)})
    alone.tally("m", "a", failed=10)
    assert not alone.fleet.is_well("m")


def test_where_all_are_open_the_least_bad_is_tried_and_nobody_is_refused() -> None:
    mesh = two_engines()
    mesh.tally("m", "b", failed=5)
    mesh.now += 0.5
    mesh.tally("m", "a", failed=5)
    assert not mesh.fleet.is_well("m")
    assert mesh.order() == ["b", "a"], "the one that may be probed soonest"


def test_a_provider_that_is_away_takes_the_engine_out_until_it_says_otherwise() -> None:
    mesh = two_engines()
    mesh.tally("m", "a", failed=1)
    mesh.refusing.add(("m", "a"))
    mesh.update()
    assert mesh.health.state("m", "a") is OPEN
    mesh.now += 600
    assert mesh.order() == ["b"]
    mesh.refusing.clear()
    mesh.update()
    assert mesh.health.state("m", "a") is HALF_OPEN
    assert [mesh.send(), mesh.send()] == ["a", "b"]


def test_an_engine_that_vanished_is_tried_with_care_when_it_is_back() -> None:
    mesh = two_engines()
    gone = mesh.engines.pop("a")
    mesh.update()
    assert mesh.order() == ["b"]
    mesh.engines = {"a": gone, **mesh.engines}
    mesh.update()
    assert mesh.order() == ["b"]
    mesh.now += 1
    assert mesh.send() == "a"
    assert mesh.send() == "b"


def test_other_models_of_an_engine_are_none_the_worse() -> None:
    mesh = Mesh({"a": ("m", "n"), "b": ("m", "n")})
    mesh.tally("m", "a", failed=9)
    assert mesh.order("m") == ["b"]
    assert set(mesh.order("n")) == {"a", "b"}
    assert list(mesh.health.troubled()) == [("m", "a", OPEN)]
    assert mesh.health.opened["m"] == 1


def test_metrics_name_what_is_not_closed() -> None:
    mesh = two_engines()
    registry = CollectorRegistry()
    registry.register(HealthMetrics(mesh.health))
    assert b"breaker_open{" not in generate_latest(registry)
    mesh.tally("m", "a", failed=5)
    text = generate_latest(registry).decode()
    assert 'enginehouse_router_breaker_open{engine="a",model="m"} 1.0' in text
    assert 'enginehouse_router_breakers_opened_total{model="m"} 1.0' in text
    mesh.now += 1
    assert 'enginehouse_router_breaker_open{engine="a",model="m"} 0.5' in generate_latest(registry).decode()


def test_breakers_are_forgotten_once_all_is_well() -> None:
    mesh = two_engines(window_s=5, max_open_s=5)
    mesh.tally("m", "a", failed=5)
    mesh.now += 1
    mesh.tally("m", "a", answered=1)
    assert not mesh.health.untroubled
    mesh.now += 100
    mesh.update()
    assert mesh.health.untroubled


def test_endpoints_of_fallbacks_follow_within_five() -> None:
    mesh = Mesh({name: ("m", "n") if name in "ab" else ("n",) for name in "abcdef"} | {"g": ("m",), "h": ("m",)})
    first, second = mesh.fleet.serving("m"), mesh.fleet.serving("n")
    ordered = in_order([first, second])
    assert [endpoint.engine_id for endpoint in ordered[:2]] == [endpoint.engine_id for endpoint in first[:2]]
    assert len(ordered) == len({endpoint.address for endpoint in ordered}) == 4
    assert all(endpoint in second for endpoint in ordered[2:])
    assert len(in_order([mesh.fleet.serving("n")])) == 5
