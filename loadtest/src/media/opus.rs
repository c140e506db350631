//! Opus packets out of an Ogg file (RFC 7845): what ffmpeg writes Opus into.

use super::Frame;
use std::io::Cursor;

/// The audio packets, each 20 ms long; `None` if it is no such file.
///
/// The pre-skip of the first packets is not cut: what is sent is a loop, nobody hears its start.
pub(super) fn opus_frames(file: &[u8]) -> Option<Vec<Frame>> {
    let mut reader = ogg::PacketReader::new(Cursor::new(file));
    let head = reader.read_packet().ok()??;
    let tags = reader.read_packet().ok()??;
    if !head.data.starts_with(b"OpusHead") || !tags.data.starts_with(b"OpusTags") {
        return None;
    }
    let mut frames = Vec::new();
    while let Some(packet) = reader.read_packet().ok()? {
        if packet.data.is_empty() {
            continue;
        }
        frames.push(Frame {
            key: true,
            duration_us: 20_000,
            bytes: packet.data.into(),
        });
    }
    (!frames.is_empty()).then_some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogg::{PacketWriteEndInfo::EndPage, PacketWriter};
    use proptest::prelude::*;

    fn file(packets: &[&'static [u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = PacketWriter::new(Cursor::new(&mut file));
        for packet in packets {
            writer.write_packet(*packet, 7, EndPage, 0).unwrap();
        }
        drop(writer);
        file
    }

    #[test]
    fn the_packets_behind_the_two_headers_come_out() {
        let frames = opus_frames(&file(&[b"OpusHead....", b"OpusTags....", b"one", b"two!"]));
        let lengths: Vec<_> = frames
            .unwrap()
            .iter()
            .map(|frame| frame.bytes.len())
            .collect();
        assert_eq!(lengths, [3, 4]);
    }

    #[test]
    fn another_kind_of_file_is_none() {
        assert!(opus_frames(&file(&[b"vorbis", b"OpusTags", b"x"])).is_none());
        assert!(opus_frames(&file(&[b"OpusHead", b"OpusTags"])).is_none());
        assert!(opus_frames(b"RIFF").is_none());
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_reader(bytes: Vec<u8>) {
            let _ = opus_frames(&bytes);
        }
    }
}
