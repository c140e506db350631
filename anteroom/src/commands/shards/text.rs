//! Shards in words and columns, for people.

use super::client::ShardEntry;

/// All shards, a line each.
pub(super) fn table(shards: &[ShardEntry], now_ms: u64) -> String {
    let heads = ["SHARD", "STATE", "ROOMS", "WEIGHT", "LEASE", "URL"].map(str::to_owned);
    let mut rows = vec![heads];
    for shard in shards {
        let lease = if shard.lease.alive { "alive" } else { "none" };
        rows.push([
            shard.id.clone(),
            state(shard, now_ms),
            shard.rooms.to_string(),
            shard.weight.to_string(),
            lease.to_owned(),
            shard.url.clone(),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn state(shard: &ShardEntry, now_ms: u64) -> String {
    let deadline = shard
        .drain
        .as_ref()
        .and_then(|drain| drain.deadline_unix_ms);
    match deadline.map(|deadline| deadline.saturating_sub(now_ms)) {
        Some(0) => format!("{} (deadline is over)", shard.state),
        Some(left) => format!("{} ({} left)", shard.state, duration(left)),
        None => shard.state.clone(),
    }
}

/// What an order to empty the shard will do.
pub(super) fn outlook(shard: &ShardEntry, now_ms: u64) -> String {
    let id = &shard.id;
    let deadline = shard
        .drain
        .as_ref()
        .and_then(|drain| drain.deadline_unix_ms);
    let by = match deadline.map(|deadline| deadline.saturating_sub(now_ms)) {
        Some(0) => "now".to_owned(),
        Some(left) => format!("in {} at the latest", duration(left)),
        None => "when its own `drain_deadline_s` is over".to_owned(),
    };
    let rooms = match shard.rooms {
        0 => "It has no live rooms.".to_owned(),
        1 => format!("Its live room goes on there until it ends, and moves to another shard {by}."),
        rooms => format!(
            "Its {rooms} live rooms go on there until they end, and move to other shards {by}."
        ),
    };
    format!(
        "{id} takes no new rooms from now on. {rooms}\n`anteroom shards undrain {id}` takes it back.\n"
    )
}

/// Whole minutes above two of them, else seconds.
fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    if seconds >= 120 {
        format!("{} min", seconds.div_ceil(60))
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shard(state: &str, rooms: u32, deadline: Option<u64>) -> ShardEntry {
        let drain = deadline.map(|at| json!({"deadline_unix_ms": at}));
        serde_json::from_value(json!({
            "id": "s1", "url": "http://h:1", "weight": 2, "state": state, "rooms": rooms,
            "lease": {"alive": true, "remaining_ms": 3}, "drain": drain,
        }))
        .expect("a shard")
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let shards = [
            shard("active", 12, None),
            shard("draining", 0, Some(61_000)),
        ];
        assert_eq!(
            table(&shards, 1_000),
            "SHARD  STATE                 ROOMS  WEIGHT  LEASE  URL\n\
             s1     active                12     2       alive  http://h:1\n\
             s1     draining (60 s left)  0      2       alive  http://h:1\n"
        );
    }

    #[test]
    fn an_order_says_what_it_will_do() {
        let now = 1_000;
        let text = outlook(&shard("draining", 3, Some(now + 600_000)), now);
        assert!(
            text.contains("3 live rooms") && text.contains("in 10 min at the latest"),
            "{text}"
        );
        let text = outlook(&shard("draining", 1, None), now);
        assert!(text.contains("drain_deadline_s"), "{text}");
        let text = outlook(&shard("draining", 0, Some(now)), now);
        assert!(
            text.contains("no live rooms") && text.contains("undrain s1"),
            "{text}"
        );
    }
}
