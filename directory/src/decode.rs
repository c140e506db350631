//! The scripts' answers as replies. An answer of another shape is an error, never a guess.

mod fields;

use affinity::directory::{
    Binding, DirectoryIncarnation, DirectoryLimits, Drain, Epoch, Incarnation, LEASE_MS, LeaseView,
    Life, OPTIONS_BYTES_MAX, Reply, Request, Roster, View,
};
use affinity::{Shard, ShardId, ShardState};
use fields::{Fields, pairs};
use redis::Value;
use thiserror::Error;

/// The answer has not the form that the script gives it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an answer that no script of this version gives: does another version share the prefix?")]
pub(crate) struct Malformed;

/// What the texts of a refusal speak of.
pub(crate) struct Subject {
    shard: Option<ShardId>,
    limits: DirectoryLimits,
}

impl Subject {
    pub(crate) fn of(request: &Request, limits: DirectoryLimits) -> Self {
        let shard = match request {
            Request::Renew { holder, .. } => Some(holder.shard.clone()),
            Request::SetDrain { shard, .. } => Some(shard.clone()),
            _ => None,
        };
        Self { shard, limits }
    }
}

pub(crate) fn reply(answer: Value, subject: &Subject) -> Result<Reply, Malformed> {
    let mut fields = Fields::of(answer)?;
    let reply = match fields.text()?.as_str() {
        "leased" => leased(&mut fields)?,
        "granted" => Reply::Granted {
            epoch: epoch(&mut fields)?,
            options: fields.optional_text()?,
        },
        "mine" => Reply::Mine {
            epoch: epoch(&mut fields)?,
            from: match fields.text()?.as_str() {
                "-" => None,
                from => Some(Epoch(number(from)?)),
            },
            options: fields.optional_text()?,
        },
        "owned" => Reply::Owned {
            shard: fields.text()?.into(),
            epoch: epoch(&mut fields)?,
        },
        "held" => Reply::Held {
            shard: fields.text()?.into(),
        },
        "grace" => Reply::Grace,
        "draining" => Reply::Draining,
        "no_lease" => Reply::NoLease,
        "stale" => Reply::StaleDirectory {
            current: directory(&mut fields)?,
        },
        "reasserted" => Reply::Reasserted,
        "released" => Reply::Released,
        "transferred" => Reply::Transferred {
            epoch: epoch(&mut fields)?,
        },
        "bindings" => bindings(&mut fields)?,
        "announced" => Reply::Announced {
            directory: directory(&mut fields)?,
            generation: fields.number()?,
        },
        "view" => Reply::View(view(&mut fields)?),
        "done" => Reply::Done,
        "refused" => Reply::Refused {
            reason: reason(&mut fields, subject)?,
        },
        _ => return Err(Malformed),
    };
    Ok(reply)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed)
}

fn epoch(fields: &mut Fields) -> Result<Epoch, Malformed> {
    Ok(Epoch(fields.number()?))
}

fn directory(fields: &mut Fields) -> Result<DirectoryIncarnation, Malformed> {
    Ok(DirectoryIncarnation(fields.number()?))
}

fn leased(fields: &mut Fields) -> Result<Reply, Malformed> {
    Ok(Reply::Leased {
        directory: directory(fields)?,
        ttl_ms: LEASE_MS,
        hold_ms: fields.number()?,
        shards: fields.number()?,
        generation: fields.number()?,
        epoch: epoch(fields)?,
        grace: fields.flag()?,
        drain: fields.optional_text()?.as_deref().map(drain).transpose()?,
        roster: match fields.is_empty() {
            true => None,
            false => Some(roster(fields)?),
        },
    })
}

fn drain(text: &str) -> Result<Drain, Malformed> {
    let deadline_unix_ms = match text {
        "-" => None,
        deadline => Some(number(deadline)?),
    };
    Ok(Drain { deadline_unix_ms })
}

fn roster(fields: &mut Fields) -> Result<Roster, Malformed> {
    let version = fields.number()?;
    let mut lives = Vec::new();
    for entry in fields.list()? {
        let mut entry = Fields::of(entry)?;
        lives.push(Life {
            shard: entry.text()?.into(),
            incarnation: Incarnation(entry.number()?),
            url: entry.text()?,
            weight: entry.number()?,
            accepts: entry.flag()?,
        });
    }
    lives.sort_by(|one, two| one.shard.cmp(&two.shard));
    Ok(Roster { version, lives })
}

fn bindings(fields: &mut Fields) -> Result<Reply, Malformed> {
    let owner = |entry: Value| -> Result<Option<Binding>, Malformed> {
        if entry == Value::Nil {
            return Ok(None);
        }
        let mut entry = Fields::of(entry)?;
        Ok(Some(Binding {
            shard: entry.text()?.into(),
            incarnation: Incarnation(entry.number()?),
            epoch: Epoch(entry.number()?),
        }))
    };
    let owners = fields.list()?.into_iter().map(owner);
    Ok(Reply::Bindings(owners.collect::<Result<_, _>>()?))
}

fn view(fields: &mut Fields) -> Result<View, Malformed> {
    let directory = directory(fields)?;
    let grace = fields.flag()?;
    let hold = fields.number::<u64>()? > 0;
    let generation = fields.number()?;
    let mut topology: Vec<Shard> = pairs(fields.list()?)?
        .map(|(id, text)| shard(id, &text))
        .collect::<Result<_, _>>()?;
    topology.sort_by(|one, two| one.id.cmp(&two.id));
    let mut drains: Vec<(ShardId, Drain)> = pairs(fields.list()?)?
        .map(|(shard, text)| Ok((shard.into(), drain(&text)?)))
        .collect::<Result<_, _>>()?;
    drains.sort_by(|one, two| one.0.cmp(&two.0));
    let mut leases: Vec<LeaseView> = pairs(fields.list()?)?
        .map(|(shard, text)| lease(shard, &text))
        .collect::<Result<_, _>>()?;
    leases.sort_by(|one, two| one.shard.cmp(&two.shard));
    let mut orphaned = Vec::new();
    for entry in fields.list()? {
        let text = fields::text(entry)?;
        let (incarnation, shard) = text.split_once(' ').ok_or(Malformed)?;
        orphaned.push((ShardId::from(shard), Incarnation(number(incarnation)?)));
    }
    orphaned.sort();
    Ok(View {
        directory,
        grace,
        hold,
        generation,
        topology,
        drains,
        leases,
        orphaned,
    })
}

/// `a|d weight url`
fn shard(id: String, text: &str) -> Result<Shard, Malformed> {
    let mut parts = text.splitn(3, ' ');
    let mut next = || parts.next().ok_or(Malformed);
    let state = match next()? {
        "a" => ShardState::Active,
        "d" => ShardState::Draining,
        _ => return Err(Malformed),
    };
    Ok(Shard {
        id: id.into(),
        state,
        weight: number(next()?)?,
        url: next()?.to_owned(),
    })
}

/// `incarnation seq born knows leaving rooms`
fn lease(shard: String, text: &str) -> Result<LeaseView, Malformed> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [incarnation, seq, _born, _knows, leaving, rooms] = parts.as_slice() else {
        return Err(Malformed);
    };
    Ok(LeaseView {
        shard: shard.into(),
        incarnation: Incarnation(number(incarnation)?),
        seq: number(seq)?,
        leaving: *leaving == "1",
        rooms: number(rooms)?,
    })
}

/// The words of the pure directory, which the common suite compares.
fn reason(fields: &mut Fields, subject: &Subject) -> Result<String, Malformed> {
    let shard = subject.shard.as_ref().map_or("", ShardId::as_str);
    Ok(match fields.text()?.as_str() {
        "other_life" => format!(
            "another process holds the lease of shard `{shard}`: wait {} s if it was restarted, \
             else give each process its own shard.id",
            LEASE_MS.div_ceil(1_000)
        ),
        "shards" => format!(
            "{} shards have a lease, the limit: run fewer shards or raise it",
            fields.text()?
        ),
        "full" => format!(
            "the directory is full ({} rooms): raise the limit or spread over deployments",
            subject.limits.bindings_max
        ),
        "epochs" => "epochs are used up: restart the directory".to_owned(),
        "options" => format!(
            "the room's options have {} bytes: shorten them to {OPTIONS_BYTES_MAX}",
            fields.text()?
        ),
        "no_shard" => format!("there is no shard `{shard}`: `anteroom shards ls` lists them"),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::of(&Request::Watch, DirectoryLimits::default())
    }

    fn answer(parts: &[&str]) -> Value {
        let part = |part: &&str| Value::BulkString(part.as_bytes().to_vec());
        Value::Array(parts.iter().map(part).collect())
    }

    #[test]
    fn a_number_beyond_what_lua_can_count_is_read() {
        let largest = u64::MAX.to_string();
        assert_eq!(
            reply(answer(&["stale", &largest]), &subject()),
            Ok(Reply::StaleDirectory {
                current: DirectoryIncarnation(u64::MAX)
            })
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_no_reply() {
        for wrong in [
            Value::Nil,
            Value::Okay,
            answer(&[]),
            answer(&["done?"]),
            answer(&["granted"]),
            answer(&["granted", "one"]),
            answer(&["granted", "-1"]),
            answer(&["owned", "s1"]),
            answer(&["view", "1", "0", "900", "1"]),
            answer(&["bindings", "none"]),
            answer(&["refused", "so"]),
        ] {
            assert_eq!(
                reply(wrong.clone(), &subject()),
                Err(Malformed),
                "{wrong:?}"
            );
        }
    }
}
