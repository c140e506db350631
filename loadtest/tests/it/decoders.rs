//! ffmpeg decodes stamped media to the same pictures and sounds as the media without stamps.
//! Without ffmpeg on the machine these tests say so and pass.

use loadtest::media::make::{MediaError, make_media};
use loadtest::media::{Codec, LAYERS, Layer, Media, MediaSettings, Stream};
use loadtest::packetize::{Packetizer, Payload, Placement};
use ogg::{PacketWriteEndInfo, PacketWriter};
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn settings() -> MediaSettings {
    MediaSettings {
        seconds: 2,
        key_interval: 25,
        layers: LAYERS[..2].to_vec(),
        ..MediaSettings::default()
    }
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()))
}

/// The media, or `None` on a machine without ffmpeg.
fn made(name: &str) -> Option<Media> {
    let folder = folder(name);
    let media = match make_media(&folder, &settings()) {
        Ok(media) => media,
        Err(MediaError::NoFfmpeg(error)) => {
            eprintln!("not tested, there is no ffmpeg: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let kept = make_media(&folder, &settings()).unwrap();
    assert_eq!(kept, media, "the second time it comes from the folder");
    std::fs::remove_dir_all(&folder).unwrap();
    Some(media)
}

fn payloads(stream: &Stream) -> Vec<Vec<Payload>> {
    let mut packetizer = Packetizer::new(stream.codec, stream.layer, Placement::Decodable, 40_000);
    let frames = (0..).zip(&stream.frames);
    frames
        .map(|(number, frame)| packetizer.handle_frame(frame, number, u64::from(number) << 40))
        .collect()
}

/// Hashes of all that ffmpeg decodes from a file of this format.
fn decoded(format: &str, file: &[u8]) -> Vec<String> {
    let mut child = Command::new("ffmpeg")
        .args([
            "-v", "error", "-f", format, "-i", "pipe:0", "-f", "framemd5", "pipe:1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = file.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.is_empty(), "{format}: {complaint}");
    let hashes = String::from_utf8(output.stdout).unwrap();
    let lines = hashes.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

fn ivf(frames: impl Iterator<Item = Vec<u8>>, stream: &Stream) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
    file.extend(stream.width.to_le_bytes());
    file.extend(stream.height.to_le_bytes());
    file.extend(
        [25_u32, 1, u32::try_from(stream.frames.len()).unwrap(), 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    for (time, frame) in (0_u64..).zip(frames) {
        file.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        file.extend(time.to_le_bytes());
        file.extend(frame);
    }
    file
}

#[test]
fn stamped_vp8_decodes_to_the_same_pictures() {
    let Some(media) = made("vp8") else {
        return;
    };
    for layer in [Layer::Low, Layer::Medium] {
        let stream = media.stream(Codec::Vp8, layer).unwrap();
        assert_eq!(stream.frames.len(), 50);
        let plain = ivf(
            stream.frames.iter().map(|frame| frame.bytes.to_vec()),
            stream,
        );
        let joined = payloads(stream).into_iter().map(|payloads| {
            let media = payloads.iter().flat_map(|payload| &payload.bytes[6..]);
            media.copied().collect()
        });
        let stamped = ivf(joined, stream);
        assert_ne!(plain, stamped);
        let pictures = decoded("ivf", &plain);
        assert_eq!(pictures.len(), 50);
        assert_eq!(decoded("ivf", &stamped), pictures);
    }
}

/// RFC 6184 backwards: single NAL units, STAP-A and FU-A into an annex B stream.
fn depacketize(payload: &[u8], file: &mut Vec<u8>) {
    const START: [u8; 4] = [0, 0, 0, 1];
    match payload[0] & 0x1f {
        24 => {
            let mut rest = &payload[1..];
            while let Some((len, after)) = rest.split_first_chunk::<2>() {
                let (nal, next) = after.split_at(usize::from(u16::from_be_bytes(*len)));
                file.extend(START);
                file.extend(nal);
                rest = next;
            }
        }
        28 => {
            if payload[1] & 0x80 != 0 {
                file.extend(START);
                file.push((payload[0] & 0xe0) | (payload[1] & 0x1f));
            }
            file.extend(&payload[2..]);
        }
        _ => {
            file.extend(START);
            file.extend(payload);
        }
    }
}

#[test]
fn stamped_h264_decodes_to_the_same_pictures() {
    let Some(media) = made("h264") else {
        return;
    };
    for layer in [Layer::Low, Layer::Medium] {
        let stream = media.stream(Codec::H264, layer).unwrap();
        let mut plain = Vec::new();
        for frame in &stream.frames {
            let mut rest = &frame.bytes[..];
            while let Some((len, after)) = rest.split_first_chunk::<4>() {
                let (nal, next) = after.split_at(u32::from_be_bytes(*len) as usize);
                plain.extend([0, 0, 0, 1]);
                plain.extend(nal);
                rest = next;
            }
        }
        let mut stamped = Vec::new();
        for payload in payloads(stream).iter().flatten() {
            depacketize(&payload.bytes, &mut stamped);
        }
        let pictures = decoded("h264", &plain);
        assert_eq!(pictures.len(), 50);
        assert_eq!(decoded("h264", &stamped), pictures);
    }
}

fn ogg(packets: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = PacketWriter::new(Cursor::new(&mut file));
    let head = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
    let tags = b"OpusTags\0\0\0\0\0\0\0\0".to_vec();
    let page = PacketWriteEndInfo::EndPage;
    writer.write_packet(head, 1, page, 0).unwrap();
    writer.write_packet(tags, 1, page, 0).unwrap();
    for (number, packet) in (1_u64..).zip(packets) {
        writer.write_packet(packet, 1, page, number * 960).unwrap();
    }
    drop(writer);
    file
}

#[test]
fn stamped_opus_decodes_to_the_same_sound() {
    let Some(media) = made("opus") else {
        return;
    };
    let stream = media.stream(Codec::Opus, Layer::Low).unwrap();
    assert!(stream.frames.len() >= 100);
    let plain = ogg(stream.frames.iter().map(|frame| frame.bytes.to_vec()));
    let stamped = ogg(payloads(stream)
        .into_iter()
        .flatten()
        .map(|payload| payload.bytes));
    let sound = decoded("ogg", &plain);
    assert!(sound.len() >= 100);
    assert_eq!(decoded("ogg", &stamped), sound);
}
