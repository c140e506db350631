//! The file that media is kept in: numbers in network byte order, nothing compressed.
//!
//! `AMED`, version, stream count; for each stream codec, layer, width, height, frame count; for each
//! frame flags (1 = key), duration in µs, length, bytes. It is a cache that we write ourselves, but
//! it is read as if it came from a stranger.

use super::{Codec, Frame, Layer, Media, Stream};

const MAGIC: [u8; 4] = *b"AMED";
const VERSION: u8 = 1;
/// Two codecs of three layers and audio are seven; more is a broken file.
const STREAMS_MAX: usize = 32;
/// An hour of 20 ms packets.
const FRAMES_MAX: usize = 180_000;
/// A key frame of 720p has some 100 kB.
const FRAME_LEN_MAX: usize = 4 << 20;

/// Why a pack could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It is another kind of file.
    #[error("this is not a media pack of version {VERSION}: remove it, and it is made anew")]
    NotAPack,
    /// The file ends too early or has a value out of range.
    #[error("the media pack is damaged at byte {at}: remove it, and it is made anew")]
    Damaged {
        /// Where reading stopped.
        at: usize,
    },
}

impl Media {
    /// The bytes of a pack.
    #[must_use]
    pub fn to_pack(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend(length(self.streams.len()));
        for stream in &self.streams {
            out.extend([codec_number(stream.codec), stream.layer.index()]);
            out.extend(stream.width.to_be_bytes());
            out.extend(stream.height.to_be_bytes());
            out.extend(length(stream.frames.len()));
            for frame in &stream.frames {
                out.push(u8::from(frame.key));
                out.extend(frame.duration_us.to_be_bytes());
                out.extend(length(frame.bytes.len()));
                out.extend(&*frame.bytes);
            }
        }
        out
    }

    /// Media from the bytes of a pack.
    pub fn from_pack(bytes: &[u8]) -> Result<Self, PackError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(4).ok() != Some(&MAGIC) || reader.byte() != Ok(VERSION) {
            return Err(PackError::NotAPack);
        }
        let count = reader.count(STREAMS_MAX)?;
        let mut media = Self::default();
        for _ in 0..count {
            media.streams.push(stream(&mut reader)?);
        }
        if reader.at != bytes.len() {
            return Err(reader.damaged());
        }
        Ok(media)
    }
}

fn stream(reader: &mut Reader<'_>) -> Result<Stream, PackError> {
    let codec = codec_of(reader.byte()?).ok_or_else(|| reader.damaged())?;
    let layer = Layer::from_index(reader.byte()?).ok_or_else(|| reader.damaged())?;
    let width = u16::from_be_bytes(reader.array()?);
    let height = u16::from_be_bytes(reader.array()?);
    let count = reader.count(FRAMES_MAX)?;
    let mut frames = Vec::new();
    for _ in 0..count {
        let key = reader.byte()? != 0;
        let duration_us = u32::from_be_bytes(reader.array()?);
        let len = reader.count(FRAME_LEN_MAX)?;
        let bytes = reader.take(len)?.into();
        frames.push(Frame {
            key,
            duration_us,
            bytes,
        });
    }
    Ok(Stream {
        codec,
        layer,
        width,
        height,
        frames,
    })
}

fn codec_number(codec: Codec) -> u8 {
    match codec {
        Codec::Vp8 => 0,
        Codec::H264 => 1,
        Codec::Opus => 2,
    }
}

fn codec_of(number: u8) -> Option<Codec> {
    [Codec::Vp8, Codec::H264, Codec::Opus]
        .into_iter()
        .find(|codec| codec_number(*codec) == number)
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self) -> PackError {
        PackError::Damaged { at: self.at }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PackError> {
        let end = self.at.checked_add(len).ok_or_else(|| self.damaged())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damaged())?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        let damaged = self.damaged();
        self.take(N)?.try_into().map_err(|_| damaged)
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn count(&mut self, max: usize) -> Result<usize, PackError> {
        let damaged = self.damaged();
        let count = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| damaged)?;
        (count <= max).then_some(count).ok_or(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{MediaSettings, synthetic::synthetic};
    use proptest::prelude::*;

    fn small() -> Media {
        let settings = MediaSettings {
            seconds: 1,
            ..MediaSettings::default()
        };
        synthetic(&settings)
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let media = small();
        assert_eq!(Media::from_pack(&media.to_pack()), Ok(media));
        let nothing = Media::default();
        assert_eq!(Media::from_pack(&nothing.to_pack()), Ok(nothing));
    }

    #[test]
    fn a_file_cut_off_or_of_another_kind_says_so() {
        let pack = small().to_pack();
        for len in [6, 9, 20, pack.len() - 1] {
            let error = Media::from_pack(&pack[..len]);
            assert!(matches!(error, Err(PackError::Damaged { .. })), "{error:?}");
        }
        assert_eq!(Media::from_pack(b"RIFF...."), Err(PackError::NotAPack));
        let mut long = pack;
        long.push(0);
        assert!(Media::from_pack(&long).is_err());
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_reader(tail: Vec<u8>) {
            let mut file = b"AMED\x01".to_vec();
            file.extend(&tail);
            let _ = Media::from_pack(&file);
            let _ = Media::from_pack(&tail);
        }
    }
}
