//! Tracks from their announcement to their end.
#![expect(deprecated, reason = "older clients read the old fields")]

use super::*;
use lk::signal_response::Message;
use signal_request::Message as Ask;

#[test]
fn a_track_is_shown_to_the_others_once_its_section_is_negotiated() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.expect(&["ada < published cam", "n1 < publish ada cam"]);
    let cam = script.names.track("cam");
    script.bind(&ada, &cam, "cam");
    script.expect(&[
        "bo < update ada:active[cam]",
        "n1 < subscribe bo cam",
        "ada < has subscriber cam",
    ]);
    script.bind(&ada, &cam, "cam");
    script.expect(&[]);
    script.pass(Duration::from_secs(1));
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(lines, ["ada < room 2/1", "bo < room 2/1"]);
}

#[test]
fn what_the_others_see_of_a_track_is_what_its_owner_said() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let layer = |quality: lk::VideoQuality, width| lk::VideoLayer {
        quality: quality.into(),
        width,
        height: width / 2,
        ..lk::VideoLayer::default()
    };
    let layers = vec![
        layer(lk::VideoQuality::Low, 320),
        layer(lk::VideoQuality::High, 1280),
    ];
    let request = lk::AddTrackRequest {
        name: "camera".into(),
        width: 1280,
        height: 640,
        muted: true,
        layers: layers.clone(),
        simulcast_codecs: vec![
            lk::SimulcastCodec {
                codec: "h264".into(),
                cid: "cam".into(),
                ..lk::SimulcastCodec::default()
            },
            lk::SimulcastCodec {
                codec: "vp8".into(),
                ..lk::SimulcastCodec::default()
            },
        ],
        encryption: lk::encryption::Type::Gcm.into(),
        stream: "camera".into(),
        backup_codec_policy: lk::BackupCodecPolicy::Simulcast.into(),
        ..track("cam")
    };
    script.ask(&ada, Ask::AddTrack(request));
    assert!(matches!(
        script.next(),
        Some(Output::Signal {
            message: Message::TrackPublished(_),
            ..
        })
    ));
    let Some(Output::Node { command, .. }) = script.next() else {
        panic!("no command");
    };
    let proto::media::NodeCommand::Publish(published) = command else {
        panic!("{command:?}");
    };
    assert!(published.muted);
    assert_eq!(published.cid, "cam");
    let sizes: Vec<_> = published
        .layers
        .iter()
        .map(|l| (l.quality, l.width))
        .collect();
    use proto::media::Quality;
    assert_eq!(sizes, [(Quality::Low, 320), (Quality::High, 1280)]);

    script.event(NodeEvent::TrackBound {
        participant: ada.sid.clone(),
        track: published.track,
        mid: "3".into(),
        mime: "video/H264".into(),
    });
    let Some(Output::Signal {
        session,
        message: Message::Update(update),
    }) = script.next()
    else {
        panic!("no update");
    };
    assert_eq!(session, bo.session);
    let info = &update.participants[0].tracks[0];
    assert!(update.participants[0].is_publisher);
    assert!(info.sid.starts_with("TR_") && info.muted && info.simulcast && info.disable_red);
    assert_eq!(
        (info.name.as_str(), info.stream.as_str()),
        ("camera", "camera")
    );
    assert_eq!(info.source(), lk::TrackSource::Camera);
    assert_eq!((info.width, info.height), (1280, 640));
    assert_eq!(
        (info.mid.as_str(), info.mime_type.as_str()),
        ("3", "video/H264")
    );
    assert_eq!(info.encryption(), lk::encryption::Type::Gcm);
    assert_eq!(info.backup_codec_policy(), lk::BackupCodecPolicy::Simulcast);
    assert_eq!(info.layers, layers);
    assert_eq!(info.codecs.len(), 1, "the backup codec is not forwarded");
    let codec = &info.codecs[0];
    assert_eq!(
        (codec.mime_type.as_str(), codec.mid.as_str()),
        ("video/H264", "3")
    );
    assert_eq!((codec.cid.as_str(), &codec.layers), ("cam", &layers));
    script.outputs();
}

#[test]
fn a_codec_that_is_not_forwarded_is_replaced_before_the_client_offers() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let request = lk::AddTrackRequest {
        simulcast_codecs: vec![lk::SimulcastCodec {
            codec: "h265".into(),
            ..lk::SimulcastCodec::default()
        }],
        ..track("cam")
    };
    script.ask(&ada, Ask::AddTrack(request));
    let Some(Output::Signal {
        message: Message::TrackPublished(published),
        ..
    }) = script.next()
    else {
        panic!("not published");
    };
    let codec = &published.track.unwrap().codecs[0];
    assert_eq!(codec.mime_type, "video/VP8");
    let mode = lk::video_layer::Mode::OneSpatialLayerPerStream;
    assert_eq!(codec.video_layer_mode(), mode);
}

#[test]
fn a_codec_that_the_node_cannot_tell_yet_is_the_announced_one() {
    for (cid, mime) in [("mic", "audio/opus"), ("cam", "video/H264")] {
        let (mut script, [ada]) = Script::meeting(["ada"]);
        let request = lk::AddTrackRequest {
            simulcast_codecs: vec![lk::SimulcastCodec {
                codec: "h264".into(),
                ..lk::SimulcastCodec::default()
            }],
            ..track(cid)
        };
        script.ask(&ada, Ask::AddTrack(request));
        script.outputs();
        script.event(NodeEvent::TrackBound {
            participant: ada.sid.clone(),
            track: script.names.track(cid),
            mid: "0".into(),
            mime: String::new(),
        });
        script.attempt(request_to_look());
        let Some(Output::Signal {
            message: Message::Join(join),
            ..
        }) = script.next()
        else {
            panic!("not joined");
        };
        let info = &join.other_participants[0].tracks[0];
        assert_eq!(
            (info.mime_type.as_str(), info.codecs[0].mime_type.as_str()),
            (mime, mime)
        );
        script.outputs();
    }
}

fn request_to_look() -> Join {
    super::request("bo")
}

#[test]
fn audio_features_follow_from_the_older_fields() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let request = lk::AddTrackRequest {
        stereo: true,
        disable_dtx: true,
        ..track("mic")
    };
    script.ask(&ada, Ask::AddTrack(request));
    let Some(Output::Signal {
        message: Message::TrackPublished(published),
        ..
    }) = script.next()
    else {
        panic!("not published");
    };
    let info = published.track.unwrap();
    assert!(info.stereo && info.disable_dtx && info.layers.is_empty());
    assert_eq!(
        info.audio_features().collect::<Vec<_>>(),
        [
            lk::AudioTrackFeature::TfStereo,
            lk::AudioTrackFeature::TfNoDtx
        ]
    );
}

#[test]
fn asking_again_for_a_track_that_is_not_negotiated_yet_gives_the_same_track() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.expect(&[
        "ada < published cam",
        "n1 < publish ada cam",
        "ada < published cam",
    ]);
    let cam = script.names.track("cam");
    script.bind(&ada, &cam, "cam");
    script.outputs();
    // The same device, published a second time.
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.expect(&["ada < published cam", "n1 < publish ada cam'"]);
}

#[test]
fn tracks_that_may_not_be_published_are_refused_with_the_cause() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.claims.video.can_publish_sources = vec!["microphone".into()];
    let ada = script.join(join);
    let mut join = request("bo");
    join.claims.video.can_publish = Some(false);
    let bo = script.join(join);
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.ask(&bo, Ask::AddTrack(track("mic")));
    script.expect(&[
        "ada < response 0 NOT_ALLOWED",
        "bo < response 0 NOT_ALLOWED",
    ]);
    script.ask(&ada, Ask::AddTrack(track("mic")));
    script.expect(&["ada < published mic", "n1 < publish ada mic"]);
}

#[test]
fn requests_for_impossible_tracks_are_answered() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let refused = [
        (
            "UNSUPPORTED_TYPE",
            lk::AddTrackRequest {
                r#type: 2,
                ..track("x")
            },
        ),
        (
            "UNSUPPORTED_TYPE",
            lk::AddTrackRequest {
                r#type: 77,
                ..track("x")
            },
        ),
        (
            "UNSUPPORTED_TYPE",
            lk::AddTrackRequest {
                sid: "TR_x".into(),
                ..track("x")
            },
        ),
        ("INVALID_REQUEST", track("")),
        ("INVALID_REQUEST", track(&"x".repeat(513))),
        (
            "INVALID_REQUEST",
            lk::AddTrackRequest {
                layers: vec![lk::VideoLayer::default(); 17],
                ..track("x")
            },
        ),
    ];
    for (reason, request) in refused {
        script.ask(&ada, Ask::AddTrack(request));
        script.expect(&[&format!("ada < response 0 {reason}")]);
    }
}

#[test]
fn a_participant_has_a_limited_number_of_tracks() {
    let limits = Limits {
        tracks_per_participant: 1,
        ..Limits::default()
    };
    let mut script = Script::without_nodes(CoreConfig { limits, ..config() });
    script
        .core
        .handle_node_attached(NodeId::new("n1"), 1, None, script.now);
    let ada = script.join(request("ada"));
    script.ask(&ada, Ask::AddTrack(track("mic")));
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.expect(&[
        "ada < published mic",
        "n1 < publish ada mic",
        "ada < response 0 LIMIT_EXCEEDED",
    ]);
}

#[test]
fn muting_stops_the_node_and_shows_to_the_others_and_so_does_unmuting() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic");
    let mute = |muted| {
        Ask::Mute(lk::MuteTrackRequest {
            sid: mic.as_str().into(),
            muted,
        })
    };
    script.ask(&ada, mute(true));
    script.expect(&["n1 < muted mic true", "bo < update ada:active[mic muted]"]);
    script.ask(&ada, mute(true));
    script.expect(&[]);
    script.ask(&ada, mute(false));
    script.expect(&["n1 < muted mic false", "bo < update ada:active[mic]"]);
}

#[test]
fn nobody_mutes_the_track_of_somebody_else() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic");
    let sid = mic.as_str().to_owned();
    script.ask(&bo, Ask::Mute(lk::MuteTrackRequest { sid, muted: true }));
    script.expect(&["bo < response 0 NOT_FOUND"]);
}

#[test]
fn a_track_ends_when_an_offer_silences_its_section() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.publish(&ada, "cam");
    let offer = "m=audio 9 X 1\r\na=mid:mic\r\na=sendonly\r\n\
        m=video 9 X 1\r\na=mid:cam\r\na=inactive\r\n";
    script.ask(&ada, Ask::Offer(sdp(2, "offer", offer)));
    script.expect(&[
        "n1 < unpublish cam",
        "bo < update ada:active[mic]",
        "n1 < offer ada 2",
    ]);
    // Nothing is left of it to subscribe to.
    let cam = script.names.track("cam").as_str().to_owned();
    script.ask(
        &bo,
        Ask::Subscription(lk::UpdateSubscription {
            track_sids: vec![cam],
            subscribe: true,
            participant_tracks: Vec::new(),
        }),
    );
    script.expect(&["bo < no subscription cam SE_TRACK_NOTFOUND"]);
}

#[test]
fn a_track_that_is_offered_in_another_section_goes_on() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.publish(&ada, "cam");
    // The answers were lost: nothing of these sections is left at the client.
    let offer = "m=audio 9 X 1\r\na=mid:other\r\na=msid:stream mic\r\na=sendonly\r\n";
    script.ask(&ada, Ask::Offer(sdp(2, "offer", offer)));
    script.expect(&[
        "n1 < unpublish cam",
        "bo < update ada:active[mic]",
        "n1 < offer ada 2",
    ]);
}

#[test]
fn features_and_sizes_of_a_track_can_change() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic").as_str().to_owned();
    let features = vec![lk::AudioTrackFeature::TfNoiseSuppression.into()];
    script.ask(
        &ada,
        Ask::UpdateAudioTrack(lk::UpdateLocalAudioTrack {
            track_sid: mic,
            features,
        }),
    );
    script.expect(&["bo < update ada:active[mic]"]);
    let nothing = lk::UpdateLocalVideoTrack::default();
    script.ask(&ada, Ask::UpdateVideoTrack(nothing));
    script.expect(&["ada < response 0 NOT_FOUND"]);
}

#[test]
fn whoever_connects_is_told_of_its_tracks_when_it_is_connected() {
    let mut script = Script::new();
    let ada = script.join(request("ada"));
    let offer = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    script.ask(&ada, Ask::Offer(sdp(1, "offer", offer)));
    script.outputs();
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.ask(&ada, Ask::AddTrack(track("mic")));
    let told = script.outputs();
    assert!(
        told.iter().all(|line| line.starts_with("n1 < publish")),
        "{told:?}"
    );
    script.pass(Duration::from_millis(900));
    script.event(NodeEvent::Connected {
        participant: ada.sid.clone(),
    });
    let mut told = script.outputs();
    told.retain(|line| line.contains("published"));
    told.sort();
    assert_eq!(told, ["ada < published cam", "ada < published mic"]);
    // Once.
    script.pass(Duration::from_secs(5));
    assert!(
        !script
            .outputs()
            .iter()
            .any(|line| line.contains("published"))
    );
}

#[test]
fn a_connection_that_takes_long_does_not_keep_the_word_of_a_track() {
    let mut script = Script::new();
    let ada = script.join(request("ada"));
    let offer = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    script.ask(&ada, Ask::Offer(sdp(1, "offer", offer)));
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.outputs();
    script.pass(Duration::from_secs(1));
    script.expect(&["ada < room 1/0", "ada < published cam"]);
}

#[test]
fn who_connects_for_its_tracks_is_told_of_them_at_once() {
    let mut script = Script::new();
    // On two connections the one for its tracks comes after the word.
    let ada = script.join(Join {
        mode: PeerMode::Dual,
        ..request("ada")
    });
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.expect(&["ada < published cam", "n1 < publish ada cam"]);
    // An empty offer leads to no connection.
    let bo = script.join(request("bo"));
    script.ask(&bo, Ask::Offer(sdp(1, "offer", "v=0\r\ns=-\r\n")));
    script.outputs();
    script.ask(&bo, Ask::AddTrack(track("mic")));
    script.expect(&["bo < published mic", "n1 < publish bo mic"]);
}
