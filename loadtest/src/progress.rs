//! One line that says how a run goes: a bar on a terminal, a plain line every 5 seconds elsewhere.
//!
//! Owns: the line's words and how often it is said. Must not: choose where it goes; who calls hands
//! in a writer or a draw target.

use crate::numbers::{as_f64, ratio};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time from plain line to plain line.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What workers count while a run goes on. Each is only ever added to, but for `connected`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Participants that have joined.
    pub joined: AtomicU64,
    /// Participants that are connected now.
    pub connected: AtomicU64,
    /// Joins that failed.
    pub join_failures: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// Bytes received.
    pub bytes_received: AtomicU64,
    /// Packets received.
    pub packets_received: AtomicU64,
    /// Packets missing; those that come late are taken off by nobody, so this is an upper bound.
    pub packets_missing: AtomicU64,
    /// Errors of any kind.
    pub errors: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    at: Duration,
    bytes_sent: u64,
    bytes_received: u64,
    packets_received: u64,
    packets_missing: u64,
}

enum Output {
    Bar(ProgressBar),
    Plain {
        writer: Box<dyn Write + Send>,
        next: Duration,
    },
}

/// The line of one run.
pub struct Progress {
    output: Output,
    planned: u64,
    duration: Duration,
    last: Seen,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("planned", &self.planned)
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// A bar on standard error, a terminal, for a run of so many joins and so long.
    #[must_use]
    pub fn bar(planned: u64, duration: Duration) -> Self {
        Self::bar_on(ProgressDrawTarget::stderr(), planned, duration)
    }

    fn bar_on(target: ProgressDrawTarget, planned: u64, duration: Duration) -> Self {
        let seconds = duration.as_secs();
        let bar = ProgressBar::with_draw_target(Some(seconds), target);
        let template = "{spinner:.cyan} {pos:>3}/{len} s {bar:24.cyan/dim} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self::new(Output::Bar(bar), planned, duration)
    }

    /// A plain line every 5 seconds.
    #[must_use]
    pub fn plain(writer: Box<dyn Write + Send>, planned: u64, duration: Duration) -> Self {
        let next = Duration::ZERO;
        Self::new(Output::Plain { writer, next }, planned, duration)
    }

    fn new(output: Output, planned: u64, duration: Duration) -> Self {
        Self {
            output,
            planned,
            duration,
            last: Seen::default(),
        }
    }

    /// Tells how it goes; `step` is what is done now ("joining", "measuring", "leaving"), `now` the
    /// time since the start of the run. Call it a few times a second.
    pub fn handle_counters(
        &mut self,
        step: &str,
        counters: &Counters,
        now: Duration,
    ) -> io::Result<()> {
        if let Output::Plain { next, .. } = &mut self.output {
            if now < *next {
                return Ok(());
            }
            *next = now + PLAIN_EVERY;
        }
        let line = self.line(step, counters, now);
        let (seconds, of) = (now.as_secs(), self.duration.as_secs());
        match &mut self.output {
            Output::Bar(bar) => {
                bar.set_position(seconds.min(of));
                bar.set_message(line);
                Ok(())
            }
            Output::Plain { writer, .. } => {
                writeln!(writer, "{seconds:>4}/{of} s  {line}")?;
                writer.flush()
            }
        }
    }

    /// Says something that stays, above the bar.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        match &mut self.output {
            Output::Bar(bar) => {
                bar.println(text);
                Ok(())
            }
            Output::Plain { writer, .. } => writeln!(writer, "{text}"),
        }
    }

    /// The run is over: the bar goes away.
    pub fn finish(&mut self) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }

    /// Rates are those since the last line.
    fn line(&mut self, step: &str, counters: &Counters, now: Duration) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seen = Seen {
            at: now,
            bytes_sent: get(&counters.bytes_sent),
            bytes_received: get(&counters.bytes_received),
            packets_received: get(&counters.packets_received),
            packets_missing: get(&counters.packets_missing),
        };
        let last = std::mem::replace(&mut self.last, seen);
        let span = seen.at.saturating_sub(last.at);
        let missing = seen.packets_missing.saturating_sub(last.packets_missing);
        let received = seen.packets_received.saturating_sub(last.packets_received);
        let mut line = format!(
            "{step}: {}/{} joined, {} connected, up {}, down {}, loss {:.2} %",
            get(&counters.joined),
            self.planned,
            get(&counters.connected),
            bits(seen.bytes_sent.saturating_sub(last.bytes_sent), span),
            bits(
                seen.bytes_received.saturating_sub(last.bytes_received),
                span
            ),
            ratio(missing, received + missing) * 100.0,
        );
        let failures = get(&counters.join_failures);
        if failures > 0 {
            line.push_str(&format!(", joins failed: {failures}"));
        }
        match get(&counters.errors) {
            0 => {}
            1 => line.push_str(", 1 error"),
            errors => line.push_str(&format!(", {errors} errors")),
        }
        line
    }
}

fn bits(bytes: u64, span: Duration) -> String {
    if span.is_zero() {
        return "0 Mbit/s".to_owned();
    }
    let rate = as_f64(bytes) * 8.0 / span.as_secs_f64();
    if rate >= 1e9 {
        format!("{:.2} Gbit/s", rate / 1e9)
    } else {
        format!("{:.1} Mbit/s", rate / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_plain_line_comes_every_five_seconds_with_rates_since_the_last() {
        let paper = Paper::default();
        let minute = Duration::from_secs(60);
        let mut progress = Progress::plain(Box::new(paper.clone()), 80, minute);
        let counters = Counters::default();
        counters.joined.store(3, Ordering::Relaxed);
        counters.connected.store(2, Ordering::Relaxed);
        for quarter in 0..=24 {
            counters.bytes_sent.fetch_add(250_000, Ordering::Relaxed);
            counters.packets_received.fetch_add(99, Ordering::Relaxed);
            counters.packets_missing.fetch_add(1, Ordering::Relaxed);
            if quarter == 10 {
                counters.errors.store(1, Ordering::Relaxed);
                counters.join_failures.store(1, Ordering::Relaxed);
            }
            let now = Duration::from_millis(250) * quarter;
            progress.handle_counters("joining", &counters, now).unwrap();
        }
        progress.note("writing the report").unwrap();
        progress.finish();
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let expected = "   0/60 s  joining: 3/80 joined, 2 connected, up 0 Mbit/s, down 0 Mbit/s, \
                        loss 1.00 %\n   5/60 s  joining: 3/80 joined, 2 connected, up 8.0 Mbit/s, \
                        down 0.0 Mbit/s, loss 1.00 %, joins failed: 1, 1 error\nwriting the report\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_bar_takes_the_same_words() {
        let target = ProgressDrawTarget::hidden();
        let mut progress = Progress::bar_on(target, 4, Duration::from_secs(10));
        let counters = Counters::default();
        progress
            .handle_counters("leaving", &counters, Duration::from_secs(12))
            .unwrap();
        let Output::Bar(bar) = &progress.output else {
            panic!("no bar");
        };
        assert_eq!(bar.position(), 10);
        assert!(
            bar.message().starts_with("leaving: 0/4 joined"),
            "{}",
            bar.message()
        );
        progress.finish();
    }
}
