//! What receivers say of what they were sent: control packets, after decryption.

use downlink::{Feedback, Figures};

/// A compound packet.
pub fn feedback(data: &[u8]) {
    let mut told = Vec::new();
    downlink::read_feedback(data, |feedback| told.push(feedback));
    // 4 bytes name 17 packets at most, a report has 24.
    assert!(told.len() <= 17 * (data.len() / 4), "out of nowhere");

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
