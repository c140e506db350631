//! Doors for the fuzz targets into parsers that are private. No stable interface.

use crate::core::{LateSignal, Resume, RoomState};
use crate::http::{JoinParams, Query};
use crate::peers::PeerRequest;
use crate::session;
use crate::whip::{Flow, Fragment, Offer};
use bytes::Bytes;
use livekit_protocol::{AddTrackRequest, SessionDescription, SignalRequest};
use proto::media::PeerMode;
use std::collections::BTreeMap;

/// What a client asks for when it joins.
#[derive(Debug)]
pub struct JoinParameters {
    /// The session it wants back.
    pub resume: Option<Resume>,
    /// Its offer.
    pub offer: Option<SessionDescription>,
    /// Tracks announced with the join.
    pub add_tracks: Vec<AddTrackRequest>,
    /// Text of the application.
    pub metadata: String,
    /// Pairs of the application.
    pub attributes: BTreeMap<String, String>,
}

/// Reads the query of a join request.
///
/// # Errors
/// Status and cause.
pub fn join_parameters(mode: PeerMode, query: &str) -> Result<JoinParameters, (u16, String)> {
    let read = Query::parse(query).and_then(|query| JoinParams::parse(mode, &query));
    match read {
        Ok(params) => Ok(JoinParameters {
            resume: params.resume,
            offer: params.offer,
            add_tracks: params.add_tracks,
            metadata: params.metadata,
            attributes: params.attributes,
        }),
        Err(refusal) => Err((refusal.status.as_u16(), refusal.text)),
    }
}

/// The access token that a shard reads out of a query. `None`: the query is refused.
pub fn token_of_query(query: &str) -> Option<String> {
    Query::parse(query)
        .ok()
        .map(|query| query.text("access_token"))
}

/// A binary signalling message.
///
/// # Errors
/// Why it cannot be read.
pub fn signal_binary(frame: &[u8]) -> Result<SignalRequest, String> {
    session::read_binary(Bytes::copy_from_slice(frame)).map_err(|error| error.to_string())
}

/// A text signalling message.
///
/// # Errors
/// Why it cannot be read.
pub fn signal_text(frame: &str) -> Result<SignalRequest, String> {
    session::read_text(frame).map_err(|error| error.to_string())
}

/// What another shard wants, as far as it reaches the core.
#[derive(Debug)]
pub enum PeerMessage {
    /// It hands a room over.
    Room(Box<RoomState>),
    /// What its clients said meanwhile.
    Late(Vec<LateSignal>),
    /// Nothing of that kind.
    Other,
}

/// Reads what another shard says.
///
/// # Errors
/// Why it cannot be read.
pub fn peer_message(body: &[u8]) -> Result<PeerMessage, String> {
    let request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(match request {
        PeerRequest::Offer { state, .. } => {
            let state = RoomState::from_json(state.as_bytes());
            PeerMessage::Room(Box::new(state.map_err(|error| error.to_string())?))
        }
        PeerRequest::Commit { late, .. } => PeerMessage::Late(late),
        PeerRequest::Keep(_)
        | PeerRequest::Withdraw { .. }
        | PeerRequest::Pull { .. }
        | PeerRequest::HungUp { .. } => PeerMessage::Other,
    })
}

/// An offer of a room, as shards send it.
pub fn offer_of(state: &RoomState) -> Option<Vec<u8>> {
    let state = String::from_utf8(state.to_json().ok()?).ok()?;
    let epoch = affinity::directory::Epoch(1);
    serde_json::to_vec(&PeerRequest::Offer { epoch, state }).ok()
}

/// What a node gets of a WHIP (`publish`) or WHEP offer, and the tracks in it.
///
/// # Errors
/// Why it is of no use.
pub fn resource_offer(publish: bool, text: &str) -> Result<(String, Vec<AddTrackRequest>), String> {
    let flow = if publish { Flow::Publish } else { Flow::Watch };
    let offer = Offer::parse(flow, text).map_err(|problem| problem.to_string())?;
    Ok((offer.sdp, offer.tracks))
}

/// An ICE fragment as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct IceFragment {
    /// `a=ice-ufrag`.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`.
    pub password: Option<String>,
    /// How many.
    pub candidates: usize,
}

/// Reads an ICE fragment.
///
/// # Errors
/// Why it is none.
pub fn ice_fragment(text: &str) -> Result<IceFragment, String> {
    let fragment = Fragment::parse(text).map_err(|problem| problem.to_string())?;
    Ok(IceFragment {
        ufrag: fragment.ufrag,
        password: fragment.password,
        candidates: fragment.candidates,
    })
}
