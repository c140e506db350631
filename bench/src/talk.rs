//! The conversation with whoever runs a load: a line of JSON out, a line in.

use anyhow::Context as _;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write as _};
use std::time::Instant;

/// Clock ticks a second in `/proc/PID/stat`: fixed by Linux' interface.
const TICKS: f64 = 100.0;

/// Says what has come, and waits for the word to go on. The end of the input is such a word.
pub(crate) fn cue(event: &str) -> anyhow::Result<()> {
    say(&json!({ "event": event }))?;
    wait()
}

/// Says what came out, and waits: connections must not be closed before the other side has read its
/// clocks.
pub(crate) fn result(mut result: Value) -> anyhow::Result<()> {
    result["event"] = json!("result");
    say(&result)?;
    wait()
}

/// Says something without waiting.
pub(crate) fn say(value: &Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}").context("write to standard output")?;
    out.flush().context("write to standard output")
}

/// Waits for a line.
pub(crate) fn wait() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("read standard input")?;
    Ok(())
}

/// How long something took, and what it cost this process.
pub(crate) struct Clock {
    begun: Instant,
    cpu_s: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu_s: own_cpu_s(),
        }
    }

    /// `seconds` and `own_cpu` (share of one processor) so far.
    pub(crate) fn stop(&self) -> (f64, f64) {
        let seconds = self.begun.elapsed().as_secs_f64();
        (seconds, (own_cpu_s() - self.cpu_s) / seconds.max(1e-9))
    }
}

/// CPU time of this process, seconds; 0 where there is no `/proc`.
fn own_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold blanks: the fields begin behind its closing bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}
