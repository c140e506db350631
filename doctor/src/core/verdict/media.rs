//! DTLS, data channels, and sound from one participant to another.

use crate::core::report::Finding;
use std::time::Duration;

/// More of it is worth a warning, percent: speech suffers.
const LOSS_WARNING_PERCENT: f64 = 2.0;

/// What went from one participant to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Packets that could have been heard, from the first that was.
    pub(crate) sent: u32,
    pub(crate) received: u32,
    /// From one to the other, the median.
    pub(crate) delay: Duration,
}

/// How media goes, in words, for what follows.
pub(crate) fn dtls(by: &str, outcome: &Result<(), String>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok(format!("keys are agreed on, by {by}")),
        Err(cause) => Finding::failed(
            format!("no media connection by {by}: {cause}"),
            "single packets get through and a connection does not come about: look for a firewall \
             that lets only the first packets or only small ones pass (MTU below 1,280), and at the \
             node's log",
        ),
    }
}

pub(crate) fn data(outcome: &Result<(), String>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok("data channels are open (SCTP)"),
        Err(cause) => Finding::failed(
            format!("data channels do not open: {cause}"),
            "look at the node's log; packets of 1,200 bytes must pass (MTU)",
        ),
    }
}

/// What the second participant heard of the first one.
pub(crate) fn media(outcome: &Result<Heard, String>, rtt: Duration) -> Finding {
    let heard = match outcome {
        Ok(heard) if heard.received > 0 => heard,
        Ok(_) => return silent("no packet of the first participant came to the second one"),
        Err(cause) => return silent(cause),
    };
    let loss = f64::from(heard.sent.saturating_sub(heard.received)) * 100.0 / f64::from(heard.sent);
    let finding = Finding::ok(format!(
        "{} of {} packets of sound came from one participant to another, loss {loss:.1} %, after \
         {:.1} ms; round trip to the node {:.1} ms",
        heard.received,
        heard.sent,
        heard.delay.as_secs_f64() * 1000.0,
        rtt.as_secs_f64() * 1000.0
    ));
    if loss > LOSS_WARNING_PERCENT {
        return finding.warn(format!(
            "{loss:.1} % of the packets were lost: look at this network, and at the node's load \
             (`anteroom_node_media_cpu_ratio`, `anteroom_host_udp_errors_total`)"
        ));
    }
    finding
}

fn silent(cause: &str) -> Finding {
    Finding::failed(
        cause,
        "look at the log of the shard and the node; `canPublish` and `canSubscribe` must be granted",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Status;

    fn heard(sent: u32, received: u32) -> Finding {
        let heard = Heard {
            sent,
            received,
            delay: Duration::from_micros(1_240),
        };
        media(&Ok(heard), Duration::from_micros(500))
    }

    #[test]
    fn sound_is_counted() {
        let finding = heard(100, 100);
        assert_eq!(
            finding.says,
            "100 of 100 packets of sound came from one participant to another, loss 0.0 %, after \
             1.2 ms; round trip to the node 0.5 ms"
        );
        assert!(finding.warnings.is_empty());
        assert!(heard(100, 90).warnings[0].contains("10.0 % of the packets were lost"));
        assert_eq!(heard(0, 0).status, Status::Failed);
        let finding = media(&Err("refused".to_owned()), Duration::ZERO);
        assert!(finding.says == "refused" && finding.fix.contains("canPublish"));
    }

    #[test]
    fn a_connection_that_does_not_come_about_has_its_cure() {
        assert_eq!(dtls("UDP", &Ok(())).says, "keys are agreed on, by UDP");
        let finding = dtls("UDP", &Err("late".to_owned()));
        assert!(finding.fix.contains("MTU") && finding.says.contains("late"));
        assert_eq!(data(&Ok(())).status, Status::Ok);
        assert_eq!(data(&Err("late".to_owned())).status, Status::Failed);
    }
}
