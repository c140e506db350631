//! Media without an encoder: frames of the right sizes whose headers are valid, so that everything
//! that forwards media takes them for what they say they are. A decoder shows garbage, or nothing.

use super::{Codec, Frame, Layer, LayerSettings, Media, MediaSettings, Stream};
use std::sync::Arc;

/// A key frame is about this much larger than the frames between.
const KEY_FACTOR: u32 = 6;
const FRAME_LEN_MIN: u32 = 64;
const AUDIO_FRAMES_PER_SECOND: u32 = 50;
/// Hybrid mode, full band, 20 ms, mono, one frame (RFC 6716 section 3.1).
const OPUS_TOC: u8 = 0x78;
/// Bytes that are neither zero nor a start code of any codec.
const FILLER: u8 = 0xaa;

/// Media of these settings, made of headers and filler.
#[must_use]
pub fn synthetic(settings: &MediaSettings) -> Media {
    let mut media = Media::default();
    for codec in &settings.codecs {
        for layer in &settings.layers {
            media.streams.push(video(*codec, *layer, settings));
        }
    }
    media.streams.push(audio(settings));
    media
}

fn video(codec: Codec, layer: LayerSettings, settings: &MediaSettings) -> Stream {
    let rate = settings.frame_rate.max(1);
    let interval = settings.key_interval.max(1);
    // `interval` frames have the bytes of `interval - 1 + KEY_FACTOR` usual ones.
    let bytes = u64::from(layer.bitrate / 8) * u64::from(interval)
        / (u64::from(rate) * u64::from(interval - 1 + KEY_FACTOR));
    let usual = u32::try_from(bytes).unwrap_or(u32::MAX).max(FRAME_LEN_MIN);
    let key = frame_bytes(codec, true, usual.saturating_mul(KEY_FACTOR), layer);
    let delta = frame_bytes(codec, false, usual, layer);
    let frames = (0..rate * settings.seconds).map(|index| {
        let is_key = index % interval == 0;
        Frame {
            key: is_key,
            duration_us: 1_000_000 / rate,
            bytes: Arc::clone(if is_key { &key } else { &delta }),
        }
    });
    Stream {
        codec,
        layer: layer.layer,
        width: layer.width,
        height: layer.height,
        frames: frames.collect(),
    }
}

fn audio(settings: &MediaSettings) -> Stream {
    let len = (settings.audio_bitrate / 8 / AUDIO_FRAMES_PER_SECOND).max(2);
    let bytes: Arc<[u8]> = filled(vec![OPUS_TOC], len).into();
    let frame = Frame {
        key: true,
        duration_us: 1_000_000 / AUDIO_FRAMES_PER_SECOND,
        bytes,
    };
    let count = AUDIO_FRAMES_PER_SECOND * settings.seconds;
    Stream {
        codec: Codec::Opus,
        layer: Layer::Low,
        width: 0,
        height: 0,
        frames: (0..count).map(|_| frame.clone()).collect(),
    }
}

fn frame_bytes(codec: Codec, key: bool, len: u32, layer: LayerSettings) -> Arc<[u8]> {
    match codec {
        Codec::H264 => h264(key, len).into(),
        Codec::Vp8 | Codec::Opus => vp8(key, len, layer).into(),
    }
}

/// RFC 6386 section 9.1: a frame tag of 3 bytes (key, version, shown, size of the first
/// partition), in key frames a start code and the picture's size.
fn vp8(key: bool, len: u32, layer: LayerSettings) -> Vec<u8> {
    let first_partition = (len / 2).min(0x7_ffff);
    let shown = 1 << 4;
    let tag = u32::from(!key) | shown | (first_partition << 5);
    let [low, middle, high, _] = tag.to_le_bytes();
    let mut frame = vec![low, middle, high];
    if key {
        frame.extend([0x9d, 0x01, 0x2a]);
        frame.extend((layer.width & 0x3fff).to_le_bytes());
        frame.extend((layer.height & 0x3fff).to_le_bytes());
    }
    filled(frame, len)
}

/// Parameter sets of a constrained baseline stream before each key frame, then one slice.
fn h264(key: bool, len: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut push = |nal: Vec<u8>| {
        frame.extend(u32::try_from(nal.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend(nal);
    };
    if key {
        push(vec![0x67, 0x42, 0xc0, 0x1f, 0xda, 0x05, 0x07, 0xec]);
        push(vec![0x68, 0xce, 0x3c, 0x80]);
    }
    push(filled(vec![if key { 0x65 } else { 0x41 }, 0x9a], len));
    frame
}

fn filled(mut frame: Vec<u8>, len: u32) -> Vec<u8> {
    let len = usize::try_from(len).unwrap_or(0).max(frame.len());
    frame.resize(len, FILLER);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_close_to_the_settings() {
        let settings = MediaSettings::default();
        let media = synthetic(&settings);
        assert_eq!(media.streams.len(), 7);
        for stream in media
            .streams
            .iter()
            .filter(|stream| stream.codec.is_video())
        {
            let asked = settings.layers[usize::from(stream.layer.index())].bitrate;
            let off = stream.bitrate().abs_diff(u64::from(asked));
            assert!(
                off < u64::from(asked) / 20,
                "{} of {asked}",
                stream.bitrate()
            );
        }
    }

    #[test]
    fn a_vp8_key_frame_has_its_start_code_and_size() {
        let media = synthetic(&MediaSettings::default());
        let frames = &media.stream(Codec::Vp8, Layer::High).unwrap().frames;
        let key = &frames[0].bytes;
        assert_eq!(key[0] & 1, 0);
        assert_eq!(key[3..10], [0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        assert_eq!(frames[1].bytes[0] & 1, 1);
        assert!(frames[50].key && !frames[49].key);
    }
}
