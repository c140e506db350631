//! Clients whose signalling connection is lost, and go on.

use crate::guest::{Guest, both_hear, until};
use crate::world::{Relay, World};
use client::{
    Client, ConnectOptions, DataKind, EndReason, Kind, PeerMode, RESUME_ATTEMPTS, SessionEvent,
};
use std::time::{Duration, Instant};

pub(crate) fn will_resume(options: &mut ConnectOptions) {
    options.session.resume_attempts = RESUME_ATTEMPTS;
}

async fn join(world: &World, name: &'static str) -> Guest {
    let mut options = world.options("standup", name, PeerMode::Single);
    will_resume(&mut options);
    Guest::join_with(name, options).await
}

/// Packets of both kinds of the other one.
fn heard(guest: &Guest, other: &Guest) -> [usize; 2] {
    [Kind::Audio, Kind::Video].map(|kind| guest.heard(other.name, kind))
}

/// Loses ann's signalling, and both go on as if nothing had been.
pub(crate) async fn go_on(ann: &mut Guest, bob: &mut Guest) {
    let before = ann.seen.resumed.len();
    ann.cut().await;
    let resumed = |guests: &[&mut Guest; 2]| guests[0].seen.resumed.len() > before;
    until("ann has resumed", [&mut *ann, &mut *bob], resumed).await;
    let marks = (heard(ann, bob), heard(bob, ann));
    let go_on = |guests: &[&mut Guest; 2]| {
        let [ann, bob] = guests;
        let more = |now: [usize; 2], mark: [usize; 2]| {
            now.iter().zip(mark).all(|(now, mark)| *now > mark + 10)
        };
        more(heard(ann, bob), marks.0) && more(heard(bob, ann), marks.1)
    };
    until("both go on", [&mut *ann, &mut *bob], go_on).await;
    for guest in [ann, bob] {
        let seen = &guest.seen;
        assert_eq!(seen.ended, None);
        assert_eq!(
            (seen.unsubscribed, seen.left.len()),
            (0, 0),
            "{}",
            guest.name
        );
        assert_eq!(seen.tracks.len(), 2, "{}", guest.name);
    }
}

#[tokio::test]
async fn a_client_that_lost_its_signalling_goes_on_with_its_tracks() {
    let world = World::start().await;
    let (mut ann, mut bob) = (join(&world, "ann").await, join(&world, "bob").await);
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    let open = |guests: &[&mut Guest; 2]| {
        let open = |guest: &Guest| guest.seen.open.contains(&DataKind::Reliable);
        open(guests[0]) && open(guests[1])
    };
    until("data channels are open", [&mut ann, &mut bob], open).await;
    bob.say("one").await;
    ann.say("eins").await;
    go_on(&mut ann, &mut bob).await;
    bob.say("two").await;
    ann.say("zwei").await;
    // And once more: the fresh connection is as good as the first.
    go_on(&mut ann, &mut bob).await;
    bob.say("three").await;
    ann.say("drei").await;
    let told = |guests: &[&mut Guest; 2]| {
        guests[0].was_told("bob", &["one", "two", "three"])
            && guests[1].was_told("ann", &["eins", "zwei", "drei"])
    };
    until("all messages come once", [&mut ann, &mut bob], told).await;

    // The session still negotiates: somebody comes, whom ann needs more sections for.
    let mut cat = join(&world, "cat").await;
    cat.publish().await;
    ann.publish().await;
    let meets = |guests: &[&mut Guest; 3]| {
        let [ann, _, cat] = guests;
        let hears = |one: &Guest, other: &Guest| heard(one, other).iter().all(|n| *n > 10);
        // Of ann the tracks from before and those from after.
        let of_ann = cat
            .seen
            .tracks
            .values()
            .filter(|track| track.identity == "ann");
        hears(ann, cat) && hears(cat, ann) && of_ann.count() == 4 && ann.seen.sending.len() == 4
    };
    until("ann meets cat", [&mut ann, &mut bob, &mut cat], meets).await;
    assert_eq!(ann.seen.unsubscribed + bob.seen.unsubscribed, 0);
    world.stop().await;
}

#[tokio::test]
async fn both_may_lose_their_signalling_at_once() {
    let world = World::start().await;
    let (mut ann, mut bob) = (join(&world, "ann").await, join(&world, "bob").await);
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    bob.cut().await;
    go_on(&mut ann, &mut bob).await;
    let resumed = |guests: &[&mut Guest; 2]| guests.iter().all(|g| g.seen.resumed.len() == 1);
    until("both have resumed", [&mut ann, &mut bob], resumed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_resumes_before_it_has_media_gets_there() {
    let world = World::start().await;
    let (mut ann, mut bob) = (join(&world, "ann").await, join(&world, "bob").await);
    ann.publish().await;
    bob.publish().await;
    // Wherever each of them is in its join, once ann's first offer was answered.
    let answered = |guests: &[&mut Guest; 2]| guests[0].seen.connected > 0;
    until("ann is connected", [&mut ann, &mut bob], answered).await;
    ann.cut().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    assert_eq!(ann.seen.ended, None);
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_is_gone_for_good_ends_the_client_after_its_attempts() {
    let world = World::start().await;
    let mut options = world.options("standup", "ann", PeerMode::Single);
    options.session.resume_attempts = 2;
    let relay = Relay::to(&world).await;
    options.url = format!("ws://{}", relay.address);
    let mut client = Client::connect(options).await.unwrap();
    while !matches!(client.next_event().await, Some(SessionEvent::Connected(_))) {}
    relay.cut();
    let start = Instant::now();
    let mut resuming = 0;
    let ended = loop {
        match client.next_event().await.expect("an end is told") {
            SessionEvent::Resuming(_) => resuming += 1,
            SessionEvent::Ended(reason) => break reason,
            _ => {}
        }
    };
    assert_eq!(resuming, 1);
    assert!(matches!(ended, EndReason::SignalClosed(_)), "{ended}");
    assert!(start.elapsed() < Duration::from_secs(5));
    world.stop().await;
}

#[tokio::test]
async fn a_participant_whom_the_server_forgot_is_told_to_join_again() {
    let world = World::start().await;
    let mut ann = join(&world, "ann").await;
    let connected = |guests: &[&mut Guest; 1]| guests[0].seen.connected > 0;
    until("ann is connected", [&mut ann], connected).await;
    // Somebody of the same identity takes the place; ann does not hear of it in time.
    ann.client
        .call(|session, _, now| session.handle_signal_end("it was cut".to_owned(), now))
        .await
        .unwrap();
    let mut other = join(&world, "ann").await;
    let ended = |guests: &[&mut Guest; 2]| guests[0].seen.ended.is_some();
    until("ann has ended", [&mut ann, &mut other], ended).await;
    let ended = ann.seen.ended.as_ref().unwrap().to_string();
    assert!(ended.contains("join again"), "{ended}");
    world.stop().await;
}
