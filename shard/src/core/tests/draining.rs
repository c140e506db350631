//! A shard that shall become empty.

use super::*;

fn leave(script: &mut Script, peer: &Peer) {
    script.ask(
        peer,
        signal_request::Message::Leave(lk::LeaveRequest::default()),
    );
    script.outputs();
}

/// Due work is done, and no time passes.
fn settle(script: &mut Script) {
    script.pass(Duration::ZERO);
}

#[test]
fn a_room_that_nobody_keeps_ends_at_once_and_the_others_when_they_become_so() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("bo");
    join.room = room("retro");
    let bo = script.join(join);
    leave(&mut script, &bo);

    script.core.set_draining(true, script.now);
    script.expect(&["room retro closed"]);
    // Whoever comes to a live room is let in: the meeting goes on.
    let cy = script.join(request("cy"));
    leave(&mut script, &ada);
    settle(&mut script);
    script.expect(&[]);
    leave(&mut script, &cy);
    settle(&mut script);
    script.expect(&["room standup closed"]);
    assert_eq!(script.core.rooms(), []);
}

#[test]
fn a_drain_that_is_undone_leaves_rooms_their_time() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.core.set_draining(true, script.now);
    script.core.set_draining(false, script.now);
    leave(&mut script, &ada);
    script.pass(Duration::from_secs(19));
    script.expect(&[]);
    script.pass(Duration::from_secs(1));
    script.expect(&["room standup closed"]);
}

#[test]
fn a_recorder_does_not_hold_up_a_drain() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut recorder = request("egress");
    recorder.claims.video.recorder = true;
    script.join(recorder);
    leave(&mut script, &ada);
    script.core.set_draining(true, script.now);
    script.expect(&[
        "egress < leave DISCONNECT ROOM_CLOSED",
        "egress x room closed",
        "n1 < remove egress",
        "room standup closed",
    ]);
}
