from __future__ import annotations

import pytest
from shivya.demo.accounts import Accounts, Delivery
from shivya.demo.messages import Moved, Task
from shivya.demo.plan import Arrival


def job(number: int, node: int = 0) -> Arrival:
    return Arrival(time=0.0, node=node, size=1.0, id=number)


def moved(number: int, hops: int, *, attempt: int = 0, sure: bool = True) -> Moved:
    return Moved(number, attempt, hops, "anywhere:1", sure)


@pytest.fixture
def books() -> Accounts:
    accounts = Accounts(3)
    accounts.submit(job(7), 10.0)
    return accounts


def test_wait_is_from_submission_to_first_completion(books: Accounts) -> None:
    books.completed(7, 12.5)
    books.completed(7, 99.0)
    assert books.waits() == [2.5]
    assert (books.submitted, books.done, books.open) == (1, 1, 0)


def test_a_second_completion_counts_as_twice(books: Accounts) -> None:
    books.completed(7, 11.0)
    assert books.twice == 0
    books.completed(7, 12.0)
    assert books.twice == 1


def test_a_death_resubmits_what_was_there_and_nothing_else(books: Accounts) -> None:
    books.submit(job(8, node=1), 10.0)
    books.submit(job(9, node=0), 10.0)
    books.completed(9, 11.0)
    assert books.died(0) == [Delivery(1, Task(7, 1.0, attempt=1))]
    assert books.resubmitted == 1
    books.completed(7, 12.0)
    books.completed(7, 13.0)
    assert books.twice == 0, "a resubmitted job may be done twice"
    assert books.open == 1


def test_a_job_that_moved_away_survives_the_death_of_its_first_node(books: Accounts) -> None:
    assert books.moved(moved(7, 1), node=2) is None
    assert books.died(0) == []
    assert books.died(2) == [Delivery(1, Task(7, 1.0, attempt=1))]


def test_late_news_of_a_move_to_a_dead_node_resubmits(books: Accounts) -> None:
    assert books.died(1) == []
    assert books.moved(moved(7, 1), node=1) == Delivery(0, Task(7, 1.0, attempt=1))
    assert books.resubmitted == 1


def test_news_that_was_overtaken_does_not_count(books: Accounts) -> None:
    books.moved(moved(7, 2), node=2)
    books.moved(moved(7, 1), node=1)
    assert books.moves == 2
    assert books.died(1) == [], "the job went on to node 2 already"
    assert [delivery.task.id for delivery in books.died(2)] == [7]


def test_news_of_an_earlier_attempt_does_not_count(books: Accounts) -> None:
    books.died(0)
    assert books.moved(moved(7, 5), node=0) is None
    assert books.resubmitted == 1


def test_a_doubtful_move_to_a_live_node_is_delivered_as_the_same_hand_over(books: Accounts) -> None:
    delivery = books.moved(moved(7, 1, sure=False), node=2)
    assert delivery == Delivery(2, Task(7, 1.0, attempt=0, hops=1))
    assert books.resubmitted == 0
    books.completed(7, 11.0)
    books.completed(7, 12.0)
    assert books.twice == 1, "no excuse: it was not resubmitted"


def test_a_doubtful_move_to_a_dead_node_is_resubmitted(books: Accounts) -> None:
    books.died(2)
    assert books.moved(moved(7, 1, sure=False), node=2) == Delivery(0, Task(7, 1.0, attempt=1))


def test_a_doubtful_move_that_arrived_and_went_on_needs_nothing(books: Accounts) -> None:
    books.moved(moved(7, 2), node=1)
    assert books.moved(moved(7, 1, sure=False), node=2) is None


def test_a_job_that_is_done_is_never_resubmitted(books: Accounts) -> None:
    books.completed(7, 11.0)
    assert books.died(0) == []
    assert books.moved(moved(7, 1), node=0) is None
    assert books.resubmitted == 0


def test_arrivals_for_a_dead_node_go_to_the_living_in_turn(books: Accounts) -> None:
    books.died(0)
    nodes = [delivery.node for n in range(20, 24) if (delivery := books.submit(job(n), 20.0)) is not None]
    assert sorted(nodes) == [1, 1, 2, 2]
    assert books.resubmitted == 1, "only what had been submitted before"


def test_with_everyone_dead_jobs_stay_open(books: Accounts) -> None:
    for node in (1, 2, 0):
        books.died(node)
    assert books.submit(job(8), 20.0) is None
    assert (books.submitted, books.done, books.open) == (2, 0, 2)


def test_a_resubmitted_job_is_resubmitted_again_when_it_must(books: Accounts) -> None:
    books.died(0)
    assert books.died(1) == [Delivery(2, Task(7, 1.0, attempt=2))]


def test_strange_ids_are_counted(books: Accounts) -> None:
    books.completed(999, 1.0)
    assert books.moved(moved(999, 1), node=1) is None
    assert books.unknown == 2
    assert books.submitted == 1
