"""What statements come to: the same, in whatever order they came."""

from __future__ import annotations

from hypothesis import given, strategies as st

from archive.services.adt import DELETED, Life, Statement, Stay, read_life, read_stay


def said(kind: str, at: int, **what: object) -> Statement:
    """Return a statement about one stay, said at minute ``at``."""
    values = {"movement": "", "visit": "V", **what}
    return Statement(kind=kind, site="s", source="hl7:a", patient_id="P", said_at=f"202403{at:08d}", **values)  # type: ignore[arg-type]


ADMIT = said("start", 1, movement="1", from_on="2024-03-06")
LEAVE = said("end", 2, movement="2", from_on="2024-03-06", to_on="2024-03-12")
BACK = said("end", 3, movement="2", is_cancel=True)
NEVER = said("start", 4, movement="1", is_cancel=True)


def stay(*statements: Statement) -> tuple[str, str | None] | None:
    """Return the days of a stay."""
    found, _ = read_stay(statements)
    return None if found is None else (found.from_on, found.to_on)


def test_the_life_of_a_stay() -> None:
    """Admitted, discharged, discharge cancelled, admission cancelled: the stay begins, ends, goes on, is none."""
    assert stay(ADMIT) == ("2024-03-06", None)
    assert stay(ADMIT, LEAVE) == ("2024-03-06", "2024-03-12")
    assert stay(ADMIT, LEAVE, BACK) == ("2024-03-06", None)
    assert stay(ADMIT, LEAVE, BACK, NEVER) is None
    assert stay(ADMIT, NEVER) is None
    assert stay(ADMIT, LEAVE, NEVER) is None


@given(st.permutations([ADMIT, LEAVE, BACK, NEVER]), st.integers(1, 4))
def test_the_order_of_arrival_does_not_matter(arrived: list[Statement], count: int) -> None:
    """Late, early or twice: what counts is when it was said."""
    some = [each for each in (ADMIT, LEAVE, BACK, NEVER) if each in arrived[:count]]
    assert stay(*arrived[:count]) == stay(*some) == stay(*arrived[:count], *some)


def test_an_admission_after_a_cancel_counts() -> None:
    """The same stay number may be used again after a cancel, with another movement or without any."""
    again = said("start", 9, movement="5", from_on="2024-04-01")
    assert stay(ADMIT, NEVER, again) == ("2024-04-01", None)
    nameless = [said("start", 1, from_on="2024-03-06"), said("start", 2, is_cancel=True)]
    assert stay(*nameless) is None
    assert stay(*nameless, again) == ("2024-04-01", None)


def test_a_late_cancel_takes_back_its_own_movement_only() -> None:
    """A cancel names a movement: another admission of the same stay is not touched, and it is told."""
    found, unmatched = read_stay([said("start", 1, movement="5", from_on="2024-04-01"), NEVER])
    assert found is not None and unmatched
    assert not read_stay([ADMIT, NEVER])[1]


def test_an_update_repeats_and_corrects() -> None:
    """A08 corrects the first day and the last, brings no cancelled stay back, and makes one that nobody announced."""
    moved = said("update", 5, from_on="2024-03-05")
    assert stay(ADMIT, moved) == ("2024-03-05", None)
    assert stay(ADMIT, NEVER, moved) is None
    assert stay(moved) == ("2024-03-05", None)
    assert stay(ADMIT, LEAVE, said("update", 5, to_on="2024-03-13")) == ("2024-03-06", "2024-03-13")
    assert stay(ADMIT, LEAVE, said("update", 5, to_on=DELETED)) == ("2024-03-06", None)
    assert stay(ADMIT, said("update", 5)) == ("2024-03-06", None)


def test_sessions_under_one_number_reach_to_the_last() -> None:
    """Several admissions of one stay, as for dialysis: from the first to the last, whatever repeats the first day."""
    sessions = [said("start", day, movement=str(day), from_on=f"2024-03-{day:02d}") for day in (6, 13, 20)]
    assert stay(*sessions) == ("2024-03-06", "2024-03-20")
    assert stay(*sessions, said("update", 30, from_on="2024-03-06")) == ("2024-03-06", "2024-03-20")


def test_a_discharge_alone_is_a_stay() -> None:
    """A feed that began in the middle of a stay still knows it; taking the discharge back leaves it open."""
    end = said("end", 2, movement="2", to_on="2024-03-12")
    assert stay(end) == ("2024-03-12", "2024-03-12")
    assert stay(end, BACK) == ("2024-03-12", None)


def test_discharge_by_death() -> None:
    """The mode of discharge gives a day of death, uncertain beside PID-30 = N, and goes with its discharge."""
    dead = said("end", 2, movement="2", to_on="2024-03-12", died_at_discharge=True)
    assert read_stay([ADMIT, dead])[0] == Stay("P", "2024-03-06", "2024-03-12", "2024-03-12", True, dead.said_at)
    doubtful = said("end", 2, movement="2", to_on="2024-03-12", died_at_discharge=True, is_deceased=False)
    found, _ = read_stay([ADMIT, doubtful])
    assert found is not None and not found.is_death_certain
    assert read_stay([ADMIT, dead, BACK])[0] == Stay("P", "2024-03-06", None)


def test_life_is_what_was_said_last() -> None:
    """Birth and death follow the last word about each; silence changes nothing, PID-30 = N takes a death back."""
    born = said("identity", 1, birth_on="1979-03-28")
    died = said("identity", 2, death_on="2024-03-28", is_deceased=True)
    silent = said("identity", 3)
    alive = said("identity", 4, is_deceased=False)
    flagged = said("identity", 5, is_deceased=True)
    assert read_life([silent, died, born]) == Life("1979-03-28", "2024-03-28", True)
    assert read_life([alive, died]) == Life(denied_at=alive.said_at)
    assert read_life([flagged]) == Life(None, None, True)
    assert read_life([died, flagged]) == Life(None, "2024-03-28", True)
    assert read_life([died, said("identity", 6, is_deceased=True, death_on=DELETED)]) == Life(None, None, True)
    assert read_life([born, said("identity", 6, birth_on=DELETED)]) == Life()


def test_a_death_that_is_denied_at_once_is_uncertain() -> None:
    """A day of death beside PID-30 = N is kept, and never shortens anything."""
    denied = said("identity", 2, death_on="2024-03-28", is_deceased=False)
    assert read_life([denied]) == Life(None, "2024-03-28", True, is_certain=False, denied_at=denied.said_at)
