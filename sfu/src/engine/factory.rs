//! Everything about a command that is too slow for the media thread: parsing SDP (1 to 7 ms) and
//! building transports (1 ms each). Holds no participant state.

use super::census::QUALITY_EVERY;
use super::config::{EngineConfig, LocalCandidate, Transport};
use super::dependency;
use super::guard::guard_any;
use super::sdp::{self, OfferedSection, SdpProblem};
use super::tap;
use proto::media::{NodeCommand, PeerMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::config::CryptoProvider;
use str0m::net::TcpType;
use str0m::{Candidate, IceCreds, Rtc};

/// Bytes that a data channel buffers towards its peer before writes are refused.
const DATA_BUFFER: usize = 1024 * 1024;
/// Characters of a random ICE password: 24 of 64 symbols, 144 bits (RFC 8445 wants 128).
const PASSWORD_CHARS: usize = 24;
/// Random characters of a ufrag behind the worker: 72 bits, so that none is ever met twice.
const UFRAG_CHARS: usize = 12;
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Prepares commands off the media thread. Cheap to clone.
#[derive(Clone)]
pub struct TransportFactory {
    shared: Arc<Shared>,
}

struct Shared {
    candidates: Vec<LocalCandidate>,
    worker: u16,
    crypto: Arc<CryptoProvider>,
    random: Mutex<StdRng>,
}

/// A [`NodeCommand`] with its SDP parsed and its transports built, or what was wrong with it.
pub struct Prepared {
    pub(super) step: Step,
}

#[cfg(test)]
impl Prepared {
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self.step, Step::Plain(NodeCommand::Owned { .. }))
    }
}

/// An offer ready for a transport.
pub(super) struct ParsedOffer {
    pub(super) offer: SdpOffer,
    pub(super) sections: Vec<OfferedSection>,
    /// The client leaves the DTLS roles to us, as it should (RFC 8842 section 5.2).
    pub(super) leaves_role: bool,
}

/// What a command needs besides itself.
pub(super) enum Step {
    /// Nothing.
    Plain(NodeCommand),
    /// `AddParticipant` with its transports.
    Add {
        command: proto::media::NewParticipant,
        publisher: Option<Box<Rtc>>,
        subscriber: Option<Box<Rtc>>,
    },
    /// `Offer`, parsed; with the fresh transport of a resume.
    Offer {
        participant: proto::id::ParticipantSid,
        offer_id: u32,
        parsed: Result<ParsedOffer, SdpProblem>,
        resume: Option<Vec<proto::media::OpenChannel>>,
        fresh: Option<Box<Rtc>>,
        credentials: IceCreds,
    },
    /// `Answer`, parsed.
    Answer {
        participant: proto::id::ParticipantSid,
        offer_id: u32,
        parsed: Result<SdpAnswer, SdpProblem>,
    },
}

impl TransportFactory {
    /// A factory for the engine with the same configuration.
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                candidates: config.candidates.clone(),
                worker: config.worker,
                crypto: Arc::new(tap::crypto()),
                random: Mutex::new(StdRng::seed_from_u64(config.seed)),
            }),
        }
    }

    /// Parses and builds. Takes milliseconds: call it on the link's task, never on the media thread.
    pub fn prepare(&self, command: NodeCommand, now: Instant) -> Prepared {
        let step = match command {
            NodeCommand::AddParticipant(command) => {
                let dual = command.mode == PeerMode::Dual;
                Step::Add {
                    publisher: self.build(now),
                    subscriber: dual.then(|| self.build(now)).flatten(),
                    command,
                }
            }
            NodeCommand::Offer {
                participant,
                offer_id,
                sdp,
                resume,
            } => Step::Offer {
                participant,
                offer_id,
                parsed: parse_offer(&sdp),
                fresh: resume.is_some().then(|| self.build(now)).flatten(),
                resume,
                credentials: self.credentials(),
            },
            NodeCommand::Answer {
                participant,
                offer_id,
                sdp,
            } => Step::Answer {
                participant,
                offer_id,
                parsed: parse_answer(&sdp),
            },
            command => Step::Plain(command),
        };
        Prepared { step }
    }

    /// A transport with a certificate of its own: a resuming client refuses one it has seen.
    fn build(&self, now: Instant) -> Option<Box<Rtc>> {
        let credentials = self.credentials();
        let crypto = Arc::clone(&self.shared.crypto);
        let mut rtc = guard_any(|| {
            Box::new(
                Rtc::builder()
                    .set_crypto_provider(crypto)
                    .set_local_ice_credentials(credentials)
                    .set_rtp_mode(true)
                    .set_ice_lite(true)
                    .clear_codecs()
                    // RED is left out of the answer: forwarding it needs every receiver to take it.
                    .enable_opus(true, false)
                    .enable_vp8(true)
                    .enable_h264(true)
                    .enable_vp9(true)
                    .enable_av1(true)
                    // Without it receivers cannot follow AV1's layers.
                    .set_extension(dependency::ID, dependency::extension())
                    .set_sctp_max_buffered_amount(DATA_BUFFER)
                    .set_stats_interval(Some(QUALITY_EVERY))
                    .build(now),
            )
        })
        .ok()?;
        for candidate in self.shared.candidates.iter().filter_map(host_candidate) {
            rtc.add_local_candidate(candidate);
        }
        Some(rtc)
    }

    fn credentials(&self) -> IceCreds {
        // The generator has no invariant that a panic elsewhere could have broken.
        let mut random = self
            .shared
            .random
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let worker = self.shared.worker;
        IceCreds {
            ufrag: format!("{worker:04x}{}", ice_chars(&mut *random, UFRAG_CHARS)),
            pass: ice_chars(&mut *random, PASSWORD_CHARS),
        }
    }
}

fn ice_chars(random: &mut impl Rng, count: usize) -> String {
    (0..count)
        .map(|_| char::from(*ICE_CHARS.get(random.random_range(0..64)).unwrap_or(&b'A')))
        .collect()
}

fn host_candidate(candidate: &LocalCandidate) -> Option<Candidate> {
    match candidate.proto {
        Transport::Udp => Candidate::host(candidate.address, "udp").ok(),
        Transport::Tcp => Candidate::builder()
            .tcp()
            .host(candidate.address)
            .tcptype(TcpType::Passive)
            .build()
            .ok(),
    }
}

fn parse_offer(sdp: &str) -> Result<ParsedOffer, SdpProblem> {
    let sections = sdp::read_offer(sdp)?;
    let sdp = dependency::if_mixed(&sdp::without_candidates(sdp));
    let offer = parse(|| SdpOffer::from_sdp_string(&sdp))?;
    let leaves_role = sdp.lines().any(|line| line == "a=setup:actpass");
    Ok(ParsedOffer {
        offer,
        sections,
        leaves_role,
    })
}

fn parse_answer(sdp: &str) -> Result<SdpAnswer, SdpProblem> {
    sdp::check(sdp)?;
    let sdp = dependency::if_mixed(&sdp::without_candidates(sdp));
    parse(|| SdpAnswer::from_sdp_string(&sdp))
}

fn parse<T>(parser: impl FnOnce() -> Result<T, str0m::error::SdpError>) -> Result<T, SdpProblem> {
    guard_any(parser)
        .map_err(|fault| SdpProblem::Unparsable(fault.to_string()))?
        .map_err(|error| SdpProblem::Unparsable(without_addresses(&error.to_string())))
}

/// The parser says where it stopped by a heap address, which is nobody's business.
fn without_addresses(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("PointerOffset"))
        .collect();
    lines.join("; ")
}
