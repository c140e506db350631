//! Who gets which track, and how.

use super::*;
use signal_request::Message as Ask;

fn subscription(tracks: &[&TrackSid], subscribe: bool) -> Ask {
    Ask::Subscription(lk::UpdateSubscription {
        track_sids: tracks.iter().map(|track| track.as_str().into()).collect(),
        subscribe,
        participant_tracks: Vec::new(),
    })
}

/// A meeting with somebody who chooses.
fn with_chooser() -> (Script, Peer, Peer) {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mut join = request("bo");
    join.auto_subscribe = false;
    let bo = script.join(join);
    (script, ada, bo)
}

#[test]
fn without_auto_subscribe_only_what_is_asked_for_is_forwarded() {
    let (mut script, ada, bo) = with_chooser();
    let mic = script.publish(&ada, "mic");
    let cam = script.publish(&ada, "cam");
    script.ask(&bo, subscription(&[&mic], true));
    script.expect(&["n1 < subscribe bo mic", "ada < has subscriber mic"]);
    script.ask(&bo, subscription(&[&mic], true));
    script.expect(&[]);
    script.ask(&bo, subscription(&[&mic], false));
    script.expect(&["n1 < unsubscribe bo mic"]);
    script.ask(
        &bo,
        Ask::Subscription(lk::UpdateSubscription {
            track_sids: Vec::new(),
            subscribe: true,
            participant_tracks: vec![lk::ParticipantTracks {
                participant_sid: ada.sid.as_str().into(),
                track_sids: vec![mic.as_str().into(), cam.as_str().into()],
            }],
        }),
    );
    script.expect(&[
        "n1 < subscribe bo mic",
        "n1 < subscribe bo cam",
        "ada < has subscriber cam",
    ]);
}

#[test]
fn with_auto_subscribe_one_track_can_be_declined() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let mic = script.publish(&ada, "mic");
    script.ask(&bo, subscription(&[&mic], false));
    script.expect(&["n1 < unsubscribe bo mic"]);
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.outputs();
    let cam = script.names.track("cam");
    script.bind(&ada, &cam, "cam");
    script.expect(&[
        "bo < update ada:active[cam,mic]",
        "n1 < subscribe bo cam",
        "ada < has subscriber cam",
    ]);
}

#[test]
fn unknown_own_and_hidden_tracks_cannot_be_subscribed_to() {
    let (mut script, ada, bo) = with_chooser();
    let mic = script.publish(&ada, "mic");
    let mut join = request("spy");
    join.claims.video.hidden = true;
    let spy = script.join(join);
    let cam = script.publish(&spy, "cam");
    script.ask(&bo, subscription(&[&TrackSid::new("TR_x"), &cam], true));
    script.ask(&ada, subscription(&[&mic], true));
    script.expect(&[
        "bo < no subscription TR_x SE_TRACK_NOTFOUND",
        "bo < no subscription cam SE_TRACK_NOTFOUND",
        "ada < no subscription mic SE_TRACK_NOTFOUND",
    ]);
    script.ask(&bo, subscription(&[&TrackSid::new("TR_x")], false));
    script.expect(&[]);
}

#[test]
fn a_token_without_can_subscribe_gets_nothing() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mic = script.publish(&ada, "mic");
    let mut join = request("bo");
    join.claims.video.can_subscribe = Some(false);
    let bo = script.join(join);
    script.publish(&ada, "cam");
    script.ask(&bo, subscription(&[&mic], true));
    script.expect(&["bo < no subscription mic SE_UNKNOWN"]);
}

#[test]
fn track_settings_reach_the_node_once_and_are_kept_for_later() {
    let (mut script, ada, bo) = with_chooser();
    let cam = script.publish(&ada, "cam");
    let settings = |disabled, quality: lk::VideoQuality, width, height| {
        Ask::TrackSetting(lk::UpdateTrackSettings {
            track_sids: vec![cam.as_str().into()],
            disabled,
            quality: quality.into(),
            width,
            height,
            ..lk::UpdateTrackSettings::default()
        })
    };
    script.ask(&bo, settings(false, lk::VideoQuality::Low, 0, 0));
    script.expect(&[]);
    script.ask(&bo, subscription(&[&cam], true));
    let Some(Output::Node { command, .. }) = script.next() else {
        panic!("no command");
    };
    let proto::media::NodeCommand::Subscribe { settings: kept, .. } = command else {
        panic!("{command:?}");
    };
    assert_eq!(kept.max_quality, proto::media::Quality::Low);
    script.outputs();

    script.ask(&bo, settings(false, lk::VideoQuality::Low, 640, 360));
    script.ask(&bo, settings(false, lk::VideoQuality::Low, 640, 360));
    script.ask(&bo, settings(true, lk::VideoQuality::Medium, 0, 0));
    script.ask(&bo, settings(false, lk::VideoQuality::Off, 0, 0));
    script.ask(&bo, settings(false, lk::VideoQuality::High, 0, 0));
    script.expect(&[
        "n1 < settings bo cam High 640x360",
        "n1 < settings bo cam off Medium 0x0",
        "n1 < settings bo cam off High 0x0",
        "n1 < settings bo cam High 0x0",
    ]);
}

#[test]
fn a_publisher_can_choose_its_audience() {
    let (mut script, [ada, _bo, cy]) = Script::meeting(["ada", "bo", "cy"]);
    script.publish(&ada, "mic");
    let only_bo = lk::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![lk::TrackPermission {
            participant_identity: "bo".into(),
            all_tracks: true,
            ..lk::TrackPermission::default()
        }],
    };
    script.ask(&ada, Ask::SubscriptionPermission(only_bo));
    script.expect(&[
        "cy < may subscribe mic of ada: false",
        "n1 < unsubscribe cy mic",
    ]);
    let mic = script.names.track("mic");
    script.ask(&cy, subscription(&[&mic], true));
    script.expect(&[]);
    let everybody = lk::SubscriptionPermission {
        all_participants: true,
        track_permissions: Vec::new(),
    };
    script.ask(&ada, Ask::SubscriptionPermission(everybody));
    script.expect(&[
        "cy < may subscribe mic of ada: true",
        "n1 < subscribe cy mic",
    ]);
}

#[test]
fn whoever_comes_later_and_waits_for_a_track_hears_that_its_owner_keeps_it() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let mic = script.publish(&ada, "mic");
    let nobody = lk::SubscriptionPermission::default();
    script.ask(&ada, Ask::SubscriptionPermission(nobody));
    let mut chooser = request("cy");
    chooser.auto_subscribe = false;
    let cy = script.join(chooser);
    script.outputs();

    script.attempt(request("bo"));
    let lines = script.outputs();
    assert_eq!(
        lines.last().unwrap(),
        "bo < may subscribe mic of ada: false"
    );
    // A later track, once it can be seen.
    script.ask(&ada, Ask::AddTrack(track("cam")));
    script.outputs();
    let cam = script.names.track("cam");
    script.bind(&ada, &cam, "cam");
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(
        lines,
        [
            "bo < may subscribe cam of ada: false",
            "bo < update ada:active[cam,mic]",
            "cy < update ada:active[cam,mic]",
        ]
    );
    // Whoever chooses hears it for what it chooses, and once.
    script.ask(&cy, subscription(&[&mic], true));
    script.expect(&["cy < may subscribe mic of ada: false"]);
    script.ask(&cy, subscription(&[&mic], true));
    script.expect(&[]);
    let everybody = lk::SubscriptionPermission {
        all_participants: true,
        track_permissions: Vec::new(),
    };
    script.ask(&ada, Ask::SubscriptionPermission(everybody));
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(
        lines,
        [
            "ada < has subscriber cam",
            "ada < has subscriber mic",
            "bo < may subscribe cam of ada: true",
            "bo < may subscribe mic of ada: true",
            "cy < may subscribe mic of ada: true",
            "n1 < subscribe bo cam",
            "n1 < subscribe bo mic",
            "n1 < subscribe cy mic",
        ]
    );
}

/// Bo, and sixteen others with 31 tracks each.
fn with_many_tracks() -> (Script, Peer, Vec<Peer>) {
    let mut script = Script::new();
    let bo = script.join(request("bo"));
    let mut others = Vec::new();
    for number in 0..16 {
        let mut join = request(&format!("p{number}"));
        join.auto_subscribe = false;
        let peer = script.join(join);
        for track in 0..31 {
            script.publish(&peer, &format!("{number}-{track}"));
        }
        others.push(peer);
    }
    script.outputs();
    (script, bo, others)
}

fn subscriptions_of(script: &Script, peer: &Peer) -> Vec<TrackSid> {
    let participant = &script.core.rooms[&room("standup")].participants[&peer.sid];
    participant.subscriptions.iter().cloned().collect()
}

#[test]
fn a_participant_gets_as_many_tracks_as_a_node_holds_and_others_when_some_end() {
    let (mut script, bo, others) = with_many_tracks();
    let first = subscriptions_of(&script, &bo);
    assert_eq!(first.len(), limits::SUBSCRIPTIONS_MAX);

    let declined: Vec<&TrackSid> = first.iter().take(3).collect();
    script.ask(&bo, subscription(&declined, false));
    assert_eq!(script.outputs().len(), 3);
    script.pass(Duration::from_millis(100));
    let lines = script.outputs();
    let made = lines
        .iter()
        .filter(|line| line.starts_with("n1 < subscribe bo"));
    assert_eq!(made.count(), 3, "{lines:?}");
    assert_eq!(
        subscriptions_of(&script, &bo).len(),
        limits::SUBSCRIPTIONS_MAX
    );

    // 496 tracks without 31, and without those declined: all of them.
    script.ask(&others[0], Ask::Leave(lk::LeaveRequest::default()));
    script.pass(Duration::from_millis(100));
    script.outputs();
    let declined = declined.iter();
    let left = declined.filter(|track| {
        script.core.rooms[&room("standup")]
            .owners
            .contains_key(track)
    });
    assert_eq!(subscriptions_of(&script, &bo).len(), 465 - left.count());
    // Nobody is looked for any more.
    script.ask(&others[1], Ask::Leave(lk::LeaveRequest::default()));
    assert!(script.core.rooms[&room("standup")].refill_at.is_none());
}

#[test]
fn a_long_list_of_tracks_is_worth_what_the_room_has() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    let cam = script.publish(&ada, "cam");
    let known = cam.as_str().to_owned();
    // The same track again and again is one track.
    script.ask(&bo, subscription(&[&cam; 60], false));
    script.expect(&["n1 < unsubscribe bo cam"]);
    // What nobody can know of is answered a few times, and what stands far behind it is not read.
    let mut track_sids: Vec<String> = (0..50_000).map(|number| format!("TR_{number}")).collect();
    track_sids.push(known.clone());
    script.ask(
        &bo,
        Ask::Subscription(lk::UpdateSubscription {
            track_sids: track_sids.clone(),
            subscribe: true,
            participant_tracks: Vec::new(),
        }),
    );
    assert_eq!(script.outputs().len(), limits::UNKNOWN_SIDS_MAX);
    let settings = |track_sids| {
        Ask::TrackSetting(lk::UpdateTrackSettings {
            track_sids,
            disabled: true,
            ..lk::UpdateTrackSettings::default()
        })
    };
    script.ask(&bo, settings(track_sids));
    script.ask(&bo, subscription(&[&cam], true));
    script.expect(&["n1 < subscribe bo cam"]);
    script.ask(&bo, settings(vec![known; 60]));
    script.expect(&["n1 < settings bo cam off Low 0x0"]);
}
