"""The checker of histories sees every rule broken, and nothing where all is well."""

from harness import history
from harness.history import Cause, History, Sighting, Stay


def stay(shard: str, accepted: float, granted: float, **changes: object) -> Stay:
    """A stay in the room `r`; each is a join and a participant of its own."""
    values = {
        "join_id": f"{shard}-{accepted}",
        "room": "r",
        "shard": shard,
        "sid": f"PA_{shard}{accepted}",
        "asked": accepted - 0.1,
        "accepted": accepted,
        "granted": granted,
        "left": granted + 0.1,
    }
    return Stay(**{**values, **changes})


def rules(seen: History) -> set[str]:
    return {violation.rule for violation in history.check(seen)}


def test_a_room_that_moves_after_a_kill_is_fine() -> None:
    seen = History(
        stays=[stay("s1", 0, 10), stay("s1", 2, 9), stay("s2", 13, 20)],
        sightings=[Sighting("r", "s1", 4, 1, 1.1), Sighting("r", "s2", 7, 14, 14.1)],
        causes=[Cause("kill", 10, 12, frozenset({"s1"}))],
    )
    assert rules(seen) == set()


def test_two_shards_at_once_are_an_overlap() -> None:
    seen = History(stays=[stay("s1", 0, 10), stay("s2", 9.9, 20)], causes=[Cause("kill", 0)])
    assert rules(seen) == {history.OVERLAP}


def test_a_short_stay_inside_a_long_one_is_an_overlap() -> None:
    seen = History(stays=[stay("s1", 0, 10), stay("s2", 5, 0)], causes=[Cause("kill", 0)])
    assert rules(seen) == {history.OVERLAP}


def test_an_answer_that_was_under_way_for_long_is_none() -> None:
    late = stay("s2", 5, 0, asked=-1)
    seen = History(stays=[stay("s1", 0, 10), late], causes=[Cause("silence", 0)])
    assert rules(seen) == set()


def test_an_overlap_is_seen_behind_others_of_the_same_shard() -> None:
    seen = History(
        stays=[stay("s1", 0, 30), stay("s1", 1, 2), stay("s1", 3, 4), stay("s2", 29, 29.5)],
        causes=[Cause("kill", 0)],
    )
    assert rules(seen) == {history.OVERLAP}


def test_a_connection_that_outlives_the_ownership_is_none() -> None:
    # The client has not noticed yet, and the old shard granted nothing any more.
    seen = History(
        stays=[stay("s1", 0, 10, left=18), stay("s2", 13, 20)],
        causes=[Cause("pause", 10, 20, frozenset({"s1"}))],
    )
    assert rules(seen) == set()


def test_other_rooms_do_not_matter() -> None:
    seen = History(stays=[stay("s1", 0, 10), stay("s2", 5, 20, room="other")])
    assert rules(seen) == set()


def test_a_join_with_two_participants_was_accepted_twice() -> None:
    seen = History(stays=[stay("s1", 0, 10, join_id="j", sid="PA_1")])
    seen.saw("r", "j", "PA_1")
    assert rules(seen) == set()
    seen.saw("r", "j", "PA_2")
    assert rules(seen) == {history.TWICE}


def test_a_join_that_nobody_was_told_of_can_be_accepted_twice() -> None:
    seen = History()
    seen.saw("r", "j", "PA_1")
    seen.saw("r", "j", "PA_2")
    assert rules(seen) == {history.TWICE}


def test_a_resume_is_the_same_join() -> None:
    first = stay("s1", 0, 10, join_id="j", sid="PA_1")
    again = stay("s1", 11, 20, join_id="j", sid="PA_1", resumed=True)
    assert rules(History(stays=[first, again])) == set()
    again.resumed = False
    assert rules(History(stays=[first, again])) == {history.TWICE}


def test_an_epoch_that_falls_is_seen() -> None:
    falls = [Sighting("r", "s1", 5, 0, 1), Sighting("r", "s2", 4, 2, 3)]
    assert rules(History(sightings=falls)) == {history.EPOCH}


def test_looks_at_the_same_time_have_no_order() -> None:
    crossed = [Sighting("r", "s2", 5, 0, 3), Sighting("r", "s1", 4, 2, 2.5)]
    assert rules(History(sightings=crossed)) == set()


def test_an_epoch_belongs_to_one_shard() -> None:
    shared = [Sighting("r", "s1", 5, 0, 1), Sighting("r", "s2", 5, 2, 3)]
    assert rules(History(sightings=shared)) == {history.EPOCH}


def test_a_move_wants_a_cause() -> None:
    stays = [stay("s1", 0, 10), stay("s2", 13, 20)]
    assert rules(History(stays=stays)) == {history.UNCAUSED}
    elsewhere = Cause("kill", 9, 12, frozenset({"s2"}))
    assert rules(History(stays=stays, causes=[elsewhere])) == {history.UNCAUSED}
    long_ago = Cause("kill", 0, 1, frozenset({"s1"}))
    assert rules(History(stays=stays, causes=[long_ago])) == {history.UNCAUSED}
    everywhere = Cause("redis", 9, 12)
    assert rules(History(stays=stays, causes=[everywhere])) == set()


def test_an_idle_room_may_go_anywhere() -> None:
    stays = [stay("s1", 0, 10, polite=True), stay("s2", 13, 20)]
    assert rules(History(stays=stays)) == set()


def test_recoveries_count_from_the_cause_to_the_next_accept() -> None:
    seen = History(
        stays=[
            stay("s1", 0, 10),
            stay("s2", 14, 20),
            stay("s1", 0, 30, room="quiet"),
            stay("s1", 0, 10, room="lost"),
            stay("s3", 0, 10, room="elsewhere"),
        ],
        causes=[Cause("kill", 10, 11, frozenset({"s1"}))],
    )
    (recovery,) = history.recoveries(seen)
    assert (recovery.times, recovery.untouched, recovery.lost) == ([4], 1, ["lost"])


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [history.quantile(values, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert history.quantile([7.0], 0.99) == 7.0
