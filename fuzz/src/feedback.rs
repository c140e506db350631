//! What receivers say of what they were sent: control packets, after decryption.

use bandwidth::{Config, Estimator, Why};
use downlink::{Feedback, Figures};
use std::time::{Duration, Instant};

/// A compound packet.
pub fn feedback(data: &[u8]) {
    let mut told = Vec::new();
    downlink::read_feedback(data, |feedback| told.push(feedback));
    // 4 bytes name 17 packets at most, a report has 24.
    assert!(told.len() <= 17 * (data.len() / 4), "out of nowhere");
    for feedback in &told {
        if let Feedback::Arrivals(arrivals) = feedback {
            estimate(arrivals);
        }
    }

    let rewritten = |figures: Option<Figures>| {
        let mut into = b"before".to_vec();
        downlink::rewrite_reports(data, &mut into, |_| figures);
        assert_eq!(into.get(..6), Some(b"before".as_slice()));
        into.split_off(6)
    };
    let figures = Figures {
        timestamp: 1,
        packets: 2,
        octets: 3,
    };
    let (silent, sending) = (rewritten(None), rewritten(Some(figures)));
    assert!(silent.len() <= data.len() && sending.len() <= data.len());
    // Whoever has sent nothing is still told what it said as a receiver.
    for again in [silent, sending] {
        let mut said = Vec::new();
        downlink::read_feedback(&again, |feedback| said.push(feedback));
        let received = |it: &Feedback| matches!(it, Feedback::Received { .. });
        let before = told.iter().filter(|it| received(it)).count();
        assert_eq!(said.iter().filter(|it| received(it)).count(), before);
    }
}

/// What a client says of packets, most of which it was sent.
fn estimate(arrivals: &[u8]) {
    let start = Instant::now();
    let config = Config::default();
    let mut line = Estimator::new(config, start);
    for _ in 0..500 {
        line.handle_sent(1_200, Why::Media, start);
    }
    for again in 1..4 {
        let now = start + again * Duration::from_millis(100);
        line.handle_feedback(arrivals, now);
        line.handle_timeout(now);
        let sane = |rate| config.min <= rate && rate <= config.max;
        assert!(line.estimate().is_none_or(sane));
        assert!((0.0..=1.0).contains(&line.loss()));
    }
}
