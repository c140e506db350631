//! A stream from packetizer to summary.

use super::*;
use crate::media::{Layer, MediaSettings, synthetic::synthetic};
use crate::packetize::{Packetizer, Placement};

const MS: u64 = 1_000_000;

/// Four seconds of 25 frames a second, as packets with the time they were sent.
fn sent(codec: Codec) -> Vec<(Packet, u64)> {
    let media = synthetic(&MediaSettings {
        seconds: 4,
        ..MediaSettings::default()
    });
    let stream = media.stream(codec, Layer::Low).unwrap();
    let mut packetizer = Packetizer::new(codec, Layer::Low, Placement::EveryPacket, 1);
    let mut packets = Vec::new();
    let mut sequence = 65_000_u16;
    for (number, frame) in (0_u32..).zip(&stream.frames) {
        let us = u64::from(frame.duration_us) * u64::from(number);
        let timestamp = us * u64::from(codec.clock_rate()) / 1_000_000;
        for payload in packetizer.handle_frame(frame, number, us * 1000) {
            let packet = Packet {
                sequence,
                timestamp: u32::try_from(timestamp).unwrap(),
                marker: payload.marker,
                bytes: payload.bytes.len(),
                stamp: Stamp::find(codec, &payload.bytes),
            };
            packets.push((packet, us * 1000));
            sequence = sequence.wrapping_add(1);
        }
    }
    packets
}

fn received(
    codec: Codec,
    packets: impl IntoIterator<Item = (Packet, u64)>,
) -> (StreamSummary, Timeline) {
    let mut timeline = Timeline::default();
    let mut stats = StreamStats::new(codec, "a to b".to_owned());
    let mut last = 0;
    for (packet, now_ns) in packets {
        stats.handle_packet(&packet, &mut timeline, now_ns);
        last = now_ns;
    }
    (stats.finish(&mut timeline, last), timeline)
}

#[test]
fn a_stream_that_comes_whole_after_12_ms_is_without_fault() {
    for codec in [Codec::Vp8, Codec::H264] {
        let packets = sent(codec);
        let late = packets.iter().map(|(packet, at)| (*packet, at + 12 * MS));
        let (summary, timeline) = received(codec, late);
        assert_eq!(summary.packets, packets.len() as u64);
        assert_eq!(
            (summary.missing, summary.reordered, summary.duplicates),
            (0, 0, 0)
        );
        assert_eq!((summary.frames, summary.freezes), (100, 0));
        assert!(summary.jitter_ms < 0.01, "{}", summary.jitter_ms);
        let latency = timeline.total().latency.quantiles().unwrap();
        assert!((latency.p50_ms - 12.0).abs() < 0.2, "{latency:?}");
        assert!(
            (summary.bitrate - 150_000.0).abs() < 30_000.0,
            "{}",
            summary.bitrate
        );
    }
}

#[test]
fn a_lost_packet_freezes_the_picture_until_the_next_key_frame() {
    let lost = sent(Codec::Vp8).into_iter().filter(|(packet, _)| {
        let stamp = packet.stamp.unwrap();
        stamp.frame != 30
    });
    let (summary, timeline) = received(Codec::Vp8, lost);
    assert_eq!(summary.missing, 1);
    assert_eq!((summary.frames, summary.freezes), (80, 1));
    assert!(
        (summary.frozen_s - 0.84).abs() < 0.001,
        "{}",
        summary.frozen_s
    );
    assert_eq!(timeline.total().freezes, 1);
    assert_eq!(timeline.total().lost(), 1);
}

#[test]
fn a_retransmitted_packet_in_time_repairs_the_loss() {
    let mut packets = sent(Codec::Vp8);
    let at = packets
        .iter()
        .position(|(packet, _)| packet.stamp.unwrap().frame == 30)
        .unwrap();
    let (lost, sent_ns) = packets.remove(at);
    packets.insert(at + 1, (lost, sent_ns + 60 * MS));
    packets.insert(at + 2, (lost, sent_ns + 61 * MS));
    let (summary, timeline) = received(Codec::Vp8, packets);
    assert_eq!(
        (summary.missing, summary.reordered, summary.duplicates),
        (0, 1, 1)
    );
    assert_eq!((summary.frames, summary.freezes), (100, 0));
    assert_eq!(
        (timeline.total().lost(), timeline.total().reordered),
        (0, 1)
    );
}

#[test]
fn audio_has_no_frames_and_no_freezes() {
    let mut packets = sent(Codec::Opus);
    packets.drain(50..100);
    let (summary, _) = received(Codec::Opus, packets);
    assert_eq!(
        (summary.missing, summary.frames, summary.freezes),
        (50, 0, 0)
    );
}

#[test]
fn a_pause_is_no_freeze() {
    let mut timeline = Timeline::default();
    let mut stats = StreamStats::new(Codec::Vp8, "a to b".to_owned());
    for (packet, at) in sent(Codec::Vp8) {
        let resumed = packet.stamp.unwrap().frame >= 50;
        if resumed && packet.stamp.unwrap().frame == 50 {
            stats.handle_pause();
        }
        let now_ns = at + if resumed { 3000 * MS } else { 0 };
        stats.handle_packet(&packet, &mut timeline, now_ns);
    }
    assert_eq!(stats.first_frame_ns(), Some(0));
    assert_eq!(stats.finish(&mut timeline, 7000 * MS).freezes, 0);
}
