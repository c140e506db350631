//! A room goes from one shard to another, with clients, nodes and everything.

use super::story::{Next, Story};
use super::*;
use lk::signal_response::Message;
use proptest::prelude::*;
use signal_request::Message as Ask;

/// Everything that clients could notice is as before.
fn moves_unnoticed(size: usize, times: usize) {
    let mut story = Story::meeting(size);
    let before = story.sids();
    for time in 1..=times {
        let room_sid = story.shards[story.owner].core.rooms()[0].sid.clone();
        story.begin();
        story.complete();
        story.everybody_comes_back();
        story.assert_nobody_left();
        assert_eq!(story.sids(), before);
        let rooms = story.shards[story.owner].core.rooms();
        assert_eq!((&rooms[0].sid, rooms[0].participants), (&room_sid, size));
        assert!(rooms[0].live && !rooms[0].moving);
        assert_eq!(story.people["p0"].joins, 1);
        assert_eq!(story.people["p0"].last_message_seq.len(), time);
        story.pass(Duration::from_secs(1));
        let old = &story.shards[1 - story.owner];
        assert_eq!(old.node.participants.len(), 0, "the tail has ended");
    }
    assert_eq!(story.failures, []);
    // Long after, everybody is still there.
    story.pass(Duration::from_secs(60));
    story.assert_nobody_left();
    assert_eq!(story.shards[story.owner].core.rooms()[0].participants, size);
}

#[test]
fn a_room_of_two_moves_twice_and_nobody_notices() {
    moves_unnoticed(2, 2);
}

#[test]
fn a_room_of_eight_moves_there_and_back_and_there_again() {
    moves_unnoticed(8, 3);
}

#[test]
fn a_room_of_thirty_moves() {
    moves_unnoticed(30, 1);
}

#[test]
fn a_room_that_comes_back_at_once_finds_no_traces_of_its_earlier_stay() {
    let mut story = Story::meeting(4);
    let before = story.sids();
    for _ in 0..4 {
        story.begin();
        story.complete();
        story.everybody_comes_back();
        story.assert_nobody_left();
    }
    assert_eq!(story.sids(), before);
    story.pass(Duration::from_secs(40));
    story.assert_nobody_left();
}

#[test]
fn media_goes_on_for_five_seconds_at_most_if_somebody_does_not_come() {
    let mut story = Story::meeting(3);
    story.begin();
    story.complete();
    for identity in ["p0", "p1"] {
        story.come_back(identity);
    }
    story.pass(TAIL_MAX - Duration::from_millis(1));
    assert_eq!(story.shards[0].node.participants.len(), 3);
    story.pass(Duration::from_millis(1));
    assert_eq!(story.shards[0].node.participants.len(), 0);
    // Later than that, the room has what was exported.
    story.come_back("p2");
    story.assert_nobody_left();
}

#[test]
fn whoever_never_arrives_leaves_after_the_resume_window() {
    let mut story = Story::meeting(3);
    story.begin();
    story.complete();
    for identity in ["p0", "p1"] {
        story.come_back(identity);
    }
    story.pass(Duration::from_millis(29_999));
    story.assert_nobody_left();
    // Long before that it may move on.
    assert!(!story.shards[1].core.rooms()[0].moving);
    story.pass(Duration::from_millis(1));
    assert_eq!(story.people["p0"].view.gone, ["p2"]);
    assert_eq!(story.people["p1"].view.gone, ["p2"]);
    assert!(!story.shards[1].core.rooms()[0].moving);
}

#[test]
fn packets_that_the_old_node_takes_after_the_export_are_handed_on_and_counted() {
    let mut story = Story::meeting(2);
    for _ in 0..3 {
        assert!(story.send_data("p0", 0));
    }
    story.begin();
    assert!(story.send_data("p0", 0));
    story.complete();
    assert!(story.send_data("p0", 0));
    story.come_back("p0");
    let sid = story.peer("p0").1.sid;
    assert_eq!(story.people["p0"].last_message_seq, [5]);
    let delivered = [(sid.clone(), 4), (sid, 5)];
    assert_eq!(story.shards[1].node.delivered, delivered);
    assert!(story.send_data("p0", 1));
}

#[test]
fn a_pull_that_is_lost_costs_a_moment_and_what_was_exported_is_used() {
    let mut story = Story::meeting(2);
    assert!(story.send_data("p0", 0));
    story.begin();
    assert!(story.send_data("p0", 0));
    story.complete();
    story.lose_pulls = true;
    story.everybody_comes_back();
    assert!(story.people["p0"].last_message_seq.is_empty());
    story.pass(PULL_MAX);
    assert_eq!(story.people["p0"].last_message_seq, [1]);
    story.assert_nobody_left();
}

#[test]
fn a_client_that_reaches_the_new_shard_first_is_answered_when_the_old_one_knows() {
    let mut story = Story::meeting(2);
    story.begin();
    let key = room("standup");
    let state = story.exported.take().unwrap();
    let now = story.now;
    let sid = story.peer("p0").1.sid;
    assert!(story.shards[0].core.seal_move(&key));
    let epoch = Epoch(9);
    assert_eq!(story.shards[1].core.import_room(state, epoch, now), Ok(()));
    story.owner = 1;
    // Its connection has broken at that very moment.
    story.people.get_mut("p0").unwrap().next = Next::Resume;
    story.come_back("p0");
    assert!(story.shards[0].node.detached.is_empty());
    assert!(story.people["p0"].last_message_seq.is_empty());
    assert!(story.shards[0].core.complete_move(&key, now));
    story.pump();
    assert!(story.shards[0].node.detached.contains(&sid));
    assert_eq!(story.people["p0"].last_message_seq, [0]);
    story.everybody_comes_back();
    story.assert_nobody_left();
}

#[test]
fn what_clients_ask_while_the_room_stands_still_is_done_at_the_new_shard() {
    let mut story = Story::meeting(4);
    story.begin();
    story.publish("p1", "mic");
    story.mute("p0");
    story.ask("p3", Ask::Ping(1));
    assert!(story.people["p1"].tracks.is_empty());
    story.complete();
    story.everybody_comes_back();
    story.assert_nobody_left();
    assert_eq!(
        story.people["p1"].tracks.len(),
        1,
        "the answer came with the resume"
    );
    let last = story.people["p2"]
        .heard
        .iter()
        .rev()
        .find_map(|message| match message {
            Message::Update(update) => {
                let mut infos = update.participants.iter();
                infos.find(|info| info.identity == "p0").cloned()
            }
            _ => None,
        });
    assert!(last.unwrap().tracks.iter().any(|track| track.muted));
}

#[test]
fn whoever_leaves_while_the_room_stands_still_has_left_when_the_others_arrive() {
    let mut story = Story::meeting(3);
    story.begin();
    story.leave("p2");
    story.people.get_mut("p2").unwrap().next = Next::StayAway;
    story.complete();
    story.everybody_comes_back();
    assert_eq!(story.people["p0"].view.gone, ["p2"]);
    assert_eq!(story.people["p1"].view.gone, ["p2"]);
}

#[test]
fn whoever_hangs_up_after_the_move_leaves_at_the_new_shard_at_once() {
    for is_sealed in [true, false] {
        let mut story = Story::meeting(3);
        let participant = story.peer("p2").1.sid;
        let closed = NodeEvent::Disconnected {
            participant,
            reason: proto::media::TransportLoss::PeerClosed,
        };
        story.begin();
        let hang_up = |story: &mut Story| {
            let core = &mut story.shards[0].core;
            core.handle_node_event(&NodeId::new("n1"), closed.clone(), story.now);
            story.people.get_mut("p2").unwrap().next = Next::StayAway;
        };
        if is_sealed {
            hang_up(&mut story);
            story.complete();
        } else {
            story.complete();
            hang_up(&mut story);
            story.pump();
        }
        story.people.get_mut("p2").unwrap().next = Next::StayAway;
        story.everybody_comes_back();
        assert_eq!(story.people["p0"].view.gone, ["p2"]);
        assert_eq!(story.shards[1].core.rooms()[0].participants, 2);
    }
}

#[test]
fn the_meeting_goes_on_while_some_are_on_their_way() {
    let mut story = Story::meeting(4);
    story.begin();
    story.complete();
    for identity in ["p0", "p1"] {
        story.come_back(identity);
    }
    story.join(request("new"));
    story.publish("new", "mic");
    story.publish("p1", "mic");
    story.mute("p0");
    story.everybody_comes_back();
    story.assert_nobody_left();
    story.leave("new");
    for identity in ["p0", "p1", "p2", "p3"] {
        assert_eq!(story.people[identity].view.gone, ["new"]);
    }
}

#[test]
fn somebody_who_starts_afresh_replaces_its_session_that_is_on_its_way() {
    let mut story = Story::meeting(3);
    let before = story.peer("p2").1.sid;
    story.begin();
    story.complete();
    story.come_back("p0");
    story.people.get_mut("p2").unwrap().next = Next::Rejoin;
    story.come_back("p2");
    assert_ne!(story.peer("p2").1.sid, before);
    assert_eq!(story.people["p0"].view.gone, ["p2"]);
    story.come_back("p1");
    assert_eq!(story.people["p1"].view.others.len(), 3);
    assert_eq!(story.shards[1].core.rooms()[0].participants, 3);
    story.pass(Duration::from_secs(40));
    assert_eq!(story.shards[1].core.rooms()[0].participants, 3);
}

#[test]
fn those_with_two_connections_and_those_still_connecting_join_again_with_the_rest_unharmed() {
    let mut story = Story::meeting(2);
    let mut dual = request("dual");
    dual.mode = PeerMode::Dual;
    story.join(dual);
    let dual_sid = story.peer("dual").1.sid;
    story.begin();
    assert_eq!(story.exported.as_ref().unwrap().participants(), 2);
    story.complete();
    assert_eq!(story.people["dual"].next, Next::Rejoin);
    assert!(matches!(
        story.people["dual"].heard.last(),
        Some(Message::Leave(leave)) if leave.reason() == lk::DisconnectReason::Migration
    ));
    story.come_back("p0");
    assert!(
        !story.people["p0"]
            .view
            .others
            .contains_key(dual_sid.as_str())
    );
    assert_eq!(story.people["p0"].view.gone, ["dual"]);
    story.come_back("dual");
    story.come_back("p1");
    assert_ne!(story.peer("dual").1.sid, dual_sid);
    assert_eq!(story.shards[1].core.rooms()[0].participants, 3);
    for identity in ["p0", "p1"] {
        assert!(!story.people[identity].view.gone.contains(&"p0".to_owned()));
    }
}

#[test]
fn settings_permissions_and_options_are_the_same_at_the_new_shard() {
    let mut story = Story::new();
    let mut first = request("p0");
    first.claims.room_config = Some(proto::token::RoomConfig {
        metadata: "agenda".into(),
        max_participants: 3,
        ..proto::token::RoomConfig::default()
    });
    first.claims.video.can_update_own_metadata = Some(true);
    story.join(first);
    let mut chooser = request("p1");
    chooser.auto_subscribe = false;
    story.join(chooser);
    story.join(request("p2"));
    story.publish("p0", "mic");
    story.publish("p0", "cam");
    let tracks = story.people["p0"].tracks.clone();
    let cam = tracks[1].as_str().to_owned();
    let subscription = |subscribe| lk::UpdateSubscription {
        track_sids: vec![cam.clone()],
        subscribe,
        participant_tracks: Vec::new(),
    };
    story.ask("p1", Ask::Subscription(subscription(true)));
    story.ask("p2", Ask::Subscription(subscription(false)));
    let settings = lk::UpdateTrackSettings {
        track_sids: vec![cam.clone()],
        width: 320,
        height: 180,
        ..lk::UpdateTrackSettings::default()
    };
    story.ask("p1", Ask::TrackSetting(settings));
    let rename = |name: &str| {
        Ask::UpdateMetadata(lk::UpdateParticipantMetadata {
            name: name.into(),
            ..lk::UpdateParticipantMetadata::default()
        })
    };
    story.ask("p0", rename("Ada"));
    let nobody = lk::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![lk::TrackPermission {
            participant_identity: "p1".into(),
            all_tracks: true,
            ..lk::TrackPermission::default()
        }],
    };
    story.ask("p0", Ask::SubscriptionPermission(nobody));
    let before = snapshot(&story);
    story.begin();
    story.complete();
    assert_eq!(snapshot(&story), before);
    story.everybody_comes_back();
    assert_eq!(snapshot(&story), before);
    story.assert_nobody_left();
    assert_eq!(story.shards[1].node.subscriptions.len(), 1);
    story.ask("p0", rename("Bo"));
    assert_ne!(
        snapshot(&story),
        before,
        "who might change its name still may"
    );
    story.join(request("p3"));
    assert_eq!(
        story.shards[1].core.rooms()[0].participants,
        3,
        "it is full"
    );
}

/// All of a room that a move must not change.
fn snapshot(story: &Story) -> String {
    let room = &story.shards[story.owner].core.rooms[&room("standup")];
    let people = room.participants.values().map(|p| {
        let mut info = p.to_wire();
        // The one thing that may grow: the node binds again what is bound.
        info.tracks
            .iter_mut()
            .for_each(|track| track.version = None);
        let heard = p.tracks.values().map(|track| track.has_had_subscriber);
        let heard: Vec<bool> = heard.collect();
        format!(
            "{info:?} {heard:?} {:?} {:?} {:?} {:?} {:?} {} {}",
            p.claims,
            p.wishes,
            p.told_allowed,
            p.audience,
            p.subscriptions,
            p.auto_subscribe,
            p.protocol
        )
    });
    let people: Vec<String> = people.collect();
    format!(
        "{} {} {:?} {:?} {}",
        room.sid,
        room.created_ms,
        room.options,
        room.sif_trailer,
        people.join("\n")
    )
}

#[test]
fn track_versions_grow_even_if_the_new_shards_clock_is_behind() {
    let mut story = Story::meeting(2);
    let version = |story: &Story| {
        let room = &story.shards[story.owner].core.rooms[&room("standup")];
        let sid = &story.people["p0"].tracks[0];
        let owner = &room.participants[&room.owners[sid]];
        owner.tracks[sid].info.version.as_ref().unwrap().unix_micro
    };
    let before = version(&story);
    story.begin();
    story.complete();
    story.everybody_comes_back();
    story.mute("p0");
    assert!(version(&story) > before);
}

#[test]
fn a_move_that_is_refused_changes_nothing() {
    let mut story = Story::meeting(2);
    story.begin();
    story.publish("p1", "mic");
    assert!(story.people["p1"].tracks.is_empty());
    let (key, now) = (room("standup"), story.now);
    assert!(story.shards[0].core.seal_move(&key));
    story.shards[0].core.cancel_move(&key, now);
    story.pump();
    assert_eq!(story.people["p1"].tracks.len(), 1);
    story.assert_nobody_left();
    assert!(
        story
            .people
            .values()
            .all(|person| person.next == Next::Stay)
    );
    story.exported = None;
    // And it can be tried again.
    story.begin();
    story.complete();
    story.everybody_comes_back();
    story.assert_nobody_left();
}

#[test]
fn somebody_whose_connection_was_lost_before_the_move_arrives_like_the_others() {
    let mut story = Story::meeting(3);
    let (side, peer) = story.peer("p1");
    let now = story.now;
    story.shards[side]
        .core
        .handle_session_closed(peer.session, now);
    story.people.get_mut("p1").unwrap().next = Next::Resume;
    story.begin();
    // It tries while the room stands still, and later.
    story.come_back("p1");
    assert_eq!(story.people["p1"].next, Next::Resume);
    story.complete();
    story.everybody_comes_back();
    story.assert_nobody_left();
}

#[test]
fn speakers_of_before_the_move_fall_silent_unless_the_new_node_hears_them() {
    let mut story = Story::meeting(3);
    let speaks = |story: &mut Story, identity: &str| {
        let event = NodeEvent::Speakers {
            room: story.shards[story.owner].core.rooms()[0].sid.clone(),
            speakers: vec![proto::media::Speaker {
                participant: story.peer(identity).1.sid,
                level: 0.5,
                active: true,
            }],
        };
        let core = &mut story.shards[story.owner].core;
        core.handle_node_event(&NodeId::new("n1"), event, story.now);
        story.pump();
    };
    speaks(&mut story, "p0");
    speaks(&mut story, "p2");
    story.begin();
    story.complete();
    story.everybody_comes_back();
    let speaking = |story: &Story| story.shards[1].core.rooms[&room("standup")].speakers.len();
    assert_eq!(speaking(&story), 2);
    speaks(&mut story, "p2");
    story.pass(Duration::from_secs(5));
    assert_eq!(speaking(&story), 1);
    let silent = story.people["p1"]
        .heard
        .iter()
        .rev()
        .find_map(|message| match message {
            Message::SpeakersChanged(changed) => Some(changed.speakers.clone()),
            _ => None,
        });
    let silent = silent.unwrap();
    assert_eq!(silent[0].sid, story.peer("p0").1.sid.as_str());
    assert!(!silent[0].active);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever bytes come as a room's state.
    #[test]
    fn foreign_bytes_are_no_room(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(RoomState::from_json(&bytes).is_err());
    }

    /// A state with a byte changed is refused, or taken without harm.
    #[test]
    fn a_damaged_state_does_no_harm(at in 0..20_000_usize, byte in 32..127_u8) {
        let mut story = Story::meeting(3);
        story.begin();
        let mut json = story.exported.take().unwrap().to_json().unwrap();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(state) = RoomState::from_json(&json) {
            let _ = story.shards[1].core.import_room(state, Epoch(2), story.now);
            story.pump();
            story.pass(Duration::from_secs(60));
        }
    }
}
