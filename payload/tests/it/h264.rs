//! H264: pictures that nothing refers to are left out.

use crate::driver::{decode, drive, packetize, schedule, wishes};
use crate::streams::{Mode, plans};
use payload::Codec;
use payload::h264::Packet;
use proptest::prelude::*;

proptest! {
    #[test]
    fn nothing_undecodable_is_sent(plan in plans(&[Mode::Full], 1), wishes in wishes()) {
        let frames = plan.frames();
        let wires = packetize(&frames, |index, packet| {
            let referred_to = frames.iter().any(|frame| frame.earlier.contains(&index));
            let importance = if referred_to || frames[index].key { 0x60 } else { 0 };
            let unit = if frames[index].key { 5 } else { 1 };
            let start = if packet == 0 { 0x80 } else { 0 };
            (vec![importance | 28, start | unit, 0xff], None)
        });
        let schedule = schedule(&wishes, wires.len());
        let (sent, _) = drive(Codec::H264, &wires, &schedule);
        decode(&frames, &sent);
        let droppable = |payload: &[u8]| Packet::parse(payload).unwrap().droppable;
        if schedule.values().all(|it| it.temporal == 0) {
            prop_assert!(sent.iter().all(|it| !droppable(&it.payload)));
        } else if schedule.values().all(|it| it.temporal > 0) {
            prop_assert_eq!(sent.len(), wires.len());
        }
    }
}
