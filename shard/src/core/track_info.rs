//! The description of a track that clients see.
//!
//! Owns: how an `AddTrackRequest` becomes a `TrackInfo`. Must not: hold state.
#![expect(deprecated, reason = "older clients read the old fields")]

use livekit_protocol as lk;
use lk::video_layer::Mode;
use proto::id::TrackSid;
use proto::media::{Kind, LayerSize, Quality};

/// What the owner announced, as the room will see it once it is bound.
pub(super) fn from_request(
    sid: &TrackSid,
    request: &lk::AddTrackRequest,
    allowed: &[String],
    unix_ms: i64,
) -> lk::TrackInfo {
    let layers = layers(request);
    let mut audio_features = request.audio_features.clone();
    for (set, feature) in [
        (request.stereo, lk::AudioTrackFeature::TfStereo),
        (request.disable_dtx, lk::AudioTrackFeature::TfNoDtx),
    ] {
        if set && !audio_features.contains(&feature.into()) {
            audio_features.push(feature.into());
        }
    }
    lk::TrackInfo {
        sid: sid.as_str().to_owned(),
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast: layers.len() > 1,
        disable_dtx: request.disable_dtx,
        source: request.source,
        codecs: codecs(request, allowed, &layers),
        layers,
        stereo: request.stereo,
        // RED is not forwarded, whatever the client would do.
        disable_red: true,
        encryption: request.encryption,
        stream: request.stream.clone(),
        version: Some(version(unix_ms)),
        audio_features,
        backup_codec_policy: request.backup_codec_policy,
        packet_trailer_features: request.packet_trailer_features.clone(),
        ..Default::default()
    }
}

/// The codec that the node shall name first, such as `H264`. Audio has one.
pub(super) fn wanted_codec(info: &lk::TrackInfo, kind: Kind) -> String {
    let mime = info
        .codecs
        .first()
        .map_or("", |codec| codec.mime_type.as_str());
    match (kind, mime.split_once('/')) {
        (Kind::Video, Some((_, codec))) => codec.to_owned(),
        (Kind::Video | Kind::Audio, _) => String::new(),
    }
}

/// Fills in what the node found out. A node that cannot tell the codec yet leaves `mime` empty: then
/// what the owner was told to send is what it will be.
pub(super) fn bind(info: &mut lk::TrackInfo, kind: Kind, mid: &str, mime: &str, unix_ms: i64) {
    let announced = info.codecs.first().map(|codec| codec.mime_type.clone());
    let mime = match (mime, kind) {
        ("", Kind::Audio) => "audio/opus",
        ("", Kind::Video) => announced.as_deref().unwrap_or("video/VP8"),
        (mime, Kind::Audio | Kind::Video) => mime,
    };
    mid.clone_into(&mut info.mid);
    mime.clone_into(&mut info.mime_type);
    touch(info, unix_ms);
    if info.codecs.is_empty() {
        let mode = if kind == Kind::Video {
            layer_mode(mime)
        } else {
            Mode::Unused
        };
        info.codecs.push(lk::SimulcastCodecInfo {
            layers: info.layers.clone(),
            video_layer_mode: mode.into(),
            ..Default::default()
        });
    }
    if let Some(codec) = info.codecs.first_mut() {
        mid.clone_into(&mut codec.mid);
        mime.clone_into(&mut codec.mime_type);
    }
}

/// The layers as a node wants to know them.
pub(super) fn layer_sizes(info: &lk::TrackInfo) -> Vec<LayerSize> {
    let size = |layer: &lk::VideoLayer| {
        let quality = match layer.quality() {
            lk::VideoQuality::Low => Quality::Low,
            lk::VideoQuality::Medium => Quality::Medium,
            lk::VideoQuality::High => Quality::High,
            lk::VideoQuality::Off => return None,
        };
        Some(LayerSize {
            quality,
            width: layer.width,
            height: layer.height,
        })
    };
    info.layers.iter().filter_map(size).collect()
}

/// Marks a change of a track. Versions only grow, whatever the clock of the shard that the track came
/// from.
pub(super) fn touch(info: &mut lk::TrackInfo, unix_ms: i64) {
    let mut next = version(unix_ms);
    if let Some(before) = &info.version {
        next.unix_micro = next.unix_micro.max(before.unix_micro.saturating_add(1));
    }
    info.version = Some(next);
}

fn version(unix_ms: i64) -> lk::TimedVersion {
    lk::TimedVersion {
        unix_micro: unix_ms.saturating_mul(1000),
        ticks: 0,
    }
}

/// A video without layers has one: all of it.
fn layers(request: &lk::AddTrackRequest) -> Vec<lk::VideoLayer> {
    if !request.layers.is_empty() || request.r#type() != lk::TrackType::Video {
        return request.layers.clone();
    }
    vec![lk::VideoLayer {
        quality: lk::VideoQuality::High.into(),
        width: request.width,
        height: request.height,
        ..Default::default()
    }]
}

/// The codec that the client shall send: its first one if nodes forward it, else ours. Backup codecs
/// are left out, since they are not forwarded.
fn codecs(
    request: &lk::AddTrackRequest,
    allowed: &[String],
    layers: &[lk::VideoLayer],
) -> Vec<lk::SimulcastCodecInfo> {
    if request.r#type() != lk::TrackType::Video {
        return Vec::new();
    }
    let Some(first) = request.simulcast_codecs.first() else {
        return Vec::new();
    };
    let mut videos = allowed.iter().filter(|mime| mime.starts_with("video/"));
    let ours = videos.clone().next();
    let theirs = videos.find(|mime| {
        mime.strip_prefix("video/")
            .is_some_and(|codec| codec.eq_ignore_ascii_case(&first.codec))
    });
    let Some(mime) = theirs.or(ours) else {
        return Vec::new();
    };
    let mode = match first.video_layer_mode() {
        Mode::Unused => layer_mode(mime),
        given if theirs.is_some() => given,
        _ => layer_mode(mime),
    };
    vec![lk::SimulcastCodecInfo {
        mime_type: mime.clone(),
        cid: request.cid.clone(),
        layers: layers.to_vec(),
        video_layer_mode: mode.into(),
        ..Default::default()
    }]
}

fn layer_mode(mime: &str) -> Mode {
    if mime.eq_ignore_ascii_case("video/VP9") || mime.eq_ignore_ascii_case("video/AV1") {
        Mode::MultipleSpatialLayersPerStream
    } else {
        Mode::OneSpatialLayerPerStream
    }
}
