//! A room comes from another shard, as this shard sees it.

use super::story::Story;
use super::*;
use proto::media::TransportLoss;

/// The state of a meeting of three elsewhere: p0 has a microphone and a camera, p2 a microphone.
fn state() -> RoomState {
    let mut story = Story::meeting(3);
    story.begin();
    story.exported.unwrap()
}

fn names(script: &mut Script, state: &RoomState) {
    for participant in &state.participants {
        let identity = participant.claims.identity();
        let info = lk::ParticipantInfo {
            sid: participant.sid.as_str().into(),
            identity: identity.into(),
            ..lk::ParticipantInfo::default()
        };
        let join = lk::JoinResponse {
            participant: Some(info),
            ..lk::JoinResponse::default()
        };
        script.names.learn(&Output::Signal {
            session: SessionId(0),
            message: lk::signal_response::Message::Join(join),
        });
        for track in &participant.tracks {
            let published = lk::TrackPublishedResponse {
                cid: format!("{identity}-{}", track.cid),
                track: Some(track.info.clone()),
            };
            script.names.learn(&Output::Signal {
                session: SessionId(0),
                message: lk::signal_response::Message::TrackPublished(published),
            });
        }
    }
}

fn arrived() -> (Script, Vec<Peer>) {
    let mut script = Script::new();
    let state = state();
    names(&mut script, &state);
    let peer = |identity: &str| {
        let mut participants = state.participants.iter();
        let found = participants.find(|p| p.claims.identity() == identity);
        Peer {
            session: SessionId(0),
            sid: found.unwrap().sid.clone(),
        }
    };
    let peers = ["p0", "p1", "p2"].map(peer).to_vec();
    let now = script.now;
    assert_eq!(script.core.import_room(state, Epoch(4), now), Ok(()));
    (script, peers)
}

fn back(identity: &str, sid: &ParticipantSid) -> Join {
    Join {
        resume: Some(Resume {
            participant: sid.clone(),
            reason: 1,
            sync_state: None,
        }),
        ..request(identity)
    }
}

#[test]
fn the_node_hears_of_everybody_first_and_then_of_their_tracks_and_clients_hear_nothing() {
    let (mut script, _peers) = arrived();
    let lines = script.outputs();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    let expected = [vec!["adopt"; 3], vec!["publish"; 3], vec!["subscribe"; 6]].concat();
    assert_eq!(kinds, expected, "{lines:?}");
    for line in [
        "n1 < adopt p1 0",
        "n1 < publish p0 p0-cam",
        "n1 < subscribe p2 p0-mic",
    ] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
    let status = script.core.rooms().remove(0);
    assert_eq!(
        (status.participants, status.tracks, status.epoch),
        (3, 3, Epoch(4))
    );
    assert!(status.live && status.moving);
    assert_eq!(
        script.core.begin_move(&room("standup"), script.now),
        Err(MoveRefusal::Arriving)
    );
}

#[test]
fn a_resume_waits_for_what_the_old_shard_has_to_say() {
    let (mut script, peers) = arrived();
    script.outputs();
    let sid = &peers[0].sid;
    script.attempt(back("p0", sid));
    script.expect(&["pull p0"]);
    // Another try of the client asks nobody again.
    script.attempt(back("p0", sid));
    script.expect(&["p0 x resumed on another connection"]);
    let media = proto::media::CarriedMedia {
        last_data_sequence: 7,
        ..state().participants[0].media.clone()
    };
    let media = proto::media::CarriedMedia {
        participant: sid.clone(),
        ..media
    };
    let packet = proto::media::CarriedData {
        from: sid.clone(),
        sequence: 7,
        age_ms: 0,
        packet: vec![1],
    };
    let key = room("standup");
    let pulled = Some((media, vec![packet]));
    script
        .core
        .handle_pulled(&key, sid, pulled.clone(), script.now);
    script.expect(&["n1 < adopt p0 7", "n1 < deliver [p0:7]", "n1 < prepare p0"]);
    // Of an answer that comes twice, or too late, only the data is of use: the node knows what it has.
    let waited = script
        .core
        .handle_pulled(&key, sid, pulled.clone(), script.now);
    script.expect(&["n1 < deliver [p0:7]"]);
    assert!(!waited);
    script
        .core
        .handle_pulled(&key, &peers[1].sid, pulled, script.now);
    script.pass(PULL_MAX);
    script.expect(&[]);
}

/// What the old shard has taken from somebody.
fn taken(
    sid: &ParticipantSid,
) -> Option<(proto::media::CarriedMedia, Vec<proto::media::CarriedData>)> {
    let media = proto::media::CarriedMedia {
        participant: sid.clone(),
        ..state().participants[0].media.clone()
    };
    let packet = proto::media::CarriedData {
        from: sid.clone(),
        sequence: 7,
        age_ms: 0,
        packet: vec![1],
    };
    Some((media, vec![packet]))
}

#[test]
fn an_answer_that_comes_after_the_participant_has_gone_on_is_delivered() {
    let (mut script, peers) = arrived();
    script.outputs();
    let (key, sid) = (room("standup"), &peers[0].sid);
    script.attempt(back("p0", sid));
    let waited = script.core.handle_pulled(&key, sid, None, script.now);
    script.expect(&["pull p0", "n1 < prepare p0"]);
    assert!(waited);
    script.core.handle_pulled(&key, sid, taken(sid), script.now);
    script.expect(&["n1 < deliver [p0:7]"]);
}

#[test]
fn when_the_new_transport_is_up_the_old_shard_is_asked_for_what_came_to_it_meanwhile() {
    let (mut script, peers) = arrived();
    script.outputs();
    let (key, sid) = (room("standup"), &peers[0].sid);
    script.attempt(back("p0", sid));
    script.core.handle_pulled(&key, sid, None, script.now);
    script.outputs();
    let connected = || NodeEvent::Connected {
        participant: sid.clone(),
    };
    script.event(connected());
    script.expect(&["pull p0"]);
    script.core.handle_pulled(&key, sid, taken(sid), script.now);
    script.expect(&["n1 < deliver [p0:7]"]);
    // Once, and not after it has forgotten.
    script.event(connected());
    script.expect(&[]);
    let (mut script, peers) = arrived();
    script.attempt(back("p0", &peers[0].sid));
    script
        .core
        .handle_pulled(&key, &peers[0].sid, None, script.now);
    script.pass(TAIL_MAX);
    script.outputs();
    script.event(connected());
    script.expect(&[]);
}

#[test]
fn before_the_old_shard_forgets_it_is_asked_for_what_it_has_of_those_who_have_not_come() {
    let (mut script, peers) = arrived();
    script.outputs();
    let key = room("standup");
    script.attempt(back("p0", &peers[0].sid));
    script.pass(TAIL_MAX - Duration::from_millis(1_001));
    script.expect(&["pull p0", "n1 < prepare p0"]);
    assert!(script.core.rooms()[0].moving);
    script.pass(Duration::from_millis(1));
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(lines, ["pull p0", "pull p1", "pull p2"]);
    // They have not come, so it does not move them on.
    let sid = &peers[1].sid;
    script.core.handle_pulled(&key, sid, taken(sid), script.now);
    script.expect(&["n1 < deliver [p1:7]"]);
    script.attempt(back("p1", sid));
    script.expect(&["pull p1"]);
}

#[test]
fn what_somebody_said_who_starts_afresh_or_leaves_still_counts() {
    let (mut script, peers) = arrived();
    script.outputs();
    let (key, sid) = (room("standup"), &peers[0].sid);
    script.attempt(request("p0"));
    let lines = script.outputs();
    assert_eq!(lines[0], "pull p0");
    script.core.handle_pulled(&key, sid, taken(sid), script.now);
    script.expect(&["n1 < deliver [p0:7]"]);
    // Somebody who is here, or whom the old shard has forgotten, has nothing there.
    script.pass(TAIL_MAX);
    script.outputs();
    script.attempt(request("p1"));
    let lines = script.outputs();
    assert!(
        !lines.iter().any(|line| line.starts_with("pull")),
        "{lines:?}"
    );
}

#[test]
fn whoever_has_hung_up_at_the_old_shard_leaves_unless_it_has_come() {
    let (mut script, peers) = arrived();
    script.outputs();
    let key = room("standup");
    script.attempt(back("p0", &peers[0].sid));
    script.outputs();
    script.core.handle_hung_up(&key, &peers[0].sid, script.now);
    script.expect(&[]);
    script.core.handle_hung_up(&key, &peers[1].sid, script.now);
    assert!(script.outputs().contains(&"n1 < remove p1".to_owned()));
    assert_eq!(script.core.rooms()[0].participants, 2);
}

#[test]
fn packets_grow_older_on_their_way() {
    let mut state = state();
    let packet = |age_ms| proto::media::CarriedData {
        from: state.participants[0].sid.clone(),
        sequence: 3,
        age_ms,
        packet: vec![1],
    };
    state.data = vec![packet(20), packet(u32::MAX)];
    state.grow_older(Duration::from_millis(1_500));
    let ages: Vec<u32> = state.data.iter().map(|packet| packet.age_ms).collect();
    assert_eq!(ages, [1_520, u32::MAX]);
}

#[test]
fn a_room_whose_state_was_lost_is_as_its_options_say_and_waits_for_its_participants() {
    let mut script = Script::new();
    let options = RoomOptions {
        metadata: "agenda".into(),
        departure_timeout_s: 5,
        max_participants: 1,
        ..RoomOptions::default()
    };
    let key = room("standup");
    let reopen = |script: &mut Script| {
        script
            .core
            .reopen_room(&key, Epoch(4), options.clone(), script.now)
    };
    assert!(reopen(&mut script));
    assert!(!reopen(&mut script), "it is here");
    script.pass(Duration::from_secs(4));
    script.expect(&[]);
    // Whose session is lost is told to join again.
    script.attempt(back("p0", &ParticipantSid::new("PA_x")));
    script.expect(&[
        "p0 < leave RECONNECT STATE_MISMATCH",
        "p0 x unknown session, join again",
    ]);
    script.join(request("p0"));
    script.attempt(request("p1"));
    script.expect(&["p1 refused: MaxParticipants"]);
    assert_eq!(script.core.rooms[&key].options.metadata, "agenda");

    let mut deserted = Script::new();
    assert!(reopen(&mut deserted));
    deserted.pass(Duration::from_secs(5));
    deserted.expect(&["room standup closed"]);
    assert!(!reopen(&mut Script::without_nodes(config())));
}

#[test]
fn a_resume_does_not_wait_for_ever() {
    let (mut script, peers) = arrived();
    script.outputs();
    script.attempt(back("p0", &peers[0].sid));
    script.expect(&["pull p0"]);
    script.pass(PULL_MAX);
    script.expect(&["n1 < prepare p0"]);
}

#[test]
fn what_the_node_says_of_an_earlier_stay_is_not_about_the_new_one() {
    let (mut script, peers) = arrived();
    script.outputs();
    for reason in [TransportLoss::PeerClosed, TransportLoss::Fault] {
        script.event(NodeEvent::Disconnected {
            participant: peers[0].sid.clone(),
            reason,
        });
    }
    script.expect(&[]);
    assert_eq!(script.core.rooms()[0].participants, 3);
}

#[test]
fn whom_the_node_does_not_take_up_joins_again() {
    let (mut script, peers) = arrived();
    script.outputs();
    script.event(NodeEvent::Refused {
        participant: peers[0].sid.clone(),
        offer_id: 0,
        reason: "the node is full".into(),
    });
    script.expect(&["pull p0", "n1 < remove p0"]);
    script.attempt(back("p0", &peers[0].sid));
    script.expect(&[
        "p0 < leave RECONNECT STATE_MISMATCH",
        "p0 x unknown session, join again",
    ]);
}

#[test]
fn recent_packets_go_to_the_node_after_everybody_is_known_there() {
    let mut state = state();
    let senders = [
        state.participants[0].sid.clone(),
        ParticipantSid::new("PA_dual"),
    ];
    let packet = |from: &ParticipantSid| proto::media::CarriedData {
        from: from.clone(),
        sequence: 3,
        age_ms: 0,
        packet: vec![1],
    };
    state.data = senders.iter().map(packet).collect();
    let json = state.to_json().unwrap();
    let state = RoomState::from_json(&json).unwrap();
    let mut script = Script::new();
    names(&mut script, &state);
    assert_eq!(script.core.import_room(state, Epoch(4), script.now), Ok(()));
    let lines = script.outputs();
    let last = lines.last().unwrap();
    assert!(
        last.starts_with("n1 < deliver [p") && last.ends_with("PA_dual:3]"),
        "{last}"
    );
}

#[test]
fn a_room_is_not_taken_where_it_cannot_live() {
    let now = Instant::now();
    let state = state();
    let refusal = |core: &mut Core| core.import_room(state.clone(), Epoch(2), now).unwrap_err();
    let with_limits = |limits| {
        let mut core = Core::new(CoreConfig { limits, ..config() }, now);
        core.handle_node_attached(NodeId::new("n1"), 1, None, now);
        core
    };
    let mut nowhere = Core::new(config(), now);
    assert_eq!(refusal(&mut nowhere), ImportRefusal::NoNode);
    let usual = Limits::default();
    let full = Limits { rooms: 0, ..usual };
    assert_eq!(refusal(&mut with_limits(full)), ImportRefusal::RoomLimit);
    let small = Limits {
        participants_per_room: 2,
        ..usual
    };
    assert_eq!(refusal(&mut with_limits(small)), ImportRefusal::TooLarge);
    let quiet = Limits {
        tracks_per_participant: 1,
        ..usual
    };
    assert_eq!(refusal(&mut with_limits(quiet)), ImportRefusal::TooLarge);

    let mut core = with_limits(usual);
    core.set_draining(true, now);
    assert_eq!(core.check_import(&state), Err(ImportRefusal::Draining));
    // It had said yes before.
    assert_eq!(core.import_room(state.clone(), Epoch(2), now), Ok(()));
    assert_eq!(refusal(&mut core), ImportRefusal::Here);
    // Another life of it, with other ids.
    let mut taken = Core::new(
        CoreConfig {
            seed: 9,
            ..config()
        },
        now,
    );
    taken.handle_node_attached(NodeId::new("n1"), 1, None, now);
    taken.handle_join(request("ada"), now);
    assert_eq!(refusal(&mut taken), ImportRefusal::Here);
    core.handle_shutdown(now);
    assert_eq!(refusal(&mut core), ImportRefusal::ShuttingDown);
}

#[test]
fn a_room_that_contradicts_itself_is_not_taken() {
    let twice = |state: &mut RoomState| state.participants.push(state.participants[0].clone());
    let same_sid = |state: &mut RoomState| {
        let sid = state.participants[0].sid.clone();
        state.participants[1].media.participant = sid.clone();
        state.participants[1].sid = sid;
    };
    let same_name = |state: &mut RoomState| {
        let claims = state.participants[0].claims.clone();
        state.participants[1].claims = claims;
    };
    let nameless = |state: &mut RoomState| state.participants[0].claims.sub.clear();
    let foreign_media = |state: &mut RoomState| {
        let media = state.participants[0].media.clone();
        state.participants[1].media = media;
    };
    let same_track = |state: &mut RoomState| {
        let mut tracks = state.participants.iter().filter(|p| !p.tracks.is_empty());
        let track = tracks.next().unwrap().tracks[0].clone();
        state.participants[1].tracks.push(track.clone());
        state.participants[2].tracks.push(track);
    };
    let harms: [fn(&mut RoomState); 6] = [
        twice,
        same_sid,
        same_name,
        nameless,
        foreign_media,
        same_track,
    ];
    for harm in harms {
        let mut state = state();
        harm(&mut state);
        let mut script = Script::new();
        let refused = script.core.import_room(state, Epoch(2), script.now);
        assert_eq!(refused, Err(ImportRefusal::Malformed));
        script.expect(&[]);
    }
}

#[test]
fn a_state_of_another_version_or_size_is_refused_with_its_cause() {
    let state = state();
    let json = String::from_utf8(state.to_json().unwrap()).unwrap();
    let newer = json.replacen("\"version\":1", "\"version\":2", 1);
    assert_ne!(newer, json);
    assert_eq!(
        RoomState::from_json(newer.as_bytes()),
        Err(RoomStateError::Version(2))
    );
    let long = vec![b' '; limits::ROOM_STATE_BYTES_MAX + 1];
    assert_eq!(
        RoomState::from_json(&long),
        Err(RoomStateError::TooLarge(long.len()))
    );
    assert_eq!(RoomState::from_json(json.as_bytes()), Ok(state.clone()));
    assert!(matches!(
        RoomState::from_json(b"{\"version\":1}"),
        Err(RoomStateError::Malformed(_))
    ));
    assert_eq!((state.room(), state.participants()), (&room("standup"), 3));
}

#[test]
fn a_room_that_moved_without_anybody_ends_like_an_empty_one() {
    let mut state = state();
    state.participants.clear();
    state.options.empty_timeout_s = 300;
    state.options.departure_timeout_s = 5;
    let mut script = Script::new();
    assert_eq!(script.core.import_room(state, Epoch(2), script.now), Ok(()));
    script.pass(Duration::from_secs(4));
    script.expect(&[]);
    script.pass(Duration::from_secs(1));
    script.expect(&["room standup closed"]);
    assert_eq!(script.core.poll_timeout(), None);
}

#[test]
fn what_concerns_tracks_that_are_gone_is_forgotten_and_who_waits_for_room_still_does() {
    let mut state = state();
    let gone = TrackSid::new("TR_gone");
    let p = &mut state.participants[0];
    let (sid, own) = (
        p.sid.clone(),
        p.tracks.first().map(|track| track.sid.clone()),
    );
    p.wishes.insert(gone.clone(), Default::default());
    p.told_allowed.insert(gone.clone(), true);
    p.subscriptions.insert(gone);
    p.subscriptions.extend(own);
    p.is_starved = true;
    let before = p.subscriptions.len();
    let mut script = Script::new();
    assert_eq!(script.core.import_room(state, Epoch(2), script.now), Ok(()));
    let p = &script.core.rooms[&room("standup")].participants[&sid];
    assert!(p.wishes.is_empty() && p.told_allowed.is_empty() && p.is_starved);
    assert!(p.subscriptions.len() < before);
    let subscribed = &p.subscriptions;
    assert!(p.tracks.keys().all(|own| !subscribed.contains(own)));
    script.outputs();
    // It gets what is free by now.
    script.pass(Duration::from_millis(100));
    assert!(!script.core.rooms[&room("standup")].participants[&sid].is_starved);
}

#[test]
fn a_track_whose_section_was_found_on_the_way_is_shown_to_the_room() {
    let mut state = state();
    let owner = state.participants.iter_mut().find(|p| p.tracks.len() == 1);
    let owner = owner.unwrap();
    owner.tracks[0].info.mid.clear();
    let bound = LateSignal::Bound {
        participant: owner.sid.clone(),
        track: owner.tracks[0].sid.clone(),
        mid: "3".into(),
        mime: "audio/opus".into(),
    };
    let mut script = Script::new();
    assert_eq!(script.core.import_room(state, Epoch(2), script.now), Ok(()));
    assert_eq!(script.core.rooms()[0].tracks, 2);
    let key = room("standup");
    script
        .core
        .handle_late(&key, vec![bound.clone(), bound], script.now);
    assert_eq!(script.core.rooms()[0].tracks, 3);
}

#[test]
fn the_media_of_somebody_else_is_no_answer() {
    let (mut script, peers) = arrived();
    script.outputs();
    script.attempt(back("p0", &peers[0].sid));
    script.expect(&["pull p0"]);
    let media = state().participants[0].media.clone();
    let media = proto::media::CarriedMedia {
        participant: peers[1].sid.clone(),
        ..media
    };
    let (key, now) = (room("standup"), script.now);
    script
        .core
        .handle_pulled(&key, &peers[0].sid, Some((media, Vec::new())), now);
    script.expect(&["n1 < prepare p0"]);
}
