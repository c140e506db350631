//! Coming back on a new connection.

use super::*;
use signal_request::Message as Ask;

fn back(peer: &Peer, identity: &str) -> Join {
    Join {
        resume: Some(Resume {
            participant: peer.sid.clone(),
            reason: 1,
            sync_state: None,
        }),
        ..request(identity)
    }
}

/// Ada, who publishes a microphone, has lost her connection; bo is there.
fn after_loss() -> (Script, Peer, Peer, TrackSid) {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic");
    script.core.handle_session_closed(ada.session, script.now);
    script.pass(Duration::from_secs(2));
    script.outputs();
    (script, ada, bo, mic)
}

/// Ada is back and has the answer to her resume.
fn ready() -> (Script, Peer, Peer, TrackSid) {
    let (mut script, ada, bo, mic) = after_loss();
    let session = script.attempt(back(&ada, "ada"));
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid.clone(),
        last_data_sequence: 7,
    });
    script.outputs();
    let sid = ada.sid;
    (script, Peer { session, sid }, bo, mic)
}

fn published(cid: &str, sid: &TrackSid) -> lk::TrackPublishedResponse {
    lk::TrackPublishedResponse {
        cid: cid.into(),
        track: Some(lk::TrackInfo {
            sid: sid.as_str().into(),
            ..lk::TrackInfo::default()
        }),
    }
}

#[test]
fn a_resume_is_answered_when_the_node_is_ready_and_nobody_else_notices() {
    let (mut script, ada, _bo, mic) = after_loss();
    let session = script.attempt(back(&ada, "ada"));
    script.expect(&["n1 < prepare ada"]);
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid.clone(),
        last_data_sequence: 7,
    });
    script.expect(&[
        "ada < reconnect 7",
        "ada < update ada:active[mic] bo:active[]",
        "ada < speakers bo:0 silent ada:0 silent",
        "ada < room 2/1",
    ]);

    let ada = Peer { session, ..ada };
    let channel = |label: &str, id| lk::DataChannelInfo {
        label: label.into(),
        id,
        target: 0,
    };
    script.ask(
        &ada,
        Ask::SyncState(lk::SyncState {
            data_channels: vec![
                channel("_lossy", 0),
                channel("_reliable", 2),
                channel("_again", 2),
                channel("_far", 70_000),
            ],
            publish_tracks: vec![published("mic", &mic)],
            ..lk::SyncState::default()
        }),
    );
    script.expect(&[]);
    let offer = "m=audio 9 X 1\r\na=mid:mic\r\na=sendonly\r\n";
    script.ask(&ada, Ask::Offer(sdp(5, "offer", offer)));
    script.expect(&["n1 < offer ada 5 resume [_lossy=0,_reliable=2]"]);
    script.answer(&ada, 5);
    script.expect(&["ada < answer 5 {}"]);
    script.event(NodeEvent::Connected {
        participant: ada.sid.clone(),
    });
    script.ask(&ada, Ask::Offer(sdp(6, "offer", offer)));
    script.expect(&["n1 < offer ada 6"]);
    script.pass(Duration::from_secs(60));
    assert_eq!(script.core.rooms()[0].participants, 2);
}

#[test]
fn what_happens_while_the_node_prepares_is_not_said_before_the_answer() {
    let (mut script, ada, bo, _mic) = after_loss();
    script.attempt(back(&ada, "ada"));
    script.outputs();
    script.ask(&bo, Ask::AddTrack(track("cam")));
    script.outputs();
    let cam = script.names.track("cam");
    script.bind(&bo, &cam, "cam");
    script.expect(&["n1 < subscribe ada cam", "bo < has subscriber cam"]);
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid,
        last_data_sequence: 0,
    });
    script.expect(&[
        "ada < reconnect 0",
        "ada < update ada:active[mic] bo:active[cam]",
        "ada < speakers bo:0 silent ada:0 silent",
        "ada < room 2/2",
    ]);
}

#[test]
fn state_and_offer_that_come_with_the_resume_wait_for_the_node() {
    let (mut script, ada, _bo, mic) = after_loss();
    let mut join = back(&ada, "ada");
    join.offer = Some(sdp(2, "offer", "m=audio 9 X 1\r\na=mid:mic\r\n"));
    if let Some(resume) = &mut join.resume {
        resume.sync_state = Some(lk::SyncState {
            data_channels: vec![lk::DataChannelInfo {
                label: "_reliable".into(),
                id: 0,
                target: 0,
            }],
            publish_tracks: vec![published("mic", &mic)],
            ..lk::SyncState::default()
        });
    }
    script.attempt(join);
    script.expect(&["n1 < prepare ada"]);
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid,
        last_data_sequence: 0,
    });
    let lines = script.outputs();
    assert_eq!(
        lines.last().unwrap(),
        "n1 < offer ada 2 resume [_reliable=0]"
    );
}

#[test]
fn an_offer_that_comes_before_the_answer_to_the_resume_waits_for_it() {
    let (mut script, ada, _bo, _mic) = after_loss();
    let session = script.attempt(back(&ada, "ada"));
    script.outputs();
    let early = Peer {
        session,
        sid: ada.sid.clone(),
    };
    script.ask(&early, Ask::Offer(sdp(2, "offer", "a=mid:mic")));
    script.expect(&[]);
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid,
        last_data_sequence: 0,
    });
    let lines = script.outputs();
    assert_eq!(lines.last().unwrap(), "n1 < offer ada 2 resume []");
}

#[test]
fn the_older_connection_of_a_resumed_session_is_closed_without_a_word() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.attempt(back(&ada, "ada"));
    script.expect(&["ada x resumed on another connection", "n1 < prepare ada"]);
    // The surface reports the old connection's end late.
    script.core.handle_session_closed(ada.session, script.now);
    script.pass(Duration::from_secs(29));
    script.expect(&[]);
}

#[test]
fn subscriptions_and_settings_of_the_client_survive() {
    let (mut script, ada, bo, mic) = ready();
    let cam = script.publish(&bo, "cam");
    script.ask(
        &ada,
        Ask::SyncState(lk::SyncState {
            publish_tracks: vec![published("mic", &mic)],
            subscription: Some(lk::UpdateSubscription {
                track_sids: vec![cam.as_str().into(), "TR_gone".into()],
                subscribe: false,
                participant_tracks: Vec::new(),
            }),
            ..lk::SyncState::default()
        }),
    );
    script.expect(&["n1 < unsubscribe ada cam"]);
    script.ask(
        &ada,
        Ask::SyncState(lk::SyncState {
            publish_tracks: vec![published("mic", &mic)],
            subscription: Some(lk::UpdateSubscription {
                track_sids: vec![cam.as_str().into(), "TR_gone".into()],
                subscribe: true,
                participant_tracks: Vec::new(),
            }),
            track_sids_disabled: vec![cam.as_str().into()],
            ..lk::SyncState::default()
        }),
    );
    script.expect(&[
        "n1 < subscribe ada cam",
        "n1 < settings ada cam off High 0x0",
    ]);
}

#[test]
fn tracks_that_the_client_gave_up_meanwhile_end() {
    let (mut script, ada, _bo, _mic) = ready();
    script.ask(&ada, Ask::SyncState(lk::SyncState::default()));
    script.expect(&["n1 < unpublish mic", "bo < update ada:active[]"]);
}

#[test]
fn a_client_that_publishes_what_is_unknown_here_starts_afresh() {
    let (mut script, ada, _bo, mic) = ready();
    script.ask(
        &ada,
        Ask::SyncState(lk::SyncState {
            publish_tracks: vec![
                published("mic", &mic),
                published("cam", &TrackSid::new("TR_x")),
            ],
            ..lk::SyncState::default()
        }),
    );
    script.expect(&[
        "ada < leave RECONNECT STATE_MISMATCH",
        "ada x unknown session, join again",
        "n1 < remove ada",
        "bo < update ada:disconnected[] STATE_MISMATCH",
    ]);
}

#[test]
fn a_sync_state_outside_of_a_resume_changes_nothing() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.ask(&ada, Ask::SyncState(lk::SyncState::default()));
    script.expect(&[]);
}

#[test]
fn an_unknown_session_joins_again() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let stranger = Peer {
        session: SessionId(0),
        sid: ParticipantSid::new("PA_gone"),
    };
    script.attempt(back(&stranger, "bo"));
    script.expect(&[
        "bo < leave RECONNECT STATE_MISMATCH",
        "bo x unknown session, join again",
    ]);
    // Nobody takes over somebody else's session.
    script.attempt(back(&ada, "bo"));
    script.expect(&[
        "bo < leave RECONNECT STATE_MISMATCH",
        "bo x unknown session, join again",
    ]);
}

#[test]
fn a_resume_in_a_room_that_is_not_here_gives_its_ownership_back() {
    let mut script = Script::new();
    let stranger = Peer {
        session: SessionId(0),
        sid: ParticipantSid::new("PA_gone"),
    };
    script.attempt(back(&stranger, "ada"));
    script.expect(&[
        "ada < leave RECONNECT STATE_MISMATCH",
        "ada x unknown session, join again",
        "room standup closed",
    ]);
}

#[test]
fn a_dual_session_joins_again_instead_of_resuming() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.mode = PeerMode::Dual;
    let ada = script.join(join);
    let mut join = back(&ada, "ada");
    join.mode = PeerMode::Dual;
    script.attempt(join);
    script.expect(&[
        "ada < leave RECONNECT STATE_MISMATCH",
        "ada x unknown session, join again",
    ]);
}

#[test]
fn a_second_loss_during_a_resume_starts_the_resume_again() {
    let (mut script, ada, _bo, _mic) = after_loss();
    let second = script.attempt(back(&ada, "ada"));
    script.outputs();
    script.core.handle_session_closed(second, script.now);
    script.attempt(back(&ada, "ada"));
    script.expect(&["n1 < prepare ada"]);
    for _ in 0..2 {
        script.event(NodeEvent::ResumeReady {
            participant: ada.sid.clone(),
            last_data_sequence: 1,
        });
    }
    script.expect(&[
        "ada < reconnect 1",
        "ada < update ada:active[mic] bo:active[]",
        "ada < speakers bo:0 silent ada:0 silent",
        "ada < room 2/1",
    ]);
}

#[test]
fn a_resume_that_never_connects_makes_the_client_start_afresh() {
    let (mut script, _ada, _bo, _mic) = ready();
    script.pass(Duration::from_secs(30));
    script.expect(&[
        "ada < leave RECONNECT CONNECTION_TIMEOUT",
        "ada x media connection lost",
        "n1 < remove ada",
        "bo < update ada:disconnected[] CONNECTION_TIMEOUT",
    ]);
}

#[test]
fn a_new_join_during_the_resume_window_replaces_the_session() {
    let (mut script, _ada, _bo, _mic) = after_loss();
    script.attempt(request("ada"));
    script.expect(&[
        "n1 < remove ada",
        "bo < update ada:disconnected[] DUPLICATE_IDENTITY",
        "ada < join [bo:active[]]",
        "n1 < add ada' Single",
        "bo < update ada':joined[]",
    ]);
}

/// What ada hears when she comes back.
fn heard_on_return(script: &mut Script, ada: &Peer) -> Vec<String> {
    script.attempt(back(ada, "ada"));
    script.outputs();
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid.clone(),
        last_data_sequence: 0,
    });
    script.outputs()
}

#[test]
fn whoever_left_meanwhile_is_named_and_whoever_is_back_is_not_gone() {
    let (mut script, [ada, bo, cy]) = Script::meeting(["ada", "bo", "cy"]);
    script.core.handle_session_closed(ada.session, script.now);
    script.pass(Duration::from_secs(20));
    for peer in [&bo, &cy] {
        script.ask(peer, Ask::Leave(lk::LeaveRequest::default()));
    }
    let cy = script.join(request("cy"));
    script.event(NodeEvent::Connected {
        participant: cy.sid,
    });
    script.outputs();
    let heard = heard_on_return(&mut script, &ada);
    assert_eq!(
        heard[1],
        "ada < update ada:active[] cy':active[] bo:disconnected[] CLIENT_INITIATED"
    );
    // Long after, nobody can have missed it.
    script.event(NodeEvent::Connected {
        participant: ada.sid.clone(),
    });
    script.pass(Duration::from_secs(60));
    let heard = heard_on_return(&mut script, &ada);
    assert_eq!(heard[1], "ada < update ada:active[] cy':active[]");
}

#[test]
fn whoever_was_hidden_leaves_no_trace() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("spy");
    join.claims.video.hidden = true;
    let spy = script.join(join);
    script.ask(&spy, Ask::Leave(lk::LeaveRequest::default()));
    script.outputs();
    let heard = heard_on_return(&mut script, &ada);
    assert_eq!(heard[1], "ada < update ada:active[]");
}

#[test]
fn changes_of_speakers_that_were_missed_are_made_good() {
    let (mut script, [ada, bo, cy]) = Script::meeting(["ada", "bo", "cy"]);
    let speaks = |script: &mut Script, peer: &Peer, active| {
        script.event(NodeEvent::Speakers {
            room: script.core.rooms()[0].sid.clone(),
            speakers: vec![proto::media::Speaker {
                participant: peer.sid.clone(),
                level: 0.5,
                active,
            }],
        });
    };
    speaks(&mut script, &bo, true);
    script.core.handle_session_closed(ada.session, script.now);
    speaks(&mut script, &bo, false);
    speaks(&mut script, &cy, true);
    script.outputs();
    let heard = heard_on_return(&mut script, &ada);
    let mut speakers: Vec<&str> = heard[2].split(' ').collect();
    speakers.sort_unstable();
    assert_eq!(heard[2].matches("silent").count(), 2);
    for state in ["ada:0", "bo:0", "cy:0.5"] {
        assert!(speakers.contains(&state), "{speakers:?}");
    }
}

#[test]
fn what_was_said_about_audiences_is_said_again() {
    let (mut script, ada, bo, _mic) = after_loss();
    let cam = script.publish(&bo, "cam");
    let nobody = lk::SubscriptionPermission::default();
    script.ask(&bo, Ask::SubscriptionPermission(nobody));
    script.expect(&["n1 < unsubscribe ada cam"]);
    let again = "ada < may subscribe cam of bo: false".to_owned();
    let heard = heard_on_return(&mut script, &ada);
    assert!(heard.contains(&again), "{heard:?}");
    assert_eq!(cam, script.names.track("cam"));
}

#[test]
fn the_first_offer_after_a_resume_does_not_wait_for_the_answer_to_an_earlier_one() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    for id in 1..=2 {
        script.ask(&ada, Ask::Offer(sdp(id, "offer", "v=0")));
    }
    script.expect(&["n1 < offer ada 1"]);
    let session = script.attempt(back(&ada, "ada"));
    script.outputs();
    // The node answers in order.
    script.answer(&ada, 1);
    script.expect(&[]);
    script.event(NodeEvent::ResumeReady {
        participant: ada.sid.clone(),
        last_data_sequence: 0,
    });
    script.outputs();
    let ada = Peer { session, ..ada };
    for id in 3..=5 {
        script.ask(&ada, Ask::Offer(sdp(id, "offer", "v=0")));
    }
    script.expect(&["n1 < offer ada 3 resume []"]);
    script.answer(&ada, 3);
    script.expect(&["n1 < offer ada 5"]);
    script.answer(&ada, 5);
    script.expect(&["ada < answer 5 {}"]);
}
