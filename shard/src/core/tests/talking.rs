//! Speakers and what participants say about themselves.

use super::*;
use proto::media::Speaker;
use signal_request::Message as Ask;

fn speakers(script: &Script, changes: &[(&Peer, f32, bool)]) -> NodeEvent {
    let speakers = changes.iter().map(|(peer, level, active)| Speaker {
        participant: peer.sid.clone(),
        level: *level,
        active: *active,
    });
    NodeEvent::Speakers {
        room: script.core.rooms()[0].sid.clone(),
        speakers: speakers.collect(),
    }
}

#[test]
fn changes_of_speakers_reach_everybody_without_hidden_ones() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("spy");
    join.claims.video.hidden = true;
    let spy = script.join(join);
    let event = speakers(&script, &[(&ada, 0.5, true), (&spy, 0.9, true)]);
    script.event(event);
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(lines, ["ada < speakers ada:0.5", "spy < speakers ada:0.5"]);
    let event = speakers(&script, &[(&spy, 0.9, false)]);
    script.event(event);
    script.expect(&[]);
}

#[test]
fn a_newcomer_hears_who_speaks_when_it_is_connected() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let event = speakers(&script, &[(&ada, 0.5, true), (&bo, 0.25, true)]);
    script.event(event);
    let event = speakers(&script, &[(&bo, 0.25, false)]);
    script.event(event);
    let lines = script.outputs();
    assert!(
        lines.contains(&"ada < speakers bo:0 silent".to_owned()),
        "{lines:?}"
    );

    let participant = script.join(request("cy")).sid;
    script.event(NodeEvent::Connected { participant });
    let lines = script.outputs();
    assert_eq!(lines.last().unwrap(), "cy < speakers ada:0.5");
}

fn rename(request_id: u32, name: &str) -> Ask {
    Ask::UpdateMetadata(lk::UpdateParticipantMetadata {
        name: name.into(),
        request_id,
        ..lk::UpdateParticipantMetadata::default()
    })
}

#[test]
fn a_participant_changes_its_name_if_the_token_allows_it() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("bo");
    join.claims.video.can_update_own_metadata = Some(true);
    let bo = script.join(join);
    script.ask(&bo, rename(4, "Bo the Great"));
    script.expect(&[
        "bo < update bo:joined[]",
        "ada < update bo:joined[]",
        "bo < response 4 OK",
    ]);
    script.ask(&bo, rename(5, &"x".repeat(257)));
    script.expect(&["bo < response 5 LIMIT_EXCEEDED"]);
    script.ask(&ada, rename(6, "Eve"));
    script.expect(&["ada < response 6 NOT_ALLOWED"]);
}

#[test]
fn a_client_too_old_for_it_is_not_told_that_a_request_was_met() {
    let mut script = Script::new();
    let mut join = request("bo");
    join.claims.video.can_update_own_metadata = Some(true);
    join.client.protocol = 14;
    let bo = script.join(join);
    script.ask(&bo, rename(4, "Bo"));
    script.expect(&["bo < update bo:joined[]"]);
}

#[test]
fn a_fresh_token_says_what_the_participant_says_now() {
    let mut script = Script::new();
    let mut join = request("bo");
    join.claims.video.can_update_own_metadata = Some(true);
    let bo = script.join(join);
    let participant = bo.sid.clone();
    script.event(NodeEvent::Connected { participant });
    script.ask(&bo, rename(4, "Bo"));
    script.outputs();
    script.pass(Duration::from_secs(300));
    let minted = std::iter::from_fn(|| script.next()).find_map(|output| match output {
        Output::MintRefreshToken { claims, .. } => Some(claims),
        _ => None,
    });
    let claims = minted.unwrap();
    assert_eq!((claims.sub.as_str(), claims.name.as_str()), ("bo", "Bo"));
    assert_eq!(
        (claims.iss.as_str(), claims.video.room.as_str()),
        ("devkey", "standup")
    );
}
