//! The ways of media to the node: UDP, ICE-TCP, TURN.

use super::reach::DialFailure;
use crate::core::report::{Finding, Hop};
use std::net::SocketAddr;
use std::time::Duration;

/// A connectivity check that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) rtt: Duration,
    /// From where the node sees us.
    pub(crate) seen: SocketAddr,
}

/// Why a way does not lead to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WayFailure {
    /// The server of the way could not be connected.
    Dial(DialFailure),
    /// TURN's name.
    Name(String),
    /// TURN's TLS.
    Tls(String),
    /// Nothing answers the check.
    Silent(Duration),
    /// The node does not take the check.
    Check(u16),
    /// TURN did not answer a request.
    TurnSilent(Duration),
    /// TURN refuses an address, or the way to the node.
    TurnRefused {
        /// What was asked for.
        what: &'static str,
        code: u16,
        reason: String,
    },
    /// The connection broke.
    Broken(String),
}

/// Whether the node is reached on this way; `subject` is its address, or TURN's URL, `port` that of
/// the socket to which packets are sent.
pub(crate) fn way(
    hop: Hop,
    subject: &str,
    port: u16,
    outcome: &Result<Checked, WayFailure>,
) -> Finding {
    match outcome {
        Ok(checked) => {
            let rtt = checked.rtt.as_secs_f64() * 1000.0;
            let seen = checked.seen;
            Finding::ok(format!("{subject}: round trip {rtt:.1} ms, seen as {seen}"))
        }
        Err(failure) => {
            let (cause, cure) = words(hop, port, failure);
            Finding::failed(format!("{subject}: {cause}"), cure)
        }
    }
}

fn words(hop: Hop, port: u16, failure: &WayFailure) -> (String, String) {
    match failure {
        WayFailure::Dial(failure) => (failure.cause(), dial_cure(hop, port, failure)),
        WayFailure::Name(cause) => (
            format!("the name cannot be resolved: {cause}"),
            "give `node.turn.domain` an A or AAAA record with the node's address".to_owned(),
        ),
        WayFailure::Tls(cause) => (
            format!("no TLS: {cause}"),
            "`node.turn.certificate` must be for `node.turn.domain`, in date, with its chain, and of \
             an authority that browsers trust"
                .to_owned(),
        ),
        WayFailure::Silent(after) => {
            (format!("no answer within {} s", after.as_secs_f32()), silent_cure(hop, port))
        }
        WayFailure::Check(code) => (
            format!("the node refuses the check with {code}"),
            "something in between answers in the node's place: look at NAT helpers".to_owned(),
        ),
        WayFailure::TurnSilent(after) => (
            format!("TURN does not answer within {} s", after.as_secs_f32()),
            open(hop, port, "TURN"),
        ),
        WayFailure::TurnRefused { what, code, reason } => {
            (format!("TURN refuses {what}: {code} {reason}"), turn_cure(*code))
        }
        WayFailure::Broken(cause) => (
            format!("the connection broke: {cause}"),
            open(hop, port, "the node"),
        ),
    }
}

fn dial_cure(hop: Hop, port: u16, failure: &DialFailure) -> String {
    let (setting, protocol) = setting(hop);
    match failure {
        DialFailure::Refused => format!(
            "nothing listens on {protocol} port {port}: check `{setting}`, and `node.advertise` and \
             port forwarding if there are any"
        ),
        DialFailure::Late(_) => open(hop, port, "the node"),
        DialFailure::Other(_) => format!(
            "the address cannot be reached from here: tell one that can, by `node.public_ip`, \
             `node.advertise` or `node.bind` ({protocol} port {port})"
        ),
    }
}

fn silent_cure(hop: Hop, port: u16) -> String {
    match hop {
        Hop::Udp | Hop::IceTcp => open(hop, port, "the node"),
        _ => "the relay is there and does not get to the node's media port: check that the node runs, \
              and that `node.turn` is of the same node"
            .to_owned(),
    }
}

fn open(hop: Hop, port: u16, whose: &str) -> String {
    let (setting, protocol) = setting(hop);
    format!(
        "let {protocol} port {port} in to {whose} (`{setting}`), out of this network too; behind NAT \
         forward it, and set `node.public_ip` or `node.advertise`"
    )
}

fn turn_cure(code: u16) -> String {
    match code {
        401 | 441 => "the shard's and the node's secret or clock differ: `cluster.secret`, or \
            `shard.turn.secret` and `node.turn.secret`; set clocks by NTP"
            .to_owned(),
        403 => "the relay does not let this address through: it passes the node's own media \
            addresses and `node.turn.allow_peers`"
            .to_owned(),
        486 | 508 => "the relay is full: raise `node.turn.allocations`, `allocations_per_ip` or \
            `allocations_per_user`"
            .to_owned(),
        440 | 443 => "the relay has no address of this IP version: see `node.bind`".to_owned(),
        _ => "see the node's log".to_owned(),
    }
}

/// Which setting and which protocol.
pub(crate) fn setting(hop: Hop) -> (&'static str, &'static str) {
    match hop {
        Hop::IceTcp => ("node.tcp_port", "TCP"),
        Hop::TurnUdp => ("node.turn.udp_port", "UDP"),
        Hop::TurnTcp => ("node.turn.tcp_port", "TCP"),
        Hop::TurnTls => ("node.turn.tls_port", "TCP"),
        _ => ("node.udp_port", "UDP"),
    }
}

/// Why there is nothing to try.
pub(crate) fn nothing(hop: Hop) -> Finding {
    Finding::skipped(match hop {
        Hop::Udp => "the node tells no UDP address",
        Hop::IceTcp => "the node tells no TCP address",
        Hop::TurnTls => "not offered: `node.turn` takes a certificate for it",
        _ => "not offered: `node.turn` is off",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Status;

    fn failed(hop: Hop, failure: WayFailure) -> (String, String) {
        let finding = way(hop, "subject", 7, &Err(failure));
        assert_eq!(finding.status, Status::Failed);
        assert!(finding.says.starts_with("subject: "), "{}", finding.says);
        (finding.says, finding.fix)
    }

    #[test]
    fn a_way_that_works_tells_round_trip_and_address() {
        let checked = Checked {
            rtt: Duration::from_micros(1_500),
            seen: "192.0.2.9:1".parse().unwrap(),
        };
        let finding = way(Hop::Udp, "192.0.2.1:7", 7, &Ok(checked));
        assert_eq!(
            finding.says,
            "192.0.2.1:7: round trip 1.5 ms, seen as 192.0.2.9:1"
        );
    }

    #[test]
    fn a_silent_way_names_its_port_and_its_setting() {
        let after = Duration::from_secs(5);
        for (hop, word, setting) in [
            (Hop::Udp, "UDP port 7", "node.udp_port"),
            (Hop::IceTcp, "TCP port 7", "node.tcp_port"),
        ] {
            let (cause, cure) = failed(hop, WayFailure::Silent(after));
            assert!(cause.contains("no answer within 5 s"), "{cause}");
            assert!(cure.contains(word) && cure.contains(setting), "{cure}");
        }
        let (_, cure) = failed(Hop::TurnUdp, WayFailure::Silent(after));
        assert!(cure.contains("relay is there"), "{cure}");
        let (_, cure) = failed(Hop::TurnUdp, WayFailure::TurnSilent(after));
        assert!(cure.contains("node.turn.udp_port"), "{cure}");
    }

    #[test]
    fn every_refusal_has_its_cure() {
        let (_, cure) = failed(Hop::IceTcp, WayFailure::Dial(DialFailure::Refused));
        assert!(cure.contains("nothing listens on TCP port 7"), "{cure}");
        let other = DialFailure::Other("no route".to_owned());
        let (_, cure) = failed(Hop::Udp, WayFailure::Dial(other));
        assert!(cure.contains("node.public_ip"), "{cure}");
        for (code, word) in [
            (401, "cluster.secret"),
            (403, "allow_peers"),
            (486, "allocations"),
            (443, "IP version"),
        ] {
            let refused = WayFailure::TurnRefused {
                what: "an address",
                code,
                reason: "no".to_owned(),
            };
            let (cause, cure) = failed(Hop::TurnTcp, refused);
            assert!(
                cause.contains(&format!("{code} no")) && cure.contains(word),
                "{cure}"
            );
        }
        let (_, cure) = failed(Hop::TurnTls, WayFailure::Tls("expired".to_owned()));
        assert!(cure.contains("node.turn.certificate"), "{cure}");
        assert!(
            failed(Hop::TurnTls, WayFailure::Name("none".to_owned()))
                .1
                .contains("domain")
        );
        assert_eq!(nothing(Hop::TurnUdp).status, Status::Skipped);
    }
}
