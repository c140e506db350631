//! What a room is like, and who opens and keeps it.

use super::*;
use lk::signal_response::Message;
use proto::token::RoomConfig;

/// A join whose token says what the room is like.
fn with_config(identity: &str) -> Join {
    let mut join = request(identity);
    join.claims.room_config = Some(RoomConfig {
        last_n: 2,
        loudest_n: 3,
        empty_timeout: 300,
        departure_timeout: 5,
        max_participants: 2,
        metadata: "agenda".into(),
    });
    join
}

fn shown(script: &mut Script) -> lk::Room {
    std::iter::from_fn(|| script.next())
        .find_map(|output| match output {
            Output::Signal {
                message: Message::Join(join),
                ..
            } => join.room,
            _ => None,
        })
        .unwrap()
}

fn leave(script: &mut Script, peer: &Peer) {
    script.ask(
        peer,
        signal_request::Message::Leave(lk::LeaveRequest::default()),
    );
}

#[test]
fn the_token_that_opens_a_room_says_what_it_is_like_and_that_is_kept_once() {
    let mut script = Script::new();
    script.attempt(with_config("ada"));
    script.expect(&[
        "room standup keeps \"agenda\" 300s 5s 2",
        "ada < join []",
        "n1 < add ada Single",
    ]);
    // The second one finds the room as it is.
    let mut join = with_config("bo");
    join.claims.room_config = Some(RoomConfig {
        metadata: "mutiny".into(),
        ..RoomConfig::default()
    });
    script.attempt(join);
    let room = shown(&mut script);
    assert_eq!(
        (room.metadata.as_str(), room.max_participants),
        ("agenda", 2)
    );
    assert_eq!((room.empty_timeout, room.departure_timeout), (300, 5));
    let kept = script.outputs();
    assert!(kept.iter().all(|line| !line.contains("keeps")), "{kept:?}");
}

#[test]
fn a_room_without_options_is_as_the_shard_has_it_and_there_is_nothing_to_keep() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.claims.room_config = Some(RoomConfig::default());
    script.attempt(join);
    script.expect(&["ada < join []", "n1 < add ada Single"]);
    script.attempt(request("bo"));
    let room = shown(&mut script);
    assert_eq!((room.empty_timeout, room.departure_timeout), (20, 20));
    assert_eq!((room.metadata.as_str(), room.max_participants), ("", 0));
}

#[test]
fn what_was_kept_of_an_earlier_life_of_the_room_wins() {
    let mut script = Script::new();
    let mut join = with_config("ada");
    join.stored_options = Some(RoomOptions {
        metadata: "minutes".into(),
        departure_timeout_s: 7,
        ..RoomOptions::default()
    });
    script.attempt(join);
    // It is kept already.
    script.expect(&["ada < join []", "n1 < add ada Single"]);
    script.attempt(request("bo"));
    let room = shown(&mut script);
    assert_eq!(
        (room.metadata.as_str(), room.max_participants),
        ("minutes", 0)
    );
    assert_eq!((room.empty_timeout, room.departure_timeout), (20, 7));
}

#[test]
fn metadata_that_is_too_long_is_left_out() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.stored_options = Some(RoomOptions {
        metadata: "x".repeat(limits::METADATA_BYTES_MAX + 1),
        max_participants: 9,
        ..RoomOptions::default()
    });
    script.attempt(join);
    let room = shown(&mut script);
    assert_eq!((room.metadata.as_str(), room.max_participants), ("", 9));
}

#[test]
fn options_read_what_another_version_wrote() {
    let json = r#"{"max_participants": 3, "colour": "red"}"#;
    let options: RoomOptions = serde_json::from_str(json).unwrap();
    let expected = RoomOptions {
        max_participants: 3,
        ..RoomOptions::default()
    };
    assert_eq!(options, expected);
}

#[test]
fn a_room_takes_as_many_as_its_options_say_without_those_who_do_not_keep_it() {
    let mut script = Script::new();
    script.join(with_config("ada"));
    let mut recorder = request("egress");
    recorder.claims.video.recorder = true;
    script.join(recorder);
    script.join(request("bo"));
    script.attempt(request("cy"));
    script.expect(&["cy refused: MaxParticipants"]);
    let mut spy = request("spy");
    spy.claims.video.hidden = true;
    script.join(spy);
    // Whoever replaces itself may.
    script.join(request("bo"));
    assert_eq!(script.core.rooms()[0].participants, 4);
    assert_eq!(JoinRefusal::MaxParticipants.status(), 503);
}

#[test]
fn a_room_ends_when_its_own_timeout_says_so() {
    let mut script = Script::new();
    let ada = script.join(with_config("ada"));
    leave(&mut script, &ada);
    script.outputs();
    script.pass(Duration::from_millis(4_999));
    script.expect(&[]);
    script.pass(Duration::from_millis(1));
    script.expect(&["room standup closed"]);
}

#[test]
fn those_who_do_not_keep_a_room_do_not_open_it() {
    let hidden = |join: &mut Join| join.claims.video.hidden = true;
    let recorder = |join: &mut Join| join.claims.video.recorder = true;
    let agent = |join: &mut Join| join.claims.video.agent = true;
    let by_kind = |join: &mut Join| join.claims.kind = "agent".into();
    let egress = |join: &mut Join| join.claims.kind = "egress".into();
    let kinds: [fn(&mut Join); 5] = [hidden, recorder, agent, by_kind, egress];
    for make in kinds {
        let mut script = Script::new();
        let mut join = request("x");
        make(&mut join);
        assert!(!opens_room(&join.claims));
        script.attempt(join.clone());
        script.expect(&["x refused: NotLive", "room standup closed"]);

        let ada = script.join(request("ada"));
        script.join(join);
        leave(&mut script, &ada);
        script.outputs();
        script.pass(Duration::from_secs(20));
        let lines = script.outputs();
        assert_eq!(lines.last().unwrap(), "room standup closed", "{lines:?}");
    }
    assert!(opens_room(&request("ada").claims));
    assert_eq!(JoinRefusal::NotLive.status(), 404);
    let action = JoinRefusal::NotLive.leave().action();
    assert_eq!(action, lk::leave_request::Action::Disconnect);
}
