//! Faults that a client asks for.

use super::*;
use lk::simulate_scenario::Scenario;
use signal_request::Message as Ask;

fn simulate(script: &mut Script, peer: &Peer, scenario: Scenario) {
    let scenario = Some(scenario);
    script.ask(peer, Ask::Simulate(lk::SimulateScenario { scenario }));
}

fn resume(script: &mut Script, peer: &Peer, identity: &str) -> Peer {
    let resume = Resume {
        participant: peer.sid.clone(),
        reason: 1,
        sync_state: None,
    };
    let session = script.attempt(Join {
        resume: Some(resume),
        ..request(identity)
    });
    Peer {
        session,
        sid: peer.sid.clone(),
    }
}

fn prepared(script: &mut Script, peer: &Peer) {
    script.event(NodeEvent::ResumeReady {
        participant: peer.sid.clone(),
        last_data_sequence: 0,
    });
}

const RESUMED: [&str; 4] = [
    "ada < reconnect 0",
    "ada < update ada:active[] bo:active[]",
    "ada < speakers bo:0 silent ada:0 silent",
    "ada < room 2/0",
];

#[test]
fn a_client_can_try_on_itself_how_it_takes_a_leave() {
    for (scenario, action) in [
        (Scenario::ServerLeave(true), "DISCONNECT"),
        (Scenario::LeaveRequestFullReconnect(true), "RECONNECT"),
    ] {
        let (mut script, [ada]) = Script::meeting(["ada"]);
        simulate(&mut script, &ada, scenario);
        script.expect(&[
            &format!("ada < leave {action} SERVER_SHUTDOWN"),
            "ada x server is shutting down",
            "n1 < remove ada",
        ]);
    }
}

#[test]
fn a_lost_node_says_no_farewell() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    simulate(&mut script, &ada, Scenario::NodeFailure(true));
    script.expect(&["ada x server is shutting down", "n1 < remove ada"]);
}

#[test]
fn a_migration_breaks_the_connection_and_nobody_else_notices() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    simulate(&mut script, &ada, Scenario::Migration(true));
    script.expect(&["ada x simulated fault"]);
    let ada = resume(&mut script, &ada, "ada");
    script.expect(&["n1 < prepare ada"]);
    prepared(&mut script, &ada);
    script.expect(&RESUMED);
}

#[test]
fn the_next_resume_is_interrupted_once_before_or_after_the_client_hears_of_it() {
    for (scenario, heard) in [
        (Scenario::DisconnectSignalOnResume(true), true),
        (Scenario::DisconnectSignalOnResumeNoMessages(true), false),
    ] {
        let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
        simulate(&mut script, &ada, scenario);
        script.expect(&[]);
        script.core.handle_session_closed(ada.session, script.now);
        let ada = resume(&mut script, &ada, "ada");
        if heard {
            script.expect(&["n1 < prepare ada"]);
            prepared(&mut script, &ada);
            script.expect(&[&RESUMED[..], &["ada x simulated fault"]].concat());
        } else {
            script.expect(&["ada x simulated fault"]);
        }
        let ada = resume(&mut script, &ada, "ada");
        script.expect(&["n1 < prepare ada"]);
        prepared(&mut script, &ada);
        script.expect(&RESUMED);
        script.event(NodeEvent::Connected {
            participant: ada.sid.clone(),
        });
        script.pass(Duration::from_secs(60));
        assert_eq!(script.core.rooms()[0].participants, 2);
    }
}

#[test]
fn a_simulated_speech_is_heard_and_ends() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    simulate(&mut script, &ada, Scenario::SpeakerUpdate(3));
    script.expect(&["bo < speakers ada:0.9", "ada < speakers ada:0.9"]);
    script.pass(Duration::from_millis(2_900));
    script.expect(&[]);
    script.pass(Duration::from_millis(200));
    script.expect(&["bo < speakers ada:0 silent", "ada < speakers ada:0 silent"]);
    for seconds in [0, -1, 61] {
        simulate(&mut script, &ada, Scenario::SpeakerUpdate(seconds));
    }
    script.expect(&[]);
}
