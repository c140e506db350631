//! The rules about leases, shards and limits as scripts, on both engines.

use crate::pair::*;
use affinity::directory::{
    DirectoryIncarnation, DirectoryLimits, Drain, Epoch, HOLD_MS, Incarnation, Renewal, Reply,
    Request,
};

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
    pair.ask(forget(&holder("a", 4))).await;
    let forgotten = pair.ask(renew(&holder("a", 4), 2)).await;
    assert!(matches!(forgotten, Reply::Leased { .. }));
}

#[tokio::test]
async fn a_life_whose_rooms_are_remembered_gets_no_lease_however_many_have_ended_since() {
    let mut pair = Pair::new(0, small());
    pair.ask(announce(&["a", "b", "c", "d"])).await;
    pair.ask(Request::EndGrace { directory: LIFE }).await;
    let a = holder("a", 1);
    pair.ask(renew(&a, 1)).await;
    pair.ask(claim(&a, "room")).await;
    for one in [a.clone(), holder("b", 1), holder("c", 1), holder("d", 1)] {
        pair.ask(renew(&one, 1)).await;
        pair.ask(lapse(&one, 1)).await;
    }
    // Three shards are remembered among the ended ones.
    assert_eq!(pair.ask(renew(&a, 2)).await, Reply::NoLease);
    pair.compare(&[room("room")]).await;
    pair.ask(forget(&a)).await;
    let again = pair.ask(renew(&a, 3)).await;
    assert!(matches!(again, Reply::Leased { .. }));
    pair.compare(&[room("room")]).await;
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
async fn no_epoch_that_a_shard_remembers_is_given_again() {
    // A new life, begun by a wall clock that is far behind.
    let mut pair = Pair::new(HOLD_MS, DirectoryLimits::default());
    pair.ask(announce(&["a", "b"])).await;
    let remembered = |at: u64| move |say: &mut Renewal| say.epoch = Epoch(FLOOR + at);
    let (a, b) = (holder("a", 1), holder("b", 2));
    // What is refused raises nothing.
    let mut stale = holder("b", 2);
    stale.directory = Some(DirectoryIncarnation(5));
    pair.ask(renew_with(&stale, 1, remembered(9_000))).await;
    for (one, at) in [(&a, 1_000), (&b, 990)] {
        let reply = pair.ask(renew_with(one, 1, remembered(at))).await;
        // And everybody remembers it from now on.
        let highest = Epoch(FLOOR + 1_000);
        assert!(matches!(reply, Reply::Leased { epoch, .. } if epoch == highest));
    }
    pair.ask(Request::EndGrace { directory: LIFE }).await;
    let first = granted(&pair.ask(claim(&b, "room")).await);
    assert_eq!(first, Epoch(FLOOR + 1_001));
    // One that was overtaken knows what it knows.
    pair.ask(renew_with(&a, 0, remembered(2_000))).await;
    pair.ask(renew_with(&holder("a", 9), 2, remembered(3_000)))
        .await;
    let next = granted(&pair.ask(claim(&a, "next")).await);
    assert_eq!(next, Epoch(FLOOR + 2_001));
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

#[tokio::test]
async fn a_claim_from_before_a_life_ended_does_not_take_its_rooms() {
    let mut pair = Pair::running(HOLD_MS).await;
    let (a, b) = (holder("a", 1), holder("b", 2));
    let Reply::Leased {
        roster: Some(before),
        ..
    } = pair.ask(renew(&a, 2)).await
    else {
        panic!("no roster");
    };
    pair.ask(renew_with(&a, 3, |say| say.knows = before.version))
        .await;
    granted(&pair.ask(claim(&a, "room")).await);
    pair.ask(lapse(&a, 3)).await;
    let late = pair.ask(claim_knowing(&b, "room", before.version)).await;
    assert_eq!(late, Reply::Held { shard: "a".into() });
    let Reply::Leased {
        roster: Some(after),
        ..
    } = pair.ask(renew(&b, 9)).await
    else {
        panic!("no news");
    };
    granted(&pair.ask(claim_knowing(&b, "room", after.version)).await);
    pair.compare(&[room("room")]).await;
}
