"""Where sessions go: rules one by one, then a simulated cluster with several gateways, losses and drains."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from streaming.cluster_placement import Load, Placement, holder, id_prefix, new_name


def placed(placement: Placement, now: float = 0.0, avoid: frozenset[str] = frozenset()) -> str | None:
    """Where one more session goes, None for nowhere."""
    ticket = object()
    assert placement.ask(ticket, now, avoid)
    granted = dict(placement.grant(now))
    placement.forget(ticket)
    return granted.get(ticket)


def test_an_id_names_its_replica() -> None:
    name = new_name()
    assert holder(f"{id_prefix(name)}abc-DEF_123") == name
    assert len({new_name() for _ in range(100)}) == 100


@pytest.mark.parametrize("odd", ["", "abc", "0123456", "0123456g-x", "01234567", "../0123456-", "01234567_x"])
def test_what_is_no_id_of_a_cluster_names_none(odd: str) -> None:
    assert holder(odd) is None


def test_the_most_room_wins_and_then_the_least_load() -> None:
    placement = Placement()
    placement.heard("a", Load(3, 6), 0)
    placement.heard("b", Load(1, 4), 0)
    assert placed(placement) == "b"  # both have room for three, b is emptier
    placement.heard("b", Load(2, 4), 0)
    placement.settle("b")
    assert placed(placement) == "a"


def test_a_session_that_comes_counts_at_once() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 1), 0)
    assert placed(placement) == "a"
    assert placed(placement) is None
    placement.settle("a")
    assert placed(placement) == "a"


def test_what_was_said_before_is_not_believed_after() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 1, number=1), 0)
    assert placed(placement) == "a"
    placement.heard("a", Load(1, 1, number=3), 0)  # with the answer
    placement.settle("a")
    placement.heard("a", Load(0, 1, number=2), 1)  # on the link, which is slower
    assert placement.loads["a"].sessions == 1
    assert placed(placement, 1) is None
    placement.heard("a", Load(0, 1, number=4), 2)
    assert placed(placement, 2) == "a"


def test_a_replica_that_drains_takes_none() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 6, open=False), 0)
    assert placed(placement) is None


def test_a_silent_replica_takes_none_until_it_speaks() -> None:
    placement = Placement(silence_s=1.5)
    placement.heard("a", Load(0, 6), 0)
    assert placed(placement, 1.5) == "a"
    assert placed(placement, 1.6) is None
    placement.heard("a", Load(0, 6), 2)
    assert placed(placement, 2) == "a"


def test_a_lost_replica_is_forgotten_with_what_was_coming() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 1), 0)
    assert placed(placement) == "a"
    placement.lost("a")
    placement.lost("a")
    placement.settle("a")
    assert placement.loads == {}
    placement.heard("a", Load(0, 1), 0)
    placement.settle("a")  # of its life before
    assert placement.loads == {"a": Load(0, 1)}


def test_those_who_wait_are_served_in_their_order() -> None:
    placement = Placement()
    assert placement.ask("first", 0)
    assert placement.ask("second", 0)
    assert list(placement.grant(0)) == []
    placement.heard("a", Load(0, 1), 1)
    assert list(placement.grant(1)) == [("first", "a")]
    placement.heard("b", Load(0, 1), 1)
    assert list(placement.grant(1)) == [("second", "b")]
    assert placement.waiting == 0


def test_waiting_is_bounded_in_number_and_time() -> None:
    placement = Placement(most_waiting=2, patience_s=5)
    assert placement.ask("first", 0)
    assert placement.ask("second", 1)
    assert not placement.ask("third", 1)
    assert placement.expired(4.9) == []
    assert placement.expired(5) == ["first"]
    placement.forget("second")
    placement.forget("second")
    assert placement.waiting == 0


def test_a_refusal_is_not_asked_again() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 9), 0)
    placement.heard("b", Load(8, 9), 0)
    assert placed(placement, avoid=frozenset("a")) == "b"
    assert placed(placement, avoid=frozenset("ab")) is None


def test_one_who_may_not_go_anywhere_does_not_hold_up_the_next() -> None:
    placement = Placement()
    placement.heard("a", Load(0, 9), 0)
    assert placement.ask("picky", 0, frozenset("a"))
    assert placement.ask("easy", 0)
    assert list(placement.grant(0)) == [("easy", "a")]


def test_the_steady_replica_stays_as_others_come() -> None:
    placement = Placement()
    assert placement.steady() is None
    placement.heard("b", Load(0, 1, open=False), 0)
    assert placement.steady() == "b"
    placement.heard("a", Load(0, 1), 0)
    placement.heard("c", Load(0, 1), 0)
    assert placement.steady() == "a"
    placement.lost("a")
    assert placement.steady() == "c"


@dataclass
class SimReplica:
    """A server as gateways see it: takes what it has room for, tells of itself with a delay."""

    name: str
    capacity: int
    draining: bool = False
    sessions: set[int] = field(default_factory=set)

    def open(self, session: int) -> bool:
        if self.draining or len(self.sessions) >= self.capacity:
            return False
        self.sessions.add(session)
        return True


class SimCluster:
    """Replicas, gateways, and messages that take their time, in simulated seconds."""

    def __init__(self, seed: int, gateways: int, delay_s: float) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.delay_s = delay_s
        self.replicas: dict[str, SimReplica] = {}
        self.gateways = [Placement(patience_s=2.0) for _ in range(gateways)]
        self.letters: deque[tuple[float, str, Load]] = deque()
        self.asking: list[dict[int, frozenset[str]]] = [{} for _ in range(gateways)]
        self.place: dict[int, str] = {}
        self.refused_by_replica = 0
        self.turned_away = 0
        self.lost: set[int] = set()
        self.ended: set[int] = set()
        self.number = 0
        self.words = 0

    def add(self) -> None:
        name = f"{self.random.getrandbits(32):08x}"
        self.replicas[name] = SimReplica(name, self.random.randint(1, 5))

    def say(self, name: str) -> Load:
        self.words += 1
        one = self.replicas[name]
        return Load(len(one.sessions), one.capacity, not one.draining, self.words)

    def tell(self) -> None:
        for name in self.replicas:
            self.letters.append((self.now + self.delay_s, name, self.say(name)))

    def step(self) -> None:
        self.now += 0.05
        self.tell()
        while self.letters and self.letters[0][0] <= self.now:
            _, name, load = self.letters.popleft()
            if name in self.replicas:
                for gateway in self.gateways:
                    gateway.heard(name, load, self.now)
        action = self.random.random()
        if action < 0.5:
            self.ask()
        elif action < 0.75 and self.place:
            self.end(self.random.choice(sorted(self.place)))
        elif action < 0.77 and len(self.replicas) > 1:
            self.kill(self.random.choice(sorted(self.replicas)))
        elif action < 0.80:
            self.replicas[self.random.choice(sorted(self.replicas))].draining = True
        elif action < 0.84 and len(self.replicas) < 8:
            self.add()
        for one in [one for one in self.replicas.values() if one.draining and not one.sessions]:
            self.kill(one.name)
        while len(self.replicas) < 2:
            self.add()
        for index in range(len(self.gateways)):
            self.serve(index)

    def ask(self) -> None:
        self.number += 1
        index = self.random.randrange(len(self.gateways))
        if self.gateways[index].ask(self.number, self.now):
            self.asking[index][self.number] = frozenset()
        else:
            self.turned_away += 1

    def serve(self, index: int) -> None:
        gateway = self.gateways[index]
        for late in gateway.expired(self.now):
            assert isinstance(late, int)
            del self.asking[index][late]
            self.turned_away += 1
        for ticket, name in gateway.grant(self.now):
            assert isinstance(ticket, int)
            assert name in self.replicas, "sent to a replica that is known to be lost"
            opened = self.replicas[name].open(ticket)
            gateway.heard(name, self.say(name), self.now)
            gateway.settle(name)
            if opened:
                assert ticket not in self.place, "one session in two places"
                self.place[ticket] = name
                del self.asking[index][ticket]
            else:
                self.refused_by_replica += 1
                if not gateway.ask(ticket, self.now, self.asking[index][ticket]):
                    del self.asking[index][ticket]
                    self.turned_away += 1

    def end(self, session: int) -> None:
        self.replicas[self.place.pop(session)].sessions.remove(session)
        self.ended.add(session)

    def kill(self, name: str) -> None:
        gone = self.replicas.pop(name)
        for gateway in self.gateways:
            gateway.lost(name)
        for session in gone.sessions:
            del self.place[session]
            self.lost.add(session)

    def check(self) -> None:
        held = [session for one in self.replicas.values() for session in one.sessions]
        assert len(held) == len(set(held)) == len(self.place), "a session without one place"
        for session, name in self.place.items():
            assert session in self.replicas[name].sessions
        assert all(len(one.sessions) <= one.capacity for one in self.replicas.values())
        waiting = sum(len(asking) for asking in self.asking)
        known = len(self.place) + len(self.lost) + len(self.ended) + self.turned_away + waiting
        assert known == self.number, "a request that is neither answered nor waiting"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("gateways", "delay_s"), [(1, 0.0), (1, 0.4), (3, 0.0), (3, 0.4)])
def test_a_simulated_cluster_keeps_its_promises(seed: int, gateways: int, delay_s: float) -> None:
    cluster = SimCluster(seed, gateways, delay_s)
    for _ in range(3):
        cluster.add()
    for _ in range(400):
        drained = {name: set(one.sessions) for name, one in cluster.replicas.items() if one.draining}
        before = set(cluster.place)
        lost_before = set(cluster.lost)
        cluster.step()
        cluster.check()
        for name, sessions in drained.items():
            if name in cluster.replicas:
                assert cluster.replicas[name].sessions <= sessions, "a replica that drains took a session"
        newly_lost = cluster.lost - lost_before
        kept = before - newly_lost - cluster.ended
        assert kept <= set(cluster.place), "a loss cost others their sessions"
    assert cluster.number > 100
    assert len(cluster.lost) + len(cluster.ended) > 50


@pytest.mark.parametrize("seed", range(10))
def test_room_that_is_there_is_given_within_the_delay_of_its_news(seed: int) -> None:
    cluster = SimCluster(seed, 2, 0.2)
    cluster.add()
    name = next(iter(cluster.replicas))
    capacity = cluster.replicas[name].capacity
    for _ in range(capacity):
        cluster.ask()
    for _ in range(8):
        cluster.now += 0.05
        cluster.tell()
        while cluster.letters and cluster.letters[0][0] <= cluster.now:
            _, told, load = cluster.letters.popleft()
            for gateway in cluster.gateways:
                gateway.heard(told, load, cluster.now)
        for index in range(2):
            cluster.serve(index)
    assert len(cluster.replicas[name].sessions) == capacity
