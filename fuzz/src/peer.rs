//! What another shard hands over: taken whole or not at all, and harmless to those who are there.

use crate::signal::join;
use affinity::directory::Epoch;
use affinity::{RoomCase, RoomKey};
use proto::id::NodeId;
use proto::media::{NodeEvent, PeerMode};
use shard::core::{Core, CoreConfig, Output, RoomState, SessionId};
use shard::fuzzing::{self, PeerMessage};
use std::time::{Duration, Instant};

const BO: SessionId = SessionId(2);

/// A body of `/internal/peer`.
pub fn peer_message(data: &[u8]) {
    match fuzzing::peer_message(data) {
        Ok(PeerMessage::Room(state)) => room(*state),
        Ok(PeerMessage::Late(late)) => {
            let (mut core, now) = shard();
            core.handle_late(&elsewhere(), late, now);
            go_on(core, now);
        }
        Ok(PeerMessage::Other) | Err(_) => {}
    }
}

/// A room arrives at a shard on which Bo is in a room of his own, and leaves it again.
fn room(state: RoomState) {
    let (mut core, now) = shard();
    let (key, participants) = (state.room().clone(), state.participants());
    let expected = core.check_import(&state);
    let taken = core.import_room(state, Epoch(9), now);
    assert_eq!(expected.is_ok(), taken.is_ok(), "{expected:?}, {taken:?}");
    drain(&mut core);
    let rooms = core.rooms();
    match rooms
        .iter()
        .find(|room| room.room == key && room.epoch == Epoch(9))
    {
        Some(room) => assert_eq!(room.participants, participants),
        None => assert!(taken.is_err(), "taken, and not there"),
    }
    if taken.is_ok() {
        written_again(&mut core, &key, now);
    }
    go_on(core, now);
}

/// What was taken can be handed on, and is read as it was written.
fn written_again(core: &mut Core, key: &RoomKey, now: Instant) {
    if core.begin_move(key, now).is_err() {
        return;
    }
    let rooms = core.rooms();
    let Some(room) = rooms.iter().find(|room| room.room == *key) else {
        return;
    };
    let exported = NodeEvent::Exported {
        room: room.sid.clone(),
        worker: 0,
        media: Vec::new(),
        data: Vec::new(),
    };
    core.handle_node_event(&room.node.clone(), exported, now);
    for output in drain(core) {
        if let Output::RoomExported { state, .. } = output {
            let json = state.to_json().expect("small");
            assert_eq!(RoomState::from_json(&json).as_ref(), Ok(&*state));
        }
    }
    core.cancel_move(key, now);
}

fn shard() -> (Core, Instant) {
    let now = Instant::now();
    let config = CoreConfig {
        seed: 7,
        unix_ms: 1_000_000,
        ..CoreConfig::default()
    };
    let mut core = Core::new(config, now);
    core.handle_node_attached(NodeId::new("n1"), 1, None, now);
    let mut bo = join(BO, "bo", PeerMode::Single);
    bo.room = elsewhere();
    bo.claims.video.room = "elsewhere".to_owned();
    core.handle_join(bo, now);
    drain(&mut core);
    (core, now)
}

fn elsewhere() -> RoomKey {
    RoomKey::from_claim("elsewhere", RoomCase::Sensitive).expect("a room")
}

/// Half a minute passes, and Bo is still there.
fn go_on(mut core: Core, mut now: Instant) {
    for _ in 0..7 {
        now += Duration::from_secs(5);
        core.handle_timeout(now);
        for output in drain(&mut core) {
            let ends = matches!(output, Output::Close { session, .. } if session == BO);
            assert!(!ends, "Bo was put out");
        }
    }
    let rooms = core.rooms();
    assert!(rooms.iter().any(|room| room.room == elsewhere()));
}

fn drain(core: &mut Core) -> Vec<Output> {
    std::iter::from_fn(|| core.poll_output()).collect()
}
