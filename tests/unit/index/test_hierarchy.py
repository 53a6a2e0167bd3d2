"""Who a patient is, and what a writer remembers of rows it has seen."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from archive.index.hierarchy import Known, Memory, identity_key

NOBODY: frozenset[str] = frozenset()
texts = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), min_size=1, max_size=12)


def known(number: int) -> Known:
    """Return what is known of a row."""
    return Known(number, NOBODY)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"PatientID": "7", "IssuerOfPatientID": "INS"}, "INS\x1f7"),
        ({"PatientID": "7"}, "site:CHU\x1f7"),
        ({"StudyInstanceUID": "1.2"}, "study:1.2"),
        ({"StudyInstanceUID": "1.2", "IssuerOfPatientID": "INS"}, "study:1.2"),
    ],
)
def test_identity_is_issuer_and_number(values: Mapping[str, str], expected: str) -> None:
    """The site stands for a missing issuer, the study for a missing number."""
    assert identity_key(values, "CHU") == expected


def test_a_long_identity_is_known_by_its_digest() -> None:
    """An entry of a database index has a limit; up to it the identity stays readable."""
    short, long = identity_key({"PatientID": "x" * 512}, "CHU"), identity_key({"PatientID": "é" * 600}, "CHU")
    assert short.endswith("x" * 512)
    assert long.startswith("sha256:")
    assert len(long) == len("sha256:") + 64


@given(texts, texts, texts, texts)
def test_two_identities_are_equal_only_when_both_parts_are(
    issuer: str, number: str, other_issuer: str, other: str
) -> None:
    """No issuer and number can be cut differently into another pair."""
    one = identity_key({"PatientID": number, "IssuerOfPatientID": issuer}, "CHU")
    two = identity_key({"PatientID": other, "IssuerOfPatientID": other_issuer}, "CHU")
    assert (one == two) == ((issuer, number) == (other_issuer, other))


def test_a_transaction_sees_what_it_learnt() -> None:
    """Within a transaction its own rows are known at once."""
    memory: Memory[str] = Memory(4)
    memory.learn("a", known(1))
    assert memory.get("a") == known(1)
    assert memory.get("b") is None


def test_what_was_learnt_lasts_only_after_a_commit() -> None:
    """Kept after a commit, gone after a rollback."""
    memory: Memory[str] = Memory(4)
    memory.learn("a", known(1))
    memory.keep()
    memory.learn("b", known(2))
    memory.drop()
    assert memory.get("a") == known(1)
    assert memory.get("b") is None


def test_what_changed_in_a_rolled_back_transaction_is_as_before() -> None:
    """A column that was filled in vain is still empty."""
    memory: Memory[str] = Memory(4)
    memory.learn("a", Known(1, frozenset({"PatientSex"})))
    memory.keep()
    memory.learn("a", Known(1, NOBODY))
    assert memory.get("a") == Known(1, NOBODY)
    memory.drop()
    assert memory.get("a") == Known(1, frozenset({"PatientSex"}))


def test_the_least_recently_used_is_forgotten_first() -> None:
    """Memory is bounded; what is asked for stays."""
    memory: Memory[str] = Memory(2)
    for key, number in (("a", 1), ("b", 2)):
        memory.learn(key, known(number))
        memory.keep()
    assert memory.get("a") == known(1)
    memory.learn("c", known(3))
    memory.keep()
    assert [memory.get(key) for key in "abc"] == [known(1), None, known(3)]


def test_one_transaction_may_learn_more_than_lasts() -> None:
    """A large transaction knows all its rows; afterwards the bound holds."""
    memory: Memory[int] = Memory(3)
    for number in range(10):
        memory.learn(number, known(number))
    assert all(memory.get(number) for number in range(10))
    memory.keep()
    assert [number for number in range(10) if memory.get(number)] == [7, 8, 9]


def test_clearing_forgets_all() -> None:
    """Committed or not."""
    memory: Memory[str] = Memory(4)
    memory.learn("a", known(1))
    memory.keep()
    memory.learn("b", known(2))
    memory.clear()
    assert memory.get("a") is memory.get("b") is None


class MemoryMachine(RuleBasedStateMachine):
    """A memory without a bound, done twice: once as a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: Memory[int] = Memory(1000)
        self.lasting: dict[int, Known] = {}
        self.passing: dict[int, Known] = {}

    @rule(key=st.integers(0, 5), number=st.integers(0, 99))
    def learn(self, key: int, number: int) -> None:
        """Learn something."""
        self.memory.learn(key, known(number))
        self.passing[key] = known(number)

    @rule()
    def keep(self) -> None:
        """Commit."""
        self.memory.keep()
        self.lasting |= self.passing
        self.passing = {}

    @rule()
    def drop(self) -> None:
        """Roll back."""
        self.memory.drop()
        self.passing = {}

    @invariant()
    def agrees(self) -> None:
        """Both know the same."""
        for key in range(6):
            assert self.memory.get(key) == (self.lasting | self.passing).get(key)


TestMemory = MemoryMachine.TestCase
