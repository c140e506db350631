//! Entering a room.

use super::*;
use lk::signal_response::Message;

/// The join response inside of what is said.
fn response(script: &mut Script) -> lk::JoinResponse {
    let mut response = None;
    while let Some(output) = script.next() {
        if let Output::Signal {
            message: Message::Join(join),
            ..
        } = output
        {
            response = Some(join);
        }
    }
    response.unwrap()
}

#[test]
fn the_first_client_gets_a_join_response_and_a_place_on_the_node() {
    let mut script = Script::new();
    script.attempt(request("ada"));
    script.expect(&["ada < join []", "n1 < add ada Single"]);
}

#[test]
fn the_join_response_has_everything_without_which_clients_fail() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.claims.name = "Ada".into();
    join.client.client_protocol = 2;
    join.client.capabilities = vec![1];
    script.attempt(join);
    let response = response(&mut script);

    let room = response.room.unwrap();
    assert!(room.sid.starts_with("RM_"));
    assert_eq!((room.name.as_str(), room.num_participants), ("standup", 1));
    assert_eq!(room.creation_time_ms, 1_000_000);
    let me = response.participant.unwrap();
    assert!(me.sid.starts_with("PA_"));
    assert_eq!((me.identity.as_str(), me.name.as_str()), ("ada", "Ada"));
    assert_eq!((me.client_protocol, me.capabilities), (2, vec![1]));
    assert_eq!((me.joined_at, me.joined_at_ms), (1_000, 1_000_000));
    let permission = me.permission.unwrap();
    assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
    assert!(!permission.can_update_metadata && !permission.hidden);
    let server = response.server_info.unwrap();
    assert_eq!(
        (server.protocol, server.version),
        (16, response.server_version)
    );
    assert_eq!((response.ping_interval, response.ping_timeout), (5, 15));
    let codecs = response
        .enabled_publish_codecs
        .iter()
        .map(|c| c.mime.as_str());
    assert_eq!(
        codecs.collect::<Vec<_>>(),
        [
            "audio/opus",
            "video/VP8",
            "video/H264",
            "video/VP9",
            "video/AV1"
        ]
    );
    assert_eq!(response.sif_trailer.len(), 16);
    assert!(response.client_configuration.is_some());
    assert!(!response.subscriber_primary && !response.fast_publish);
}

#[test]
fn the_subscriber_connection_is_primary_in_dual_mode_unless_the_client_cannot_subscribe() {
    for (can_subscribe, primary) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut script = Script::new();
        let mut join = request("ada");
        join.mode = PeerMode::Dual;
        join.claims.video.can_subscribe = can_subscribe;
        script.attempt(join);
        assert_eq!(response(&mut script).subscriber_primary, primary);
    }
}

#[test]
fn later_clients_find_the_others_and_are_shown_to_them() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.publish(&ada, "mic");
    script.attempt(request("bo"));
    script.expect(&[
        "bo < join [ada:active[mic]]",
        "n1 < add bo Single",
        "ada < update bo:joined[]",
        "n1 < subscribe bo mic",
        "ada < has subscriber mic",
    ]);
}

#[test]
fn an_offer_and_tracks_in_the_join_go_to_the_node_after_the_subscriptions() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.publish(&ada, "mic");
    let mut join = request("bo");
    join.offer = Some(sdp(4, "offer", "v=0"));
    join.add_tracks = vec![track("cam")];
    script.attempt(join);
    script.expect(&[
        "bo < join [ada:active[mic]]",
        "n1 < add bo Single",
        "ada < update bo:joined[]",
        "n1 < subscribe bo mic",
        "ada < has subscriber mic",
        "bo < published cam",
        "n1 < publish bo cam",
        "n1 < offer bo 4",
    ]);
}

#[test]
fn a_connected_participant_is_active_for_everybody() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let bo = script.join(request("bo"));
    let participant = bo.sid;
    script.event(NodeEvent::Connected { participant });
    script.expect(&["bo < update bo:active[]", "ada < update bo:active[]"]);
}

#[test]
fn versions_of_a_participant_grow_with_every_change() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    let mut versions = Vec::new();
    for cid in ["mic", "cam"] {
        script.ask(&ada, signal_request::Message::AddTrack(track(cid)));
        script.outputs();
        let sid = script.names.track(cid);
        script.bind(&ada, &sid, cid);
        while let Some(output) = script.next() {
            if let Output::Signal {
                message: Message::Update(update),
                ..
            } = output
            {
                versions.push(update.participants[0].version);
            }
        }
    }
    // 1 is joined, 2 is active.
    assert_eq!(versions, [3, 4]);
}

#[test]
fn a_room_tells_its_figures_once_for_a_burst() {
    let mut script = Script::new();
    for identity in ["ada", "bo", "cy"] {
        script.join(request(identity));
    }
    script.pass(Duration::from_millis(499));
    script.expect(&[]);
    script.pass(Duration::from_millis(1));
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(lines, ["ada < room 3/0", "bo < room 3/0", "cy < room 3/0"]);
    script.pass(Duration::from_secs(2));
    script.expect(&[]);
}

#[test]
fn the_same_identity_replaces_its_older_session() {
    let (mut script, [ada, _bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.attempt(request("ada"));
    script.expect(&[
        "ada < leave DISCONNECT DUPLICATE_IDENTITY",
        "ada x somebody else joined with this identity",
        "n1 < remove ada",
        "bo < update ada:disconnected[] DUPLICATE_IDENTITY",
        "ada < join [bo:active[]]",
        "n1 < add ada' Single",
        "bo < update ada':joined[]",
    ]);
}

#[test]
fn hidden_participants_see_but_are_not_seen() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.publish(&ada, "mic");
    let mut join = request("spy");
    join.claims.video.hidden = true;
    script.attempt(join);
    script.expect(&[
        "spy < join [ada:active[mic]]",
        "n1 < add spy Single",
        "n1 < subscribe spy mic",
        "ada < has subscriber mic",
    ]);
    let spy = Peer {
        session: SessionId(2),
        sid: script.sid_of(SessionId(2)),
    };
    script.event(NodeEvent::Connected {
        participant: spy.sid.clone(),
    });
    script.expect(&["spy < update spy:active[]"]);
    script.publish(&spy, "cam");
    script.attempt(request("bo"));
    let lines = script.outputs();
    assert_eq!(lines[0], "bo < join [ada:active[mic]]");
    assert!(!lines.iter().any(|line| line.contains("cam")), "{lines:?}");
    script.core.handle_session_closed(spy.session, script.now);
    script.pass(Duration::from_secs(30));
    let lines = script.outputs();
    assert!(
        lines.iter().all(|line| !line.contains("update")),
        "{lines:?}"
    );
}

#[test]
fn metadata_and_attributes_of_the_request_count_only_if_the_token_allows_it() {
    for (allowed, metadata, attribute) in [(None, "signed", "1"), (Some(true), "mine", "2")] {
        let mut script = Script::new();
        let mut join = request("ada");
        join.claims.metadata = "signed".into();
        join.claims.attributes = BTreeMap::from([("a".into(), "1".into())]);
        join.claims.video.can_update_own_metadata = allowed;
        join.metadata = "mine".into();
        join.attributes = BTreeMap::from([("a".into(), "2".into())]);
        script.attempt(join);
        let me = response(&mut script).participant.unwrap();
        assert_eq!(me.metadata, metadata);
        assert_eq!(me.attributes["a"], attribute);
    }
}

#[test]
fn without_a_node_the_join_is_refused_and_the_room_given_back() {
    let mut script = Script::without_nodes(config());
    assert_eq!(
        script.core.check_join(&room("standup")),
        Err(JoinRefusal::NoNode)
    );
    script.attempt(request("ada"));
    script.expect(&["ada refused: NoNode", "room standup closed"]);
    assert_eq!(JoinRefusal::NoNode.status(), 503);
    assert_eq!(
        JoinRefusal::NoNode.leave().action(),
        lk::leave_request::Action::Reconnect
    );
}

#[test]
fn a_token_without_room_join_or_identity_is_refused_for_good() {
    let mut script = Script::new();
    let mut join = request("ada");
    join.claims.video.room_join = false;
    script.attempt(join);
    script.expect(&["ada refused: NotAllowed", "room standup closed"]);
    let mut join = request("ada");
    join.claims.sub = String::new();
    script.attempt(join);
    script.expect(&[" refused: NotAllowed", "room standup closed"]);
    assert_eq!(JoinRefusal::NotAllowed.status(), 401);
    assert_eq!(
        JoinRefusal::NotAllowed.leave().action(),
        lk::leave_request::Action::Disconnect
    );
}

#[test]
fn a_full_shard_and_a_full_room_refuse_but_nobody_is_kept_from_replacing_itself() {
    let limits = Limits {
        rooms: 1,
        participants_per_room: 1,
        ..Limits::default()
    };
    let mut script = Script::without_nodes(CoreConfig { limits, ..config() });
    script
        .core
        .handle_node_attached(NodeId::new("n1"), 1, None, script.now);
    script.join(request("ada"));

    script.attempt(request("bo"));
    script.expect(&["bo refused: ParticipantLimit"]);
    let mut other = request("cy");
    other.room = room("retro");
    script.attempt(other);
    script.expect(&["cy refused: RoomLimit", "room retro closed"]);
    script.join(request("ada"));
    assert_eq!(script.core.rooms()[0].participants, 1);
}

fn turn_config() -> CoreConfig {
    let secret = proto::turn::TurnSecret::new("a secret").unwrap();
    let lifetime = Duration::from_secs(60);
    CoreConfig {
        turn: Some(TurnIssuing { secret, lifetime }),
        ..config()
    }
}

/// The servers of the join's and the resume's answer.
fn told_servers(script: &mut Script) -> Vec<lk::IceServer> {
    let mut told = Vec::new();
    while let Some(output) = script.next() {
        match output {
            Output::Signal {
                message: lk::signal_response::Message::Join(join),
                ..
            } => told.extend(join.ice_servers),
            Output::Signal {
                message: lk::signal_response::Message::Reconnect(reconnect),
                ..
            } => told.extend(reconnect.ice_servers),
            _ => {}
        }
    }
    told
}

#[test]
fn who_joins_and_who_resumes_is_told_of_the_nodes_turn_server_with_fresh_credentials() {
    for mode in [PeerMode::Single, PeerMode::Dual] {
        let mut script = Script::without_nodes(turn_config());
        let node = NodeId::new("n1");
        script
            .core
            .handle_node_attached(node.clone(), 1, None, script.now);
        let urls = vec!["turn:a:3478?transport=udp".to_owned()];
        script.core.handle_turn_offer(node, TurnOffer { urls });
        let session = script.attempt(Join {
            mode,
            ..request("ada")
        });
        let joined = told_servers(&mut script);
        let ada = script.sid_of(session);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].urls, ["turn:a:3478?transport=udp"]);
        assert_eq!(joined[0].username, format!("1060:{}", ada.as_str()));
        if mode == PeerMode::Dual {
            // It joins again instead of resuming.
            continue;
        }

        script.event(NodeEvent::Connected {
            participant: ada.clone(),
        });
        script.core.handle_session_closed(session, script.now);
        script.pass(Duration::from_secs(2));
        let resume = Resume {
            participant: ada.clone(),
            reason: 1,
            sync_state: None,
        };
        script.attempt(Join {
            mode,
            resume: Some(resume),
            ..request("ada")
        });
        script.event(NodeEvent::ResumeReady {
            participant: ada.clone(),
            last_data_sequence: 0,
        });
        let resumed = told_servers(&mut script);
        assert_eq!(resumed.len(), 1);
        assert_eq!(resumed[0].username, format!("1062:{}", ada.as_str()));
        assert_ne!(resumed[0].credential, joined[0].credential);
    }
}

#[test]
fn rooms_go_to_the_node_with_the_fewest_participants_and_stay_there() {
    let mut script = Script::new();
    script
        .core
        .handle_node_attached(NodeId::new("n2"), 1, None, script.now);
    for (identity, name) in [("ada", "a"), ("bo", "a"), ("cy", "b"), ("di", "c")] {
        let mut join = request(identity);
        join.room = room(name);
        script.join(join);
    }
    let rooms = script.core.rooms();
    let nodes: Vec<_> = rooms.iter().map(|room| room.node.as_str()).collect();
    assert_eq!(nodes, ["n1", "n2", "n2"]);
}

#[test]
fn a_participant_that_never_connects_is_removed() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    script.join(request("bo"));
    script.pass(Duration::from_millis(59_999));
    script.outputs();
    script.pass(Duration::from_millis(1));
    script.expect(&[
        "bo < leave DISCONNECT JOIN_FAILURE",
        "bo x no media connection in time",
        "n1 < remove bo",
        "ada < update bo:disconnected[] JOIN_FAILURE",
    ]);
}

#[test]
fn tokens_are_refreshed_as_long_as_the_client_listens() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.pass(Duration::from_secs(299));
    script.expect(&["mint for ada"]);
    script.pass(Duration::from_secs(299));
    script.expect(&[]);
    script.pass(Duration::from_secs(1));
    script.expect(&["mint for ada"]);
    script.core.handle_session_closed(ada.session, script.now);
    script.pass(Duration::from_secs(29));
    script.expect(&[]);
}

#[test]
fn in_a_large_room_those_who_only_watch_are_announced_together() {
    let (mut script, [_ada]) = Script::meeting(["ada"]);
    let enter = |script: &mut Script, identity: &str| {
        let peer = script.join(request(identity));
        let participant = peer.sid.clone();
        script.event(NodeEvent::Connected { participant });
        peer
    };
    for number in 0..60 {
        enter(&mut script, &format!("p{number}"));
    }
    script.pass(Duration::from_secs(2));
    script.outputs();
    let to = |name: &str, lines: &[String]| -> Vec<String> {
        let start = format!("{name} < update");
        let lines = lines.iter().filter(|line| line.starts_with(&start));
        lines.cloned().collect()
    };
    for identity in ["cy", "dan"] {
        enter(&mut script, identity);
    }
    let eve = enter(&mut script, "eve");
    let fay = enter(&mut script, "fay");
    assert!(to("ada", &script.outputs()).is_empty());
    script.core.handle_session_closed(fay.session, script.now);
    script.ask(
        &fay,
        signal_request::Message::Leave(lk::LeaveRequest::default()),
    );
    // What is sent does not wait.
    script.ask(&eve, signal_request::Message::AddTrack(track("cam")));
    script.outputs();
    let cam = script.names.track("cam");
    script.bind(&eve, &cam, "cam");
    let told = to("ada", &script.outputs());
    assert!(
        told.iter().any(|line| line.contains("eve:active[cam]")),
        "{told:?}"
    );
    script.pass(Duration::from_millis(100));
    let lines = script.outputs();
    let names = |who: &str| {
        let told = to(who, &lines);
        assert_eq!(told.len(), 1, "{told:?}");
        ["cy:", "dan:", "eve:", "ada:"].map(|name| told[0].contains(name))
    };
    assert_eq!(names("ada"), [true, true, false, false]);
    assert_eq!(names("cy"), [false, true, false, false], "it knows itself");
}
