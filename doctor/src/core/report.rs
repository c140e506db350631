//! The steps of a run, what became of each, and the sum of it all.
//!
//! Owns: which failure is the one to tell. Must not: know how a step is made.

use super::verdict::overall;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// A link of the chain from a person to a call, in the order in which they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// The name's addresses.
    Name,
    /// A TCP connection.
    Tcp,
    /// TLS on it.
    Tls,
    /// An answer of the gateway and of the room's shard.
    Http,
    /// A WebSocket, through whatever is in between.
    #[serde(rename = "websocket")]
    WebSocket,
    /// The shard takes the token.
    Token,
    /// The room lets somebody in.
    Join,
    /// The node is reached by UDP.
    Udp,
    /// The node is reached by ICE over TCP.
    IceTcp,
    /// The node is reached through TURN by UDP.
    TurnUdp,
    /// The node is reached through TURN by TCP.
    TurnTcp,
    /// The node is reached through TURN by TLS.
    TurnTls,
    /// Keys for media.
    Dtls,
    /// Data channels (SCTP).
    Data,
    /// Sound from one participant to another.
    Media,
}

impl Hop {
    /// All, in order.
    pub const ALL: [Self; 15] = [
        Self::Name,
        Self::Tcp,
        Self::Tls,
        Self::Http,
        Self::WebSocket,
        Self::Token,
        Self::Join,
        Self::Udp,
        Self::IceTcp,
        Self::TurnUdp,
        Self::TurnTcp,
        Self::TurnTls,
        Self::Dtls,
        Self::Data,
        Self::Media,
    ];

    /// One of several ways of media: one that works is enough.
    pub fn is_way(self) -> bool {
        (Self::Udp..=Self::TurnTls).contains(&self)
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::WebSocket => "WebSocket",
            Self::Token => "token",
            Self::Join => "join",
            Self::Udp => "UDP",
            Self::IceTcp => "ICE-TCP",
            Self::TurnUdp => "TURN/UDP",
            Self::TurnTcp => "TURN/TCP",
            Self::TurnTls => "TURN/TLS",
            Self::Dtls => "DTLS",
            Self::Data => "data",
            Self::Media => "media",
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried.
    Skipped,
}

/// What was found out, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) status: Status,
    /// What is there, or why it is not.
    pub(crate) says: String,
    /// What to do about it; empty: nothing.
    pub(crate) fix: String,
    /// What works and should be looked at all the same.
    pub(crate) warnings: Vec<String>,
}

impl Finding {
    pub(crate) fn ok(says: impl Into<String>) -> Self {
        Self::new(Status::Ok, says, "")
    }

    pub(crate) fn failed(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Status::Failed, cause, fix)
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Status::Skipped, why, "")
    }

    pub(crate) fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    fn new(status: Status, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status,
            says: says.into(),
            fix: fix.into(),
            warnings: Vec::new(),
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Which link of the chain.
    pub hop: Hop,
    /// What became of it.
    pub status: Status,
    /// How long it took; `None`: it was not tried.
    pub ms: Option<f64>,
    /// What is there, or why it is not.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// What works and should be looked at all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Step {
    pub(crate) fn new(hop: Hop, finding: Finding, took: Duration) -> Self {
        let tried = finding.status != Status::Skipped;
        Self {
            hop,
            status: finding.status,
            ms: tried.then(|| (took.as_secs_f64() * 10_000.0).round() / 10.0),
            says: finding.says,
            fix: finding.fix,
            warnings: finding.warnings,
        }
    }

    /// A line, and one more for what to do.
    pub fn to_text(&self) -> String {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Failed => "FAILED",
            Status::Skipped => "skipped",
        };
        let took = self.ms.map_or_else(String::new, |ms| format!("{ms:.0} ms"));
        let title = self.hop.title();
        let mut text = format!("{status:8} {title:10} {took:>8}  {}", self.says);
        if !self.fix.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{:30}{}", "", self.fix);
        }
        text
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub url: String,
    /// The room that was joined.
    pub room: String,
    /// All is well, warnings aside.
    pub ok: bool,
    /// The first link that is broken.
    pub broken_at: Option<Hop>,
    /// One line.
    pub summary: String,
    /// What works and should be looked at all the same.
    pub warnings: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
}

impl Report {
    /// Draws the sum of all steps.
    pub fn new(url: impl Into<String>, room: impl Into<String>, steps: Vec<Step>) -> Self {
        let warnings = overall::warnings(&steps);
        let broken = overall::broken(&steps);
        let summary = match (&broken, warnings.len()) {
            (Some((_, text)), _) => format!("broken at: {text}"),
            (None, 0) => "ok".to_owned(),
            (None, 1) => "ok, with a warning".to_owned(),
            (None, count) => format!("ok, with {count} warnings"),
        };
        Self {
            url: url.into(),
            room: room.into(),
            ok: broken.is_none(),
            broken_at: broken.map(|(hop, _)| hop),
            summary,
            warnings,
            steps,
        }
    }

    /// Warnings and the summary; the steps have been told one by one.
    pub fn ending(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text.push_str(&self.summary);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(finding: Finding) -> Step {
        Step::new(Hop::Udp, finding, Duration::from_micros(12_345))
    }

    #[test]
    fn a_step_is_a_line_and_its_cure_another() {
        let text = step(Finding::ok("192.0.2.1:7882")).to_text();
        assert_eq!(text, "ok       UDP           12 ms  192.0.2.1:7882");
        let text = step(Finding::failed("no answer", "open UDP port 7882")).to_text();
        let second = format!("\n{}open UDP port 7882", " ".repeat(30));
        assert!(
            text.starts_with("FAILED   UDP") && text.ends_with(&second),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_tried_took_no_time() {
        let skipped = step(Finding::skipped("no TURN"));
        assert_eq!((skipped.ms, step(Finding::ok("")).ms), (None, Some(12.3)));
        let json = serde_json::to_value(&skipped).unwrap();
        assert_eq!(json["hop"], "udp");
        assert_eq!(json["status"], "skipped");
        assert!(json.get("fix").is_none() && json.get("warnings").is_none());
        let names = [(Hop::WebSocket, "websocket"), (Hop::IceTcp, "ice-tcp")];
        for (hop, name) in names {
            assert_eq!(serde_json::to_value(hop).unwrap(), name);
        }
    }

    #[test]
    fn the_summary_counts_warnings() {
        let fine = step(Finding::ok("here"));
        assert_eq!(Report::new("u", "r", vec![fine.clone()]).summary, "ok");
        let warned = step(Finding::ok("here").warn("a").warn("b"));
        let report = Report::new("u", "r", vec![fine, warned]);
        assert_eq!(report.summary, "ok, with 2 warnings");
        assert_eq!(
            report.ending(),
            "warning: a\nwarning: b\nok, with 2 warnings"
        );
        assert!(report.ok && report.broken_at.is_none());
    }
}
