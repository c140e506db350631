//! Media made with ffmpeg, once, and kept in a folder.
//!
//! For each layer `ffmpeg -f lavfi -i testsrc2=size=WxH:rate=R -t S` into VP8 in IVF (libvpx,
//! realtime) or H.264 in annex B (libx264, baseline, zerolatency, with delimiters); for the audio
//! `-i sine=frequency=440:sample_rate=48000` into Opus in Ogg, 20 ms a packet. All through pipes.
//! The one module of this crate that starts a process and touches files.

use super::{Codec, Frame, Layer, LayerSettings, Media, MediaSettings, PackError, Stream};
use super::{annexb, ivf, opus};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A longer loop costs memory and shows nothing new.
const SECONDS_MAX: u32 = 60;
/// Bytes of ffmpeg's own words that an error carries.
const COMPLAINT_MAX: usize = 300;

/// Why there is no media.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The program is not there.
    #[error("ffmpeg cannot be started ({0}): install it, or use synthetic media")]
    NoFfmpeg(#[source] io::Error),
    /// It ran and failed.
    #[error("ffmpeg made no {what}: {complaint}")]
    Failed {
        /// What it should have made.
        what: String,
        /// The end of what it said.
        complaint: String,
    },
    /// It wrote something that cannot be read.
    #[error(
        "what ffmpeg made is no {what}: use an ffmpeg of version 4.4 or later with libvpx, libx264 \
         and libopus"
    )]
    Unreadable {
        /// What it should have been.
        what: String,
    },
    /// The kept file is broken.
    #[error("{}: {source}", .path.display())]
    Pack {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PackError,
    },
    /// The folder cannot be used.
    #[error("{} cannot be used to keep media in: {source}", .path.display())]
    Folder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value out of range.
    #[error("{what} must be {range}")]
    Settings {
        /// Which value.
        what: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

/// Media of these settings: from `folder` if it was made before, else made with ffmpeg and kept
/// there. Takes a few seconds of CPU the first time. Blocks.
pub fn make_media(folder: &Path, settings: &MediaSettings) -> Result<Media, MediaError> {
    check(settings)?;
    let path = folder.join(file_name(settings));
    match std::fs::read(&path) {
        Ok(bytes) => {
            return Media::from_pack(&bytes).map_err(|source| MediaError::Pack { path, source });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(MediaError::Folder { path, source }),
    }
    let media = encode(settings)?;
    keep(folder, &path, &media.to_pack()).map_err(|source| MediaError::Folder { path, source })?;
    Ok(media)
}

/// Two load tests may start at the same time: who reads sees all of a file or none.
fn keep(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}

fn check(settings: &MediaSettings) -> Result<(), MediaError> {
    let refuse = |what, range| Err(MediaError::Settings { what, range });
    if !(1..=SECONDS_MAX).contains(&settings.seconds) {
        return refuse("the media's length", "1 to 60 seconds");
    }
    if !(1..=60).contains(&settings.frame_rate) {
        return refuse("the frame rate", "1 to 60");
    }
    if settings.key_interval == 0 {
        return refuse("the key frame interval", "1 frame or more");
    }
    if settings.layers.is_empty() {
        return refuse("the number of layers", "1 to 3");
    }
    Ok(())
}

/// Everything that changes the media is in its name.
fn file_name(settings: &MediaSettings) -> String {
    let mut name = format!(
        "media-v1-{}s-{}fps-key{}-a{}",
        settings.seconds, settings.frame_rate, settings.key_interval, settings.audio_bitrate
    );
    for codec in &settings.codecs {
        name.push_str(&format!("-{codec:?}").to_lowercase());
    }
    for layer in &settings.layers {
        let LayerSettings {
            width,
            height,
            bitrate,
            ..
        } = layer;
        name.push_str(&format!("-{width}x{height}b{bitrate}"));
    }
    name + ".amed"
}

fn encode(settings: &MediaSettings) -> Result<Media, MediaError> {
    let mut media = Media::default();
    for codec in settings.codecs.iter().filter(|codec| codec.is_video()) {
        for layer in &settings.layers {
            let frames = video(*codec, *layer, settings)?;
            media.streams.push(Stream {
                codec: *codec,
                layer: layer.layer,
                width: layer.width,
                height: layer.height,
                frames,
            });
        }
    }
    let what = "Opus in Ogg";
    let frames = opus::opus_frames(&run(&audio_arguments(settings), what)?);
    media.streams.push(Stream {
        codec: Codec::Opus,
        layer: Layer::Low,
        width: 0,
        height: 0,
        frames: frames.ok_or_else(|| unreadable(what))?,
    });
    media.align();
    Ok(media)
}

fn video(
    codec: Codec,
    layer: LayerSettings,
    settings: &MediaSettings,
) -> Result<Vec<Frame>, MediaError> {
    let duration_us = 1_000_000 / settings.frame_rate;
    let what = match codec {
        Codec::H264 => "H.264 byte stream",
        Codec::Vp8 | Codec::Opus => "VP8 in IVF",
    };
    let file = run(&video_arguments(codec, layer, settings), what)?;
    let frames = match codec {
        Codec::H264 => annexb::frames(&file, duration_us),
        Codec::Vp8 | Codec::Opus => ivf::vp8_frames(&file, duration_us),
    };
    frames.ok_or_else(|| unreadable(what))
}

fn unreadable(what: &str) -> MediaError {
    MediaError::Unreadable {
        what: what.to_owned(),
    }
}

fn video_arguments(codec: Codec, layer: LayerSettings, settings: &MediaSettings) -> String {
    let MediaSettings {
        seconds,
        frame_rate,
        key_interval,
        ..
    } = settings;
    let LayerSettings {
        width,
        height,
        bitrate,
        ..
    } = layer;
    let source = format!("-f lavfi -i testsrc2=size={width}x{height}:rate={frame_rate}");
    let rates = format!("-b:v {bitrate} -maxrate {bitrate} -bufsize {bitrate} -pix_fmt yuv420p");
    let coder = match codec {
        Codec::H264 => format!(
            "-c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency -x264-params \
             keyint={key_interval}:min-keyint={key_interval}:scenecut=0:aud=1:repeat-headers=1:\
             sliced-threads=0:slices=1 -f h264"
        ),
        Codec::Vp8 | Codec::Opus => format!(
            "-c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 0 -lag-in-frames 0 \
             -g {key_interval} -keyint_min {key_interval} -f ivf"
        ),
    };
    format!("{source} -t {seconds} -an {rates} {coder}")
}

fn audio_arguments(settings: &MediaSettings) -> String {
    let MediaSettings {
        seconds,
        audio_bitrate,
        ..
    } = settings;
    format!(
        "-f lavfi -i sine=frequency=440:sample_rate=48000 -t {seconds} -vn -ac 1 -c:a libopus \
         -b:a {audio_bitrate} -frame_duration 20 -application voip -f ogg"
    )
}

/// ffmpeg's output. None of the arguments has a space inside.
fn run(arguments: &str, what: &str) -> Result<Vec<u8>, MediaError> {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin"])
        .args(arguments.split_whitespace())
        .arg("pipe:1")
        .stdin(Stdio::null())
        .output()
        .map_err(MediaError::NoFfmpeg)?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let from = said.len().saturating_sub(COMPLAINT_MAX);
    let complaint = (from..=said.len()).find_map(|at| said.get(at..));
    Err(MediaError::Failed {
        what: what.to_owned(),
        complaint: complaint.unwrap_or_default().replace('\n', "; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_before_anything_is_made() {
        let folder = Path::new("/nonexistent");
        let long = MediaSettings {
            seconds: 61,
            ..MediaSettings::default()
        };
        let error = make_media(folder, &long).unwrap_err().to_string();
        assert_eq!(error, "the media's length must be 1 to 60 seconds");
        let none = MediaSettings {
            layers: Vec::new(),
            ..MediaSettings::default()
        };
        assert!(make_media(folder, &none).is_err());
    }

    #[test]
    fn all_that_changes_the_media_is_in_the_name() {
        let settings = MediaSettings::default();
        let other = MediaSettings {
            audio_bitrate: 24_000,
            ..settings.clone()
        };
        assert_ne!(file_name(&settings), file_name(&other));
        assert_eq!(
            file_name(&settings),
            "media-v1-8s-25fps-key50-a32000-vp8-h264-320x180b150000-640x360b500000-\
             1280x720b1700000.amed"
        );
    }
}
