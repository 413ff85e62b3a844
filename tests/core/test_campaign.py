"""Drawn faults over a mesh; and that a schedule that fails is cut down to what makes it fail."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from shivya_daemon.net import campaign
from shivya_daemon.net.campaign import Fault, Plan, attempt, draw, minimise
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time


@pytest.mark.parametrize("seed", range(10))
def test_a_mesh_is_whole_again_after_drawn_faults(seed: int) -> None:
    assert attempt(draw(seed, nodes=8, seconds=25.0)) == []


@pytest.mark.parametrize("seed", [100, 101])
def test_so_is_one_on_the_secure_wire(seed: int) -> None:
    assert attempt(draw(seed, nodes=8, seconds=25.0, wire="secure")) == []


def test_every_kind_of_fault_is_drawn_and_known() -> None:
    plans = [draw(seed) for seed in range(60)]
    kinds = {fault.kind for plan in plans for fault in plan.faults}
    assert kinds == set(campaign._KINDS)
    for kind in sorted(kinds):
        assert (
            attempt(Plan(1, nodes=3, seconds=2.0, loss=0.0, faults=(Fault(0.5, kind, (1,), 1.0, 0.5),))) == []
        )


def test_a_drawn_plan_is_a_function_of_its_seed_and_ends_all_its_faults() -> None:
    assert draw(7) == draw(7) != draw(8)
    for seed in range(40):
        plan = draw(seed, seconds=20.0)
        assert all(fault.at >= 0.0 and fault.at + fault.lasts <= 20.0 for fault in plan.faults)
        assert [fault.at for fault in plan.faults] == sorted(fault.at for fault in plan.faults)


def test_a_burst_of_loss_gives_back_the_loss_of_the_plan() -> None:
    network = MemoryNetwork(loss=0.15)
    plan = Plan(1, loss=0.15, faults=(Fault(1.0, "loss", (), 2.0, 0.5),))
    losses = []
    for _, action in campaign._timeline(plan, network, []):
        action()
        losses.append(network.loss)
    assert losses == [0.5, 0.15]


def test_the_one_fault_of_a_planted_failure_is_found() -> None:
    """The faults are those of a plan; what fails is any plan with one of them in it."""
    plan = draw(3, count=16)
    guilty = plan.faults[11]
    tried: list[int] = []

    def fails(candidate: Plan) -> bool:
        tried.append(len(candidate.faults))
        return guilty in candidate.faults

    assert minimise(plan, fails).faults == (guilty,)
    assert len(tried) < 40


def test_two_faults_that_fail_together_are_both_kept() -> None:
    plan = draw(4, count=16)
    pair = {plan.faults[2], plan.faults[13]}
    assert set(minimise(plan, lambda candidate: pair <= set(candidate.faults)).faults) == pair


def test_a_failure_in_the_mesh_itself_is_found_and_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that drops all for ever when somebody pauses stands for a fault in the product."""
    pause = MemoryNetwork.pause

    def spoiled(self: MemoryNetwork, node: object) -> None:
        pause(self, node)  # type: ignore[arg-type]
        self.mtu = 10

    monkeypatch.setattr(MemoryNetwork, "pause", spoiled)
    faults = (
        Fault(0.5, "reorder", (), 1.0, 0.3),
        Fault(1.0, "pause", (1,), 0.5),
        Fault(1.2, "skew", (2,), 1.0, 1.01),
    )
    plan = Plan(1, nodes=4, seconds=3.0, loss=0.0, faults=faults)
    assert any("does not find" in problem for problem in attempt(plan))
    assert minimise(plan).faults == (faults[1],)


def test_an_exception_is_a_problem_with_the_line_that_raised_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(MemoryNetwork, "move", broken)
    plan = Plan(1, nodes=2, seconds=1.0, faults=(Fault(0.1, "move", (0,), 0.1),))
    (problem,) = attempt(plan)
    assert problem.startswith("KeyError: 'gone' (test_campaign.py:")


@pytest.mark.parametrize(("kind", "code"), [("clean", 0), ("spoiled", 1)])
def test_the_command_prints_the_shortest_schedule(
    kind: Literal["clean", "spoiled"],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def judge(plan: Plan) -> list[str]:
        crashes = any(fault.kind == "crash" for fault in plan.faults)
        return ["n1 has 0 links"] if kind == "spoiled" and crashes else []

    monkeypatch.setattr(campaign, "attempt", judge)
    assert campaign.main(["--seeds", "20", "--nodes", "6"]) == code
    said = capsys.readouterr().out
    if kind == "clean":
        assert said == "20 seeds, 6 nodes each: every mesh was whole again\n"
    else:
        first, second, third, *rest = said.splitlines()
        assert first.endswith("fails: n1 has 0 links") and second == "shortest schedule that fails:"
        assert third.endswith("6 nodes, open wire")
        assert len(rest) == 1 and "crash" in rest[0]


def test_a_fault_of_an_unknown_kind_is_named() -> None:
    plan = Plan(1, nodes=2, seconds=1.0, faults=(Fault(0.1, "fire", (0,), 0.1),))
    assert attempt(plan)[0].startswith("ValueError: no fault is called 'fire'")


def test_faults_read_well() -> None:
    chance = random.Random(1)
    assert str(Fault(1.5, "loss", (1, 2), 3.25, 0.5)) == "   1.50 s  loss 0.5  nodes [1, 2]  for 3.25 s"
    assert "crash  nodes [3]" in str(Fault(chance.random(), "crash", (3,), 1.0))
