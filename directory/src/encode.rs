//! Requests as arguments of the scripts. Numbers are decimal text; what may be absent is empty.

use affinity::directory::{
    Drain, Epoch, Holder, Incarnation, LOOKUP_MAX, OPTIONS_BYTES_MAX, Renewal, Request,
};
use affinity::{Shard, ShardId, ShardState};
use std::collections::BTreeMap;

/// What a script does with a time limit it is not given.
const NO_DEADLINE: &str = "-";

/// The arguments of a request, in the order in which its script takes them.
pub(crate) fn arguments(request: Request) -> Vec<String> {
    match request {
        Request::Renew { holder, renewal } => renew(&holder, &renewal),
        Request::Claim {
            holder,
            room,
            knows,
        } => {
            let mut all = with_room(&holder, room.as_str());
            all.push(knows.to_string());
            all
        }
        Request::Reassert {
            holder,
            room,
            epoch,
        }
        | Request::Release {
            holder,
            room,
            epoch,
        } => with_claim(&holder, room.as_str(), epoch),
        Request::Transfer {
            holder,
            room,
            epoch,
            to,
            to_incarnation,
        } => {
            let mut all = with_claim(&holder, room.as_str(), epoch);
            all.extend([to.to_string(), life(to_incarnation)]);
            all
        }
        Request::PutOptions {
            holder,
            room,
            epoch,
            options,
        } => {
            let mut all = with_claim(&holder, room.as_str(), epoch);
            all.extend([options, OPTIONS_BYTES_MAX.to_string()]);
            all
        }
        Request::Resign { holder } => by(&holder),
        Request::Lookup { rooms } => {
            let known = rooms.iter().take(LOOKUP_MAX);
            known.map(|room| room.as_str().to_owned()).collect()
        }
        Request::Announce { topology, .. } => announce(topology),
        Request::Watch => Vec::new(),
        Request::Lapse {
            directory,
            shard,
            incarnation,
            seq,
        } => vec![
            directory.0.to_string(),
            shard.to_string(),
            life(incarnation),
            seq.to_string(),
        ],
        Request::EndGrace { directory } => vec![directory.0.to_string()],
        Request::Forget {
            directory,
            shard,
            incarnation,
        } => vec![
            directory.0.to_string(),
            shard.to_string(),
            life(incarnation),
        ],
        Request::SetDrain { shard, drain } => {
            vec![
                shard.to_string(),
                drain.as_ref().map(deadline).unwrap_or_default(),
            ]
        }
    }
}

fn life(incarnation: Incarnation) -> String {
    incarnation.0.to_string()
}

fn by(holder: &Holder) -> Vec<String> {
    let directory = holder.directory.map(|directory| directory.0.to_string());
    vec![
        holder.shard.to_string(),
        life(holder.incarnation),
        directory.unwrap_or_default(),
    ]
}

fn with_room(holder: &Holder, room: &str) -> Vec<String> {
    let mut all = by(holder);
    all.push(room.to_owned());
    all
}

fn with_claim(holder: &Holder, room: &str, epoch: Epoch) -> Vec<String> {
    let mut all = with_room(holder, room);
    all.push(epoch.0.to_string());
    all
}

fn renew(holder: &Holder, renewal: &Renewal) -> Vec<String> {
    let mut all = by(holder);
    all.extend([
        renewal.seq.to_string(),
        renewal.knows.to_string(),
        renewal.epoch.0.to_string(),
        u8::from(renewal.leaving).to_string(),
        renewal.rooms.to_string(),
        renewal.replaces.map(life).unwrap_or_default(),
    ]);
    all
}

fn deadline(drain: &Drain) -> String {
    let at = drain.deadline_unix_ms.map(|at| at.to_string());
    at.unwrap_or_else(|| NO_DEADLINE.to_owned())
}

/// Of two shards with one name the last counts.
fn announce(topology: Vec<Shard>) -> Vec<String> {
    let by_id: BTreeMap<ShardId, Shard> = topology
        .into_iter()
        .map(|shard| (shard.id.clone(), shard))
        .collect();
    by_id
        .into_values()
        .flat_map(|shard| {
            let state = match shard.state {
                ShardState::Active => 'a',
                ShardState::Draining => 'd',
            };
            let text = format!("{state} {} {}", shard.weight, shard.url);
            [shard.id.to_string(), text]
        })
        .collect()
}
