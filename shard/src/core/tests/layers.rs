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

fn rated(script: &mut Script, peer: &Peer, rating: Rating) {
    script.event(NodeEvent::ConnectionRated {
        participant: peer.sid.clone(),
        rating,
    });
}

/// What is said of connections in the next second.
fn news(script: &mut Script) -> Vec<String> {
    script.pass(Duration::from_secs(1));
    let lines = script.outputs().into_iter();
    let mut lines: Vec<String> = lines.filter(|it| it.contains("< connection")).collect();
    lines.sort();
    lines
}

#[test]
fn everybody_hears_soon_how_good_its_own_connection_is_and_those_of_whom_it_receives() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.outputs();
    rated(&mut script, &ada, Rating::Good);
    rated(&mut script, &ada, Rating::Poor);
    rated(&mut script, &bo, Rating::Excellent);
    assert!(script.outputs().is_empty(), "changes gather for a moment");
    let both = "bo < connection ada POOR, bo EXCELLENT";
    let told = news(&mut script);
    let ordered = told
        .iter()
        .map(|line| line.replace("bo EXCELLENT, ada POOR", "ada POOR, bo EXCELLENT"));
    assert_eq!(
        ordered.collect::<Vec<_>>(),
        ["ada < connection ada POOR", both]
    );
    assert!(news(&mut script).is_empty());

    let cy = script.join(request("cy"));
    let participant = cy.sid;
    script.event(NodeEvent::Connected { participant });
    assert_eq!(
        news(&mut script),
        ["cy < connection ada POOR"],
        "and nothing of bo"
    );
    rated(&mut script, &bo, Rating::Good);
    assert_eq!(news(&mut script), ["bo < connection bo GOOD"]);
    script.publish(&bo, "mic2");
    assert_eq!(
        news(&mut script)
            .iter()
            .filter(|it| it.contains("bo GOOD"))
            .count(),
        2,
        "ada and cy receive bo from now on"
    );
}

#[test]
fn only_a_hidden_one_itself_hears_how_good_its_connection_is() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let mut join = request("spy");
    join.claims.video.hidden = true;
    let spy = script.join(join);
    rated(&mut script, &spy, Rating::Good);
    assert_eq!(news(&mut script), ["spy < connection spy GOOD"]);
}
