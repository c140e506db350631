//! Every rule of the directory as a script, on both engines.

use crate::pair::*;
use affinity::directory::{
    DirectoryIncarnation, DirectoryLimits, Drain, Epoch, HOLD_MS, Incarnation, OPTIONS_BYTES_MAX,
    Reply, Request,
};

fn owned(shard: &str, epoch: Epoch) -> Reply {
    Reply::Owned {
        shard: shard.into(),
        epoch,
    }
}

fn is_refusal(reply: &Reply, word: &str) -> bool {
    matches!(reply, Reply::Refused { reason } if reason.contains(word))
}

#[tokio::test]
async fn a_room_is_owned_by_the_one_that_claimed_it_until_it_is_released() {
    let mut pair = Pair::running(0).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    let epoch = granted(&pair.ask(claim(&a, "room")).await);
    assert_eq!(epoch, Epoch(FLOOR + 1));
    let again = pair.ask(claim(&a, "room")).await;
    assert_eq!(
        again,
        Reply::Mine {
            epoch,
            from: None,
            options: None
        }
    );
    assert_eq!(pair.ask(claim(&b, "room")).await, owned("a", epoch));
    pair.compare(&[room("room"), room("other")]).await;

    // Neither another's release nor one of another claim frees it.
    pair.ask(release(&b, "room", epoch)).await;
    pair.ask(release(&a, "room", Epoch(epoch.0 - 1))).await;
    assert_eq!(pair.ask(claim(&b, "room")).await, owned("a", epoch));
    pair.ask(release(&a, "room", epoch)).await;
    assert_eq!(
        granted(&pair.ask(claim(&b, "room")).await),
        Epoch(epoch.0 + 1)
    );
}

#[tokio::test]
async fn in_grace_only_rooms_that_are_held_come_back() {
    let mut pair = Pair::new(0, DirectoryLimits::default());
    pair.ask(announce(&["a", "b"])).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    for one in [&a, &b] {
        pair.ask(renew(one, 1)).await;
    }
    assert_eq!(pair.ask(claim(&a, "idle")).await, Reply::Grace);
    let old = Epoch(FLOOR + 900);
    assert_eq!(pair.ask(reassert(&a, "room", old)).await, Reply::Reasserted);
    assert_eq!(pair.ask(reassert(&a, "room", old)).await, Reply::Reasserted);
    assert_eq!(
        pair.ask(reassert(&b, "room", Epoch(old.0 + 1))).await,
        owned("a", old)
    );
    assert_eq!(pair.ask(claim(&b, "room")).await, owned("a", old));
    assert_eq!(pair.ask(claim(&a, "room")).await, Reply::Grace);
    let to_b = transfer(&a, "room", old, &b);
    assert_eq!(pair.ask(to_b).await, Reply::Grace);

    // A release that overtook the re-assertion of the same claim wins.
    pair.ask(release(&a, "stopped", Epoch(FLOOR + 5))).await;
    let late = reassert(&a, "stopped", Epoch(FLOOR + 5));
    assert_eq!(pair.ask(late).await, Reply::Released);
    let newer = reassert(&a, "stopped", Epoch(FLOOR + 6));
    assert_eq!(pair.ask(newer).await, Reply::Reasserted);

    pair.ask(Request::EndGrace { directory: LIFE }).await;
    assert_eq!(pair.ask(reassert(&a, "late", old)).await, Reply::Released);
    // Above what was re-asserted.
    assert_eq!(
        granted(&pair.ask(claim(&b, "idle")).await),
        Epoch(old.0 + 1)
    );
    pair.compare(&[room("room"), room("stopped"), room("idle")])
        .await;
}

#[tokio::test]
async fn who_knows_another_life_of_the_directory_writes_nothing() {
    let mut pair = Pair::running(HOLD_MS).await;
    let stale = Reply::StaleDirectory { current: LIFE };
    let epoch = granted(&pair.ask(claim(&holder("a", 1), "room")).await);
    let mut old = holder("a", 1);
    let other = DirectoryIncarnation(5);
    for directory in [Some(other), None] {
        old.directory = directory;
        for request in [
            claim(&old, "other"),
            reassert(&old, "room", epoch),
            release(&old, "room", epoch),
            transfer(&old, "room", epoch, &holder("b", 2)),
            options(&old, "room", epoch, "text"),
            Request::Resign {
                holder: old.clone(),
            },
        ] {
            assert_eq!(pair.ask(request).await, stale);
        }
    }
    old.directory = Some(other);
    assert_eq!(pair.ask(renew(&old, 2)).await, stale);
    let (shard, incarnation) = ("a".into(), Incarnation(1));
    for request in [
        Request::Lapse {
            directory: other,
            shard,
            incarnation,
            seq: 1,
        },
        Request::EndGrace { directory: other },
        Request::Forget {
            directory: other,
            shard: "a".into(),
            incarnation,
        },
    ] {
        assert_eq!(pair.ask(request).await, stale);
    }
    let view = pair.compare(&[room("room")]).await;
    assert_eq!(view.leases.len(), 3);
}

#[tokio::test]
async fn only_the_renewal_that_a_witness_saw_is_ended_and_its_life_for_ever() {
    let mut pair = Pair::running(0).await;
    let a = holder("a", 1);
    let epoch = granted(&pair.ask(claim(&a, "room")).await);
    pair.ask(renew(&a, 2)).await;
    assert_eq!(pair.ask(lapse(&a, 1)).await, Reply::Done);
    assert_eq!(pair.compare(&[room("room")]).await.leases.len(), 3);
    // One that was overtaken brings no number back.
    pair.ask(renew(&a, 1)).await;
    pair.ask(lapse(&a, 2)).await;
    let view = pair.compare(&[room("room")]).await;
    assert_eq!(view.leases.len(), 2);
    assert_eq!(view.orphaned, [("a".into(), Incarnation(1))]);

    assert_eq!(pair.ask(renew(&a, 3)).await, Reply::NoLease);
    assert_eq!(pair.ask(claim(&a, "room")).await, Reply::NoLease);
    assert_eq!(pair.ask(renew(&stranger("a", 1), 3)).await, Reply::NoLease);
    let taken = granted(&pair.ask(claim(&holder("b", 2), "room")).await);
    assert_eq!(taken, Epoch(epoch.0 + 1));
}

#[tokio::test]
async fn with_hold_only_lives_that_the_ended_one_knew_may_take_its_rooms() {
    let mut pair = Pair::new(HOLD_MS, DirectoryLimits::default());
    pair.ask(announce(&["a", "b", "c", "d"])).await;
    pair.ask(Request::EndGrace { directory: LIFE }).await;
    let (a, b, c) = (holder("a", 1), holder("b", 2), holder("c", 3));
    pair.ask(renew(&a, 1)).await;
    pair.ask(renew(&b, 1)).await;
    // It says that it knows more than there is: up to now counts. Then c is born.
    pair.ask(renew_with(&a, 2, |say| say.knows = 900)).await;
    pair.ask(renew(&c, 1)).await;
    let epoch = granted(&pair.ask(claim(&a, "room")).await);
    pair.ask(options(&a, "room", epoch, "{\"x\":1}")).await;
    pair.ask(lapse(&a, 2)).await;

    assert_eq!(pair.ask(claim(&c, "room")).await, owned("b", epoch));
    pair.ask(renew_with(&b, 2, |say| say.leaving = true)).await;
    let held = Reply::Held { shard: "a".into() };
    assert_eq!(pair.ask(claim(&c, "room")).await, held);
    // A new life of the same shard may, and is named from now on.
    let reborn = holder("a", 4);
    pair.ask(renew(&stranger("a", 4), 1)).await;
    assert_eq!(pair.ask(claim(&c, "room")).await, owned("a", epoch));
    assert_eq!(
        pair.ask(claim(&reborn, "room")).await,
        Reply::Granted {
            epoch: Epoch(epoch.0 + 1),
            options: Some("{\"x\":1}".to_owned())
        }
    );
    pair.compare(&[room("room")]).await;
}

#[tokio::test]
async fn rooms_of_an_ended_life_are_freed_by_time_by_the_operator_or_by_its_word() {
    let mut pair = Pair::running(HOLD_MS).await;
    let (a, b, c) = (holder("a", 1), holder("b", 2), holder("c", 3));
    for (one, name) in [(&a, "from a"), (&b, "from b")] {
        let epoch = granted(&pair.ask(claim(one, name)).await);
        pair.ask(options(one, name, epoch, "text")).await;
        pair.ask(lapse(one, 1)).await;
        assert!(matches!(
            pair.ask(claim(&c, name)).await,
            Reply::Held { .. }
        ));
    }
    // Forgotten: the options too.
    pair.ask(forget(&a)).await;
    assert!(matches!(
        pair.ask(claim(&c, "from a")).await,
        Reply::Granted { options: None, .. }
    ));
    // Removed from the topology: the options stay.
    pair.ask(announce(&["a", "c"])).await;
    assert!(matches!(
        pair.ask(claim(&c, "from b")).await,
        Reply::Granted {
            options: Some(_),
            ..
        }
    ));
    pair.compare(&[room("from a"), room("from b")]).await;

    // A process that fenced itself says that it stopped its rooms.
    let mut pair = Pair::running(HOLD_MS).await;
    pair.ask(claim(&a, "room")).await;
    pair.ask(lapse(&a, 1)).await;
    let again = renew_with(&stranger("a", 9), 1, |say| {
        say.replaces = Some(Incarnation(1))
    });
    pair.ask(again).await;
    granted(&pair.ask(claim(&c, "room")).await);
    // Also while its lease still runs.
    pair.ask(claim(&holder("a", 9), "next")).await;
    let again = renew_with(&stranger("a", 10), 1, |say| {
        say.replaces = Some(Incarnation(9))
    });
    assert!(matches!(pair.ask(again).await, Reply::Leased { .. }));
    granted(&pair.ask(claim(&c, "next")).await);
}

#[tokio::test]
async fn a_resigned_life_frees_all_at_once_and_never_comes_back() {
    let mut pair = Pair::running(HOLD_MS).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    pair.ask(claim(&a, "room")).await;
    let resign = Request::Resign { holder: a.clone() };
    assert_eq!(pair.ask(resign.clone()).await, Reply::Released);
    assert_eq!(pair.ask(resign).await, Reply::Released);
    assert_eq!(pair.ask(renew(&a, 2)).await, Reply::NoLease);
    granted(&pair.ask(claim(&b, "room")).await);
}

#[tokio::test]
async fn two_processes_with_one_id_are_told() {
    let mut pair = Pair::running(0).await;
    let second = pair.ask(renew(&stranger("a", 7), 1)).await;
    assert!(is_refusal(
        &second,
        "another process holds the lease of shard `a`"
    ));
}

#[tokio::test]
async fn a_transfer_is_one_step_and_can_be_asked_again() {
    let mut pair = Pair::running(HOLD_MS).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    let epoch = granted(&pair.ask(claim(&a, "room")).await);
    pair.ask(options(&a, "room", epoch, "kept")).await;
    assert_eq!(
        pair.ask(transfer(&a, "room", epoch, &a)).await,
        Reply::Released
    );
    assert_eq!(
        pair.ask(transfer(&b, "room", epoch, &a)).await,
        Reply::Released
    );
    let wrong_life = transfer(&a, "room", epoch, &holder("b", 9));
    assert_eq!(pair.ask(wrong_life).await, Reply::Draining);
    let next = Epoch(epoch.0 + 1);
    for _ in 0..2 {
        let moved = pair.ask(transfer(&a, "room", epoch, &b)).await;
        assert_eq!(moved, Reply::Transferred { epoch: next });
    }
    assert_eq!(
        pair.ask(claim(&b, "room")).await,
        Reply::Mine {
            epoch: next,
            from: Some(epoch),
            options: Some("kept".to_owned())
        }
    );
    assert_eq!(pair.ask(claim(&a, "room")).await, owned("b", next));
    assert_eq!(pair.ask(release(&a, "room", epoch)).await, Reply::Released);
    pair.compare(&[room("room")]).await;
}

#[tokio::test]
async fn shards_are_drained_by_operators_configuration_and_themselves() {
    let mut pair = Pair::running(0).await;
    let (a, b, c) = (holder("a", 1), holder("b", 2), holder("c", 3));
    let drain = |shard: &str, drain| Request::SetDrain {
        shard: shard.into(),
        drain,
    };
    let order = Drain {
        deadline_unix_ms: Some(1_800_000_000_000),
    };
    let kept = granted(&pair.ask(claim(&a, "kept")).await);
    pair.ask(drain("a", Some(order.clone()))).await;
    assert_eq!(pair.ask(claim(&a, "new")).await, Reply::Draining);
    assert!(matches!(
        pair.ask(claim(&a, "kept")).await,
        Reply::Mine { epoch, .. } if epoch == kept
    ));
    let told = pair.ask(renew(&a, 2)).await;
    assert!(matches!(told, Reply::Leased { drain: Some(told), .. } if told == order));
    assert_eq!(
        pair.ask(transfer(&a, "kept", kept, &b)).await,
        Reply::Transferred {
            epoch: Epoch(kept.0 + 1)
        }
    );
    pair.ask(drain("a", None)).await;
    granted(&pair.ask(claim(&a, "new")).await);

    pair.ask(drain(
        "b",
        Some(Drain {
            deadline_unix_ms: None,
        }),
    ))
    .await;
    pair.ask(announce(&["a", "b", "c!"])).await;
    assert_eq!(pair.ask(claim(&b, "x")).await, Reply::Draining);
    assert_eq!(pair.ask(claim(&c, "x")).await, Reply::Draining);
    pair.ask(renew_with(&a, 3, |say| say.leaving = true)).await;
    assert_eq!(pair.ask(claim(&a, "x")).await, Reply::Draining);
    assert!(is_refusal(
        &pair.ask(drain("z", None)).await,
        "no shard `z`"
    ));
    // An order goes with its shard.
    pair.ask(announce(&["a", "c!"])).await;
    pair.ask(announce(&["a", "b", "c!"])).await;
    granted(&pair.ask(claim(&b, "x")).await);
    pair.compare(&[room("kept"), room("new"), room("x")]).await;
}

#[tokio::test]
async fn a_shard_hears_of_the_others_when_something_changed() {
    let mut pair = Pair::running(HOLD_MS).await;
    let a = holder("a", 1);
    let Reply::Leased {
        roster: Some(roster),
        ..
    } = pair.ask(renew(&a, 2)).await
    else {
        panic!("no roster");
    };
    assert_eq!(roster.lives.len(), 2);
    assert_eq!(roster.lives[0].url, "http://b.example.org:7881/a b");
    let knowing = |seq| renew_with(&a, seq, |say| say.knows = roster.version);
    let quiet = pair.ask(knowing(3)).await;
    assert!(matches!(quiet, Reply::Leased { roster: None, .. }));
    pair.ask(renew(&stranger("unlisted", 8), 1)).await;
    let news = pair.ask(knowing(4)).await;
    assert!(matches!(
        news,
        Reply::Leased {
            roster: Some(_),
            ..
        }
    ));
}

#[tokio::test]
async fn an_announcement_counts_only_if_it_says_something_new() {
    let mut pair = Pair::running(0).await;
    let generation = |reply| match reply {
        Reply::Announced { generation, .. } => generation,
        other => panic!("{other:?}"),
    };
    let first = generation(pair.ask(announce(&["a", "b", "c"])).await);
    let same = generation(pair.ask(announce(&["c", "b", "a", "a"])).await);
    assert_eq!(first, same);
    let next = generation(pair.ask(announce(&["a", "b", "c!"])).await);
    assert_eq!(next, first + 1);
    let none = pair.ask(announce(&[])).await;
    assert!(is_refusal(&none, "no shards"));
    pair.compare(&[]).await;
}

#[tokio::test]
async fn a_shard_that_no_topology_names_gets_no_rooms() {
    let mut pair = Pair::running(0).await;
    let stray = holder("stray", 8);
    pair.ask(renew(&stray, 1)).await;
    assert_eq!(pair.ask(claim(&stray, "room")).await, Reply::Draining);
}

#[tokio::test]
async fn options_belong_to_the_owner_and_have_a_limit() {
    let mut pair = Pair::running(0).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    let epoch = granted(&pair.ask(claim(&a, "room")).await);
    assert_eq!(pair.ask(options(&a, "room", epoch, "")).await, Reply::Done);
    let long = "ä".repeat(OPTIONS_BYTES_MAX / 2);
    assert_eq!(
        pair.ask(options(&a, "room", epoch, &long)).await,
        Reply::Done
    );
    let longer = format!("{long}.");
    let refused = pair.ask(options(&a, "room", epoch, &longer)).await;
    assert!(is_refusal(&refused, "shorten them"));
    let other = options(&b, "room", epoch, "mine");
    assert_eq!(pair.ask(other).await, Reply::Released);
    let old = options(&a, "room", Epoch(epoch.0 - 1), "old");
    assert_eq!(pair.ask(old).await, Reply::Released);
    assert!(matches!(
        pair.ask(claim(&a, "room")).await,
        Reply::Mine { options: Some(kept), .. } if kept == long
    ));
    // A released room forgets them.
    pair.ask(release(&a, "room", epoch)).await;
    assert!(matches!(
        pair.ask(claim(&b, "room")).await,
        Reply::Granted { options: None, .. }
    ));
}

#[tokio::test]
async fn what_is_full_says_so() {
    let mut pair = Pair::new(0, small());
    pair.ask(announce(&["a", "b"])).await;
    let a = holder("a", 1);
    pair.ask(renew(&a, 1)).await;
    for number in 0..4 {
        pair.ask(release(&a, &format!("stopped {number}"), Epoch(1)))
            .await;
    }
    let more = pair.ask(release(&a, "stopped 0", Epoch(2))).await;
    assert!(is_refusal(&more, "full (4 rooms)"));
    pair.ask(Request::EndGrace { directory: LIFE }).await;
    for number in 0..4 {
        granted(&pair.ask(claim(&a, &format!("room {number}"))).await);
    }
    assert!(is_refusal(
        &pair.ask(claim(&a, "room 4")).await,
        "full (4 rooms)"
    ));
    for shard in ["b", "c"] {
        pair.ask(renew(&stranger(shard, 2), 1)).await;
    }
    let fourth = pair.ask(renew(&stranger("d", 2), 1)).await;
    assert!(is_refusal(&fourth, "3 shards have a lease"));
    // Rooms that are forgotten make place.
    pair.ask(lapse(&a, 1)).await;
    pair.ask(forget(&a)).await;
    granted(&pair.ask(claim(&holder("b", 2), "room 4")).await);
    pair.compare(&[room("room 0"), room("room 4")]).await;
}

#[tokio::test]
async fn many_lives_of_a_shard_are_remembered_not_all() {
    let mut pair = Pair::new(0, DirectoryLimits::default());
    for life in 1..=20 {
        pair.ask(renew(&holder("a", life), 1)).await;
        pair.ask(lapse(&holder("a", life), 1)).await;
    }
    assert_eq!(pair.ask(renew(&holder("a", 5), 2)).await, Reply::NoLease);
    let forgotten = pair.ask(renew(&holder("a", 4), 2)).await;
    assert!(matches!(forgotten, Reply::Leased { .. }));
}

#[tokio::test]
async fn numbers_beyond_what_lua_can_count_are_exact() {
    let mut pair = Pair::new(HOLD_MS, DirectoryLimits::default());
    pair.ask(announce(&["a", "b"])).await;
    let large = u64::MAX - 1;
    let a = holder("a", large);
    pair.ask(renew(&a, large - 1)).await;
    pair.ask(renew(&a, large)).await;
    pair.ask(lapse(&a, large - 1)).await;
    pair.ask(lapse(&holder("a", large - 1), large)).await;
    assert_eq!(pair.compare(&[]).await.leases.len(), 1);
    let epoch = Epoch((1 << 62) + 1);
    pair.ask(reassert(&a, "room", epoch)).await;
    pair.ask(Request::EndGrace { directory: LIFE }).await;
    pair.ask(release(&a, "room", Epoch(epoch.0 - 1))).await;
    pair.ask(release(&a, "room", Epoch(epoch.0 + 1))).await;
    let next = granted(&pair.ask(claim(&a, "next")).await);
    assert_eq!(next, Epoch(epoch.0 + 1));
    pair.compare(&[room("room"), room("next")]).await;
}

#[tokio::test]
async fn names_of_all_kinds_survive() {
    let mut pair = Pair::running(0).await;
    let odd = holder("x y\n1 2 - z", 6);
    pair.ask(renew(&odd, 1)).await;
    pair.ask(announce(&["a", "b", "c", "x y\n1 2 - z"])).await;
    for name in ["tenant: room", "会議室 1", "-", "*", "0"] {
        granted(&pair.ask(claim(&odd, name)).await);
    }
    pair.compare(&[room("tenant: room"), room("会議室 1"), room("-")])
        .await;
    pair.ask(lapse(&odd, 1)).await;
    granted(&pair.ask(claim(&holder("a", 1), "*")).await);
    pair.ask(forget(&odd)).await;
    pair.compare(&[room("-"), room("*")]).await;
}
