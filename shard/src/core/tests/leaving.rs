//! Ends: of sessions, transports, rooms, nodes, and the shard.

use super::*;
use proto::media::TransportLoss;
use signal_request::Message as Ask;

#[test]
fn a_client_that_leaves_is_gone_at_once_and_with_it_its_tracks() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic");
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.expect(&[
        "ada x left",
        "n1 < remove ada",
        "bo < update ada:disconnected[] CLIENT_INITIATED",
    ]);
    script.core.handle_session_closed(ada.session, script.now);
    script.ask(&ada, Ask::Ping(1));
    script.expect(&[]);
    assert_eq!(script.core.rooms()[0].tracks, 0);
    script.ask(
        &bo,
        Ask::Subscription(lk::UpdateSubscription {
            track_sids: vec![mic.as_str().into()],
            subscribe: true,
            participant_tracks: Vec::new(),
        }),
    );
    script.expect(&["bo < no subscription mic SE_TRACK_NOTFOUND"]);
}

#[test]
fn a_client_without_signalling_is_kept_for_the_resume_window() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.core.handle_session_closed(ada.session, script.now);
    script.pass(Duration::from_millis(29_999));
    script.expect(&[]);
    script.pass(Duration::from_millis(1));
    script.expect(&[
        "n1 < remove ada",
        "bo < update ada:disconnected[] SIGNAL_CLOSE",
    ]);
}

#[test]
fn a_client_that_closed_both_signalling_and_transports_is_gone_in_either_order() {
    for transports_first in [false, true] {
        let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
        let closed = NodeEvent::Disconnected {
            participant: ada.sid,
            reason: TransportLoss::PeerClosed,
        };
        if transports_first {
            script.event(closed.clone());
        }
        script.core.handle_session_closed(ada.session, script.now);
        if !transports_first {
            script.event(closed);
        }
        script.expect(&[
            "n1 < remove ada",
            "bo < update ada:disconnected[] SIGNAL_CLOSE",
        ]);
    }
}

#[test]
fn a_client_whose_transports_stay_away_starts_afresh() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    let lost = NodeEvent::Disconnected {
        participant: ada.sid.clone(),
        reason: TransportLoss::IceTimeout,
    };
    let participant = ada.sid;
    script.event(lost.clone());
    script.event(NodeEvent::Connected { participant });
    script.pass(Duration::from_secs(31));
    script.expect(&[]);
    script.event(lost);
    script.pass(Duration::from_secs(30));
    script.expect(&[
        "ada < leave RECONNECT CONNECTION_TIMEOUT",
        "ada x media connection lost",
        "n1 < remove ada",
        "bo < update ada:disconnected[] CONNECTION_TIMEOUT",
    ]);
}

#[test]
fn a_fault_in_a_transport_makes_its_client_start_afresh() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.event(NodeEvent::Disconnected {
        participant: ada.sid,
        reason: TransportLoss::Fault,
    });
    script.expect(&[
        "ada < leave RECONNECT MEDIA_FAILURE",
        "ada x media failure",
        "n1 < remove ada",
    ]);
}

#[test]
fn an_empty_room_ends_after_its_timeout_unless_somebody_comes_back() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.pass(Duration::from_secs(19));
    script.outputs();
    let ada = script.join(request("ada"));
    script.pass(Duration::from_secs(19));
    assert_eq!(script.core.rooms().len(), 1);
    script.outputs();
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.outputs();
    script.pass(Duration::from_secs(20));
    script.expect(&["room standup closed"]);
    assert_eq!(script.core.rooms(), []);
    assert!(script.core.index.rooms.is_empty() && script.core.index.participants.is_empty());
}

#[test]
fn hidden_participants_and_recorders_do_not_keep_a_room() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("egress");
    join.claims.video.recorder = true;
    join.claims.video.hidden = true;
    script.join(join);
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.pass(Duration::from_secs(1));
    script.outputs();
    script.pass(Duration::from_secs(19));
    script.expect(&[
        "egress < leave DISCONNECT ROOM_CLOSED",
        "egress x room closed",
        "n1 < remove egress",
        "room standup closed",
    ]);
}

#[test]
fn a_lost_node_sends_its_rooms_elsewhere_and_leaves_the_others() {
    let mut script = Script::new();
    script.join(request("ada"));
    script
        .core
        .handle_node_attached(NodeId::new("n2"), 1, None, script.now);
    let mut join = request("bo");
    join.room = room("retro");
    script.join(join);
    script.core.handle_node_lost(&NodeId::new("n1"), script.now);
    script.expect(&[
        "ada < leave RECONNECT MEDIA_FAILURE",
        "ada x media failure",
        "room standup closed",
    ]);
    script.attempt(request("ada"));
    let lines = script.outputs();
    assert_eq!(lines[1], "n2 < add ada' Single");
}

#[test]
fn a_lost_room_is_dropped_without_giving_back_what_is_not_owned() {
    let (mut script, [_ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.core.handle_room_lost(&room("standup"), script.now);
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(
        lines,
        [
            "ada < leave RECONNECT STATE_MISMATCH",
            "ada x unknown session, join again",
            "bo < leave RECONNECT STATE_MISMATCH",
            "bo x unknown session, join again",
            "n1 < remove ada",
            "n1 < remove bo",
        ]
    );
    assert_eq!(script.core.rooms(), []);
    assert!(script.core.index.sessions.is_empty());
}

#[test]
fn a_shard_that_ends_sends_everybody_elsewhere_and_lets_nobody_in() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    script.core.handle_shutdown(script.now);
    script.expect(&[
        "ada < leave RECONNECT SERVER_SHUTDOWN",
        "ada x server is shutting down",
        "n1 < remove ada",
        "room standup closed",
    ]);
    script.attempt(request("ada"));
    script.expect(&["ada refused: ShuttingDown", "room standup closed"]);
}

#[test]
fn older_clients_find_the_action_of_a_leave_in_can_reconnect() {
    for (reconnect, farewell) in [(true, "shutdown"), (false, "duplicate")] {
        let (mut script, [_ada]) = Script::meeting(["ada"]);
        if farewell == "shutdown" {
            script.core.handle_shutdown(script.now);
        } else {
            script.attempt(request("ada"));
        }
        let Some(Output::Signal { message, .. }) = script.next() else {
            panic!("nothing said");
        };
        let lk::signal_response::Message::Leave(leave) = message else {
            panic!("{message:?}");
        };
        assert_eq!(leave.can_reconnect, reconnect);
    }
}

#[test]
fn nothing_is_due_in_a_shard_where_nobody_is() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.pass(Duration::from_secs(600));
    script.outputs();
    assert_eq!(script.core.poll_timeout(), None);
}
