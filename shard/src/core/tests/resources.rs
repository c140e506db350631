//! Participants whose session is an HTTP resource: WHIP and WHEP.

use super::*;
use proto::media::{NodeCommand, TransportLoss};
use signal_request::Message as Ask;

/// An encoder with a camera and its offer.
fn encoder(identity: &str) -> Join {
    let mut claims = request(identity).claims;
    claims.kind = "ingress".into();
    Join {
        claims,
        signalling: Signalling::Resource,
        auto_subscribe: false,
        offer: Some(sdp(1, "offer", "v=0\r\nm=video 9 X 96\r\n")),
        add_tracks: vec![track("cam")],
        ..request(identity)
    }
}

/// A player and its offer.
fn player(identity: &str) -> Join {
    Join {
        signalling: Signalling::Resource,
        offer: Some(sdp(1, "offer", "v=0\r\nm=video 9 X 96\r\n")),
        ..request(identity)
    }
}

/// The client of a resource is not told how its tracks are called.
fn learn_tracks(script: &mut Script, sid: &ParticipantSid) {
    let room = script.core.rooms.values().next().unwrap();
    for (track, known) in &room.participants[sid].tracks {
        script.names.learn_track(track.as_str(), &known.cid);
    }
}

#[test]
fn an_encoder_joins_publishes_and_is_answered_in_one_step_and_hears_nothing_else() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let session = script.attempt(encoder("obs"));
    let sid = script.sid_of(session);
    learn_tracks(&mut script, &sid);
    script.expect(&[
        "obs < join [ada:active[]]",
        "n1 < add obs Single",
        "ada < update obs:joined[]",
        "n1 < publish obs cam",
        "n1 < offer obs 1",
    ]);
    let obs = Peer { session, sid };
    script.answer(&obs, 1);
    let cam = script.names.track("cam");
    script.bind(&obs, &cam, "cam");
    script.expect(&[
        "obs < answer 1 {}",
        "ada < update obs:joined[cam]",
        "n1 < subscribe ada cam",
    ]);
    script.event(NodeEvent::Connected {
        participant: obs.sid.clone(),
    });
    script.expect(&["ada < update obs:active[cam]"]);
    script.publish(&ada, "mic");
    // No refresh of its token either.
    script.pass(Duration::from_secs(600));
    let said = script.outputs();
    assert!(!said.iter().any(|line| line.contains("obs")), "{said:?}");
}

#[test]
fn the_node_knows_that_there_will_be_no_other_offer() {
    let mut script = Script::new();
    for (join, expected) in [(encoder("obs"), true), (request("ada"), false)] {
        script.attempt(join);
        let fixed = std::iter::from_fn(|| script.core.poll_output()).find_map(|output| {
            let Output::Node {
                command: NodeCommand::AddParticipant(new),
                ..
            } = output
            else {
                return None;
            };
            Some(new.fixed)
        });
        assert_eq!(fixed, Some(expected));
    }
}

#[test]
fn others_see_an_ingress() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    script.attempt(encoder("obs"));
    let kind = std::iter::from_fn(|| script.core.poll_output()).find_map(|output| {
        let Output::Signal {
            message: lk::signal_response::Message::Update(update),
            ..
        } = output
        else {
            return None;
        };
        Some(update.participants[0].kind())
    });
    assert_eq!(kind, Some(lk::participant_info::Kind::Ingress));
}

#[test]
fn a_player_gets_the_tracks_of_those_who_came_first() {
    let mut script = Script::new();
    let mut expected = Vec::new();
    for (identity, cid) in [("zoe", "z"), ("ada", "a"), ("bo", "b"), ("cy", "c")] {
        let peer = script.join(request(identity));
        script.publish(&peer, cid);
        script.publish(&peer, &format!("{cid}2"));
        expected.push(cid);
        script
            .core
            .set_clock(2_000_000 + 1000 * script.sessions as i64, script.now);
    }
    script.outputs();
    script.attempt(player("eve"));
    let lines = script.outputs();
    let subscribed: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("n1 < subscribe eve "))
        .collect();
    let owners: Vec<&str> = subscribed.iter().map(|cid| &cid[..1]).collect();
    let twice = expected.iter().flat_map(|cid| [*cid, *cid]);
    assert_eq!(owners, twice.collect::<Vec<_>>());
    let offer = lines.iter().position(|line| line == "n1 < offer eve 1");
    let last = lines.iter().rposition(|line| line.contains("subscribe"));
    assert!(last < offer, "the first answer carries them");
}

#[test]
fn it_ends_at_once_with_its_transport_and_with_its_session() {
    for (ending, why) in [
        (Some(TransportLoss::PeerClosed), "CLIENT_INITIATED"),
        (Some(TransportLoss::IceTimeout), "CONNECTION_TIMEOUT"),
        (None, "SIGNAL_CLOSE"),
    ] {
        let (mut script, [_ada]) = Script::meeting(["ada"]);
        let obs = script.join(encoder("obs"));
        match ending {
            Some(reason) => script.event(NodeEvent::Disconnected {
                participant: obs.sid.clone(),
                reason,
            }),
            None => script.core.handle_session_closed(obs.session, script.now),
        }
        let lines = script.outputs();
        let gone = format!("ada < update obs:disconnected[] {why}");
        assert!(lines.contains(&"n1 < remove obs".to_owned()), "{lines:?}");
        assert_eq!(lines.last(), Some(&gone));
    }
}

#[test]
fn an_offer_that_the_node_refuses_ends_it_with_the_cause() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let obs = script.join(encoder("obs"));
    script.event(NodeEvent::Refused {
        participant: obs.sid,
        offer_id: 1,
        reason: "no fingerprint".into(),
    });
    script.expect(&[
        "obs no offer: no fingerprint",
        "obs < leave RECONNECT MEDIA_FAILURE",
        "obs x media failure",
        "n1 < remove obs",
        "ada < update obs:disconnected[] MEDIA_FAILURE",
    ]);
}

#[test]
fn a_track_that_the_token_does_not_allow_is_told() {
    let mut script = Script::new();
    let mut join = encoder("obs");
    join.claims.video.can_publish_sources = vec!["microphone".into()];
    script.attempt(join);
    script.expect(&[
        "obs < join []",
        "n1 < add obs Single",
        "obs < response 0 NOT_ALLOWED",
        "n1 < offer obs 1",
    ]);
}

#[test]
fn nobody_can_resume_it_over_a_websocket() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let obs = script.join(encoder("obs"));
    script.attempt(Join {
        resume: Some(Resume {
            participant: obs.sid,
            reason: 0,
            sync_state: None,
        }),
        ..request("obs")
    });
    script.expect(&[
        "obs < leave RECONNECT STATE_MISMATCH",
        "obs x unknown session, join again",
    ]);
}

#[test]
fn it_does_not_move_and_its_transport_is_closed() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let obs = script.join(encoder("obs"));
    script.event(NodeEvent::Connected {
        participant: obs.sid.clone(),
    });
    script.outputs();
    let key = room("standup");
    script.core.begin_move(&key, script.now).unwrap();
    let media = [&ada, &obs].map(|peer| proto::media::CarriedMedia {
        participant: peer.sid.clone(),
        sections: Vec::new(),
        streams: Vec::new(),
        channels: Vec::new(),
        last_data_sequence: 0,
        joined_after: BTreeMap::new(),
    });
    script.event(NodeEvent::Exported {
        room: script.core.rooms()[0].sid.clone(),
        worker: 0,
        media: media.to_vec(),
        data: Vec::new(),
    });
    script.expect(&["n1 < export", "exported [ada]"]);
    assert!(script.core.seal_move(&key));
    assert!(script.core.complete_move(&key, script.now));
    let lines = script.outputs();
    assert!(lines.contains(&"n1 < remove obs".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"n1 < remove ada".to_owned()), "{lines:?}");
    script.ask(&obs, Ask::Leave(lk::LeaveRequest::default()));
    script.expect(&[]);
}
