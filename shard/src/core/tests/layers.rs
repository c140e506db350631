//! Thin lines, and layers that nobody wants.

use super::*;
use proto::media::{Quality, Rating};

fn state(peer: &Peer, track: &TrackSid, paused: bool) -> NodeEvent {
    NodeEvent::StreamState {
        participant: peer.sid.clone(),
        track: track.clone(),
        paused,
    }
}

#[test]
fn a_subscriber_hears_what_its_line_does_not_take_once_and_when_it_does_again() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let cam = script.publish(&ada, "cam");
    script.event(state(&bo, &cam, true));
    script.expect(&["bo < stream cam PAUSED"]);
    script.event(state(&bo, &cam, true));
    script.expect(&[]);
    script.event(state(&bo, &cam, false));
    script.expect(&["bo < stream cam ACTIVE"]);
    script.event(state(&ada, &cam, true));
    script.expect(&[]);
}

#[test]
fn on_a_new_transport_everything_comes_again() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let cam = script.publish(&ada, "cam");
    script.event(state(&bo, &cam, true));
    script.outputs();
    let participant = bo.sid.clone();
    script.event(NodeEvent::Connected { participant });
    script.expect(&["bo < stream cam ACTIVE"]);
    let participant = bo.sid;
    script.event(NodeEvent::Connected { participant });
    script.expect(&[]);
}

#[test]
fn a_publisher_hears_which_layers_are_wanted() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let cam = script.publish(&ada, "cam");
    let wanted = |peer: &Peer, quality| NodeEvent::LayersWanted {
        participant: peer.sid.clone(),
        track: cam.clone(),
        quality,
    };
    script.event(wanted(&ada, Some(Quality::Medium)));
    script.expect(&["ada < wanted cam vp8 LOW+MEDIUM"]);
    script.event(wanted(&ada, None));
    script.expect(&["ada < wanted cam vp8 "]);
    script.event(wanted(&bo, Some(Quality::High)));
    script.expect(&[]);
}

#[test]
fn everybody_hears_how_good_connections_are_and_newcomers_too() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let rated = |peer: &Peer, rating| NodeEvent::ConnectionRated {
        participant: peer.sid.clone(),
        rating,
    };
    script.event(rated(&ada, Rating::Poor));
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(
        lines,
        ["ada < connection ada POOR", "bo < connection ada POOR"]
    );
    script.event(rated(&bo, Rating::Excellent));
    script.outputs();
    let participant = script.join(request("cy")).sid;
    script.event(NodeEvent::Connected { participant });
    let lines = script.outputs();
    let heard = lines
        .iter()
        .find(|line| line.starts_with("cy < connection"));
    assert!(heard.is_some_and(|line| line.contains("ada POOR") && line.contains("bo EXCELLENT")));
}

#[test]
fn only_a_hidden_one_itself_hears_how_good_its_connection_is() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let mut join = request("spy");
    join.claims.video.hidden = true;
    let spy = script.join(join);
    script.event(NodeEvent::ConnectionRated {
        participant: spy.sid,
        rating: Rating::Good,
    });
    script.expect(&["spy < connection spy GOOD"]);
}
