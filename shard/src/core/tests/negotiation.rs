//! Session descriptions, candidates, sections, pings.

use super::*;
use signal_request::Message as Ask;

#[test]
fn offers_and_answers_are_handed_over_with_their_ids_and_tracks() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mic = script.publish(&ada, "mic");
    let offer = "v=0\r\nm=audio 9 X 1\r\na=mid:mic\r\na=sendonly\r\n";
    script.ask(&ada, Ask::Offer(sdp(3, "offer", offer)));
    script.expect(&["n1 < offer ada 3"]);
    script.event(NodeEvent::Answer {
        participant: ada.sid,
        offer_id: 3,
        sdp: "v=0".into(),
        mid_to_track: BTreeMap::from([("mic".into(), mic)]),
    });
    script.expect(&["ada < answer 3 {mic: mic}"]);
}

#[test]
fn of_a_flood_of_offers_the_node_gets_one_at_a_time_and_then_the_newest() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    for id in 1..=500 {
        script.ask(&ada, Ask::Offer(sdp(id, "offer", "v=0")));
    }
    script.expect(&["n1 < offer ada 1"]);
    // Others do not wait.
    script.ask(&bo, Ask::Offer(sdp(1, "offer", "v=0")));
    script.expect(&["n1 < offer bo 1"]);
    script.answer(&ada, 1);
    script.expect(&["n1 < offer ada 500"]);
    script.answer(&ada, 500);
    script.expect(&["ada < answer 500 {}"]);
    script.ask(&ada, Ask::Offer(sdp(501, "offer", "v=0")));
    script.expect(&["n1 < offer ada 501"]);
}

#[test]
fn tracks_end_by_the_offer_that_the_node_gets_and_not_by_one_that_was_superseded() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.publish(&ada, "mic");
    let sending = "v=0\r\nm=audio 9 X 1\r\na=mid:mic\r\na=sendonly\r\n";
    for (id, text) in [(1, sending), (2, "v=0"), (3, sending), (4, "v=0")] {
        script.ask(&ada, Ask::Offer(sdp(id, "offer", text)));
        if id == 3 {
            script.expect(&["n1 < offer ada 1"]);
            script.answer(&ada, 1);
        }
    }
    script.expect(&["n1 < offer ada 3"]);
    script.answer(&ada, 3);
    script.expect(&["n1 < unpublish mic", "n1 < offer ada 4"]);
}

#[test]
fn a_client_answers_no_more_often_than_the_node_offers() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.mode = PeerMode::Dual;
    let ada = script.join(join);
    for id in 1..=2 {
        script.event(NodeEvent::Offer {
            participant: ada.sid.clone(),
            offer_id: id,
            sdp: "v=0".into(),
            mid_to_track: BTreeMap::new(),
        });
    }
    script.outputs();
    for id in [1, 2, 2, 2, 7] {
        script.ask(&ada, Ask::Answer(sdp(id, "answer", "v=0")));
    }
    script.expect(&["n1 < answer ada 1", "n1 < answer ada 2"]);
}

#[test]
fn an_offer_as_long_as_a_message_is_taken() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let long = "x".repeat(2 * 1024 * 1024 - 64);
    script.ask(&ada, Ask::Offer(sdp(1, "offer", &long)));
    script.expect(&["n1 < offer ada 1"]);
}

#[test]
fn in_dual_mode_the_node_offers_and_the_client_answers() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.mode = PeerMode::Dual;
    let ada = script.join(join);
    script.event(NodeEvent::Offer {
        participant: ada.sid.clone(),
        offer_id: 1,
        sdp: "v=0".into(),
        mid_to_track: BTreeMap::new(),
    });
    script.expect(&["ada < offer 1 {}"]);
    script.ask(&ada, Ask::Answer(sdp(1, "answer", "v=0")));
    script.expect(&["n1 < answer ada 1"]);
}

#[test]
fn an_answer_in_single_mode_is_ignored() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::Answer(sdp(1, "answer", "v=0")));
    script.expect(&[]);
}

#[test]
fn candidates_go_to_the_connection_that_the_client_names_if_it_has_two() {
    let trickle = |target: lk::SignalTarget| {
        Ask::Trickle(lk::TrickleRequest {
            candidate_init: r#"{"candidate":"candidate:1 1 udp","sdpMid":"0"}"#.into(),
            target: target.into(),
            r#final: false,
        })
    };
    let mut script = Script::new();
    let single = script.join(request("ada"));
    let mut join = request("bo");
    join.mode = PeerMode::Dual;
    let dual = script.join(join);
    for target in [lk::SignalTarget::Publisher, lk::SignalTarget::Subscriber] {
        script.ask(&single, trickle(target));
        script.ask(&dual, trickle(target));
    }
    script.expect(&[
        "n1 < candidate ada Publisher candidate:1 1 udp",
        "n1 < candidate bo Publisher candidate:1 1 udp",
        "n1 < candidate ada Publisher candidate:1 1 udp",
        "n1 < candidate bo Subscriber candidate:1 1 udp",
    ]);
}

#[test]
fn candidates_that_cannot_be_read_are_dropped() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    for text in ["", "{", r#"{"candidate":""}"#, "{}", &"x".repeat(10_000)] {
        let candidate_init = text.into();
        script.ask(
            &ada,
            Ask::Trickle(lk::TrickleRequest {
                candidate_init,
                ..lk::TrickleRequest::default()
            }),
        );
    }
    script.expect(&[]);
}

#[test]
fn a_client_is_asked_for_sections() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.event(NodeEvent::SectionsWanted {
        participant: ada.sid,
        audio: 1,
        video: 2,
    });
    script.expect(&["ada < sections 1 2"]);
}

#[test]
fn an_offer_that_the_node_refuses_makes_the_client_start_afresh() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.event(NodeEvent::Refused {
        participant: ada.sid,
        offer_id: 1,
        reason: "no media sections".into(),
    });
    script.expect(&[
        "ada < leave RECONNECT MEDIA_FAILURE",
        "ada x media failure",
        "n1 < remove ada",
        "bo < update ada:disconnected[] MEDIA_FAILURE",
    ]);
}

#[test]
fn an_oversized_offer_ends_the_session() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let huge = "x".repeat(limits::SDP_BYTES_MAX + 1);
    script.ask(&ada, Ask::Offer(sdp(1, "offer", &huge)));
    script.expect(&[
        "ada < leave DISCONNECT STATE_MISMATCH",
        "ada x unknown session, join again",
        "n1 < remove ada",
    ]);
}

#[test]
fn both_pings_are_answered_with_the_wall_clock() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::Ping(5));
    script.ask(
        &ada,
        Ask::PingReq(lk::Ping {
            timestamp: 7,
            rtt: 1,
        }),
    );
    script.expect(&["ada < pong 1001000", "ada < pong 7 1001000"]);
    script.core.set_clock(5_000_000, script.now);
    script.ask(&ada, Ask::Ping(5));
    script.expect(&["ada < pong 5000000"]);
}

#[test]
fn what_is_not_offered_is_answered_or_ignored_but_never_silently_awaited() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(
        &ada,
        Ask::PublishDataTrackRequest(lk::PublishDataTrackRequest::default()),
    );
    script.ask(
        &ada,
        Ask::GetDataBlobRequest(lk::GetDataBlobRequest {
            request_id: 9,
            ..lk::GetDataBlobRequest::default()
        }),
    );
    script.ask(&ada, Ask::Simulate(lk::SimulateScenario::default()));
    script.expect(&[
        "ada < response 0 UNSUPPORTED_TYPE",
        "ada < response 9 UNSUPPORTED_TYPE",
    ]);
}

#[test]
fn messages_of_strangers_are_ignored() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let stranger = Peer {
        session: SessionId(99),
        sid: ada.sid.clone(),
    };
    script.ask(&stranger, Ask::Ping(1));
    script.event(NodeEvent::Connected {
        participant: ParticipantSid::new("PA_nobody"),
    });
    let participant = ada.sid;
    let event = NodeEvent::SectionsWanted {
        participant,
        audio: 0,
        video: 0,
    };
    let other = NodeId::new("n2");
    script.core.handle_node_event(&other, event, script.now);
    script.expect(&[]);
}
