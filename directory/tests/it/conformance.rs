//! The rules about rooms as scripts, on both engines.

use crate::pair::*;
use affinity::directory::{
    DirectoryIncarnation, DirectoryLimits, Epoch, HOLD_MS, Incarnation, OPTIONS_BYTES_MAX, Reply,
    Request,
};

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
