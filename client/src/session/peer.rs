//! One peer connection: str0m behind an unwind boundary, with its deadline.
//!
//! A panic inside str0m, which a server's descriptions or packets might cause, ends this connection
//! and not the process with its thousands of clients.

use super::SessionError;
use crate::options::{Fidelity, SessionOptions};
use crate::track::Codec;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Input, Output, Rtc, RtcError};

/// Timeouts of the past that are worked off at once. str0m needs one or two; beyond: a bug must not
/// become a busy loop.
const CATCH_UP_MAX: u32 = 32;
/// The pause then.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(5);
/// Candidates that wait for the server's credentials. Beyond: ignored.
const EARLY_CANDIDATES_MAX: usize = 64;
/// Bytes that a data channel buffers towards the server before writes are refused.
const DATA_BUFFER_BYTES: usize = 1024 * 1024;

pub(super) struct Peer {
    rtc: Rtc,
    local: SocketAddr,
    deadline: Instant,
    /// What broke; the connection is not touched any more.
    broken: Option<String>,
    /// The server has described itself.
    described: bool,
    early: Vec<Candidate>,
    /// ICE has found a way to the server, or lost it; `None`: it never had one.
    pub(super) reachable: Option<bool>,
    /// ICE looks for a way.
    pub(super) checks: bool,
    certificate: DtlsCert,
    /// Of the server's certificate, as its description has it.
    fingerprint: String,
}

impl Peer {
    pub(super) fn new(
        options: &SessionOptions,
        local: SocketAddr,
        now: Instant,
    ) -> Result<Self, SessionError> {
        let certificate = crypto().dtls_provider.generate_certificate();
        let certificate =
            certificate.ok_or_else(|| SessionError::Peer("no certificate".to_owned()))?;
        Self::with_certificate(options, local, certificate, now)
    }

    /// With the certificate of the connection whose place it takes.
    pub(super) fn with_certificate(
        options: &SessionOptions,
        local: SocketAddr,
        certificate: DtlsCert,
        now: Instant,
    ) -> Result<Self, SessionError> {
        let candidate = Candidate::host(local, "udp")
            .map_err(|error| SessionError::Peer(format!("address {local}: {error}")))?;
        let build = || build(options, certificate.clone(), now);
        let mut rtc = catch_unwind(AssertUnwindSafe(build))
            .map_err(|_| SessionError::Peer("str0m panicked".to_owned()))?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            local,
            deadline: now,
            broken: None,
            described: false,
            early: Vec::new(),
            reachable: None,
            checks: false,
            certificate,
            fingerprint: String::new(),
        })
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Does something with str0m. `Err` has what is wrong, and after a panic the connection is over.
    pub(super) fn call<T>(
        &mut self,
        action: impl FnOnce(&mut Rtc) -> Result<T, String>,
    ) -> Result<T, String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let rtc = &mut self.rtc;
        catch_unwind(AssertUnwindSafe(|| action(rtc))).unwrap_or_else(|_| {
            let broken = "str0m panicked".to_owned();
            self.deadline = far(self.deadline);
            self.broken = Some(broken.clone());
            Err(broken)
        })
    }

    /// Takes a datagram; what is not meant for this connection is dropped.
    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<(), String> {
        let local = self.local;
        self.call(|rtc| {
            // Whatever cannot be parsed was not sent by a server of ours.
            let Ok(receive) = Receive::new(Protocol::Udp, from, local, datagram) else {
                return Ok(());
            };
            let input = Input::Receive(now, receive);
            if rtc.accepts(&input) {
                rtc.handle_input(input).map_err(text)?;
            }
            Ok(())
        })
    }

    /// The next thing that is to be done now; `None`: wait until [`Peer::deadline`].
    pub(super) fn step(&mut self, now: Instant) -> Result<Option<Output>, String> {
        let (next, output) = self.call(|rtc| {
            for _ in 0..CATCH_UP_MAX {
                match rtc.poll_output().map_err(text)? {
                    Output::Timeout(at) if at > now || !rtc.is_alive() => return Ok((at, None)),
                    Output::Timeout(_) => rtc.handle_input(Input::Timeout(now)).map_err(text)?,
                    output => return Ok((now, Some(output))),
                }
            }
            Ok((now + CATCH_UP_PAUSE, None))
        })?;
        if output.is_none() {
            self.deadline = next;
        }
        Ok(output)
    }

    /// Starts what a description wound up.
    pub(super) fn kick(&mut self, now: Instant) -> Result<(), String> {
        self.call(|rtc| rtc.handle_input(Input::Timeout(now)).map_err(text))
    }

    pub(super) fn certificate(&self) -> &DtlsCert {
        &self.certificate
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The server has described itself.
    pub(super) fn is_described(&self) -> bool {
        self.described
    }

    /// The server presents itself with another certificate than before.
    pub(super) fn is_stranger(&self, fingerprint: &str) -> bool {
        self.described && self.fingerprint != fingerprint
    }

    /// The server's credentials are known: candidates that came before count now.
    pub(super) fn handle_described(&mut self, fingerprint: &str) {
        self.described = true;
        fingerprint.clone_into(&mut self.fingerprint);
        for candidate in std::mem::take(&mut self.early) {
            self.add_candidate(candidate);
        }
    }

    /// An address of the server's (RFC 8838).
    pub(super) fn add_candidate(&mut self, candidate: Candidate) {
        if self.described {
            let _ = self.call(|rtc| {
                rtc.add_remote_candidate(candidate);
                Ok(())
            });
        } else if self.early.len() < EARLY_CANDIDATES_MAX {
            self.early.push(candidate);
        }
    }

    /// Says goodbye to the server.
    pub(super) fn close(&mut self) {
        let _ = self.call(|rtc| rtc.close().map_err(text));
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "for `map_err`, which hands errors over"
)]
pub(super) fn text(error: RtcError) -> String {
    error.to_string()
}

/// A deadline that never comes.
fn far(from: Instant) -> Instant {
    from + Duration::from_secs(365 * 24 * 3600)
}

fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(CRYPTO.get_or_init(|| Arc::new(str0m::crypto::from_feature_flags())))
}

fn build(options: &SessionOptions, certificate: DtlsCert, now: Instant) -> Rtc {
    let mut config = Rtc::builder()
        .set_crypto_provider(crypto())
        .set_dtls_cert(certificate)
        .set_rtp_mode(true)
        .set_sctp_max_buffered_amount(DATA_BUFFER_BYTES)
        .set_extension_map(extensions(options.fidelity))
        .clear_codecs()
        .enable_opus(true, false);
    for codec in &options.video_codecs {
        config = match codec {
            Codec::Vp8 => config.enable_vp8(true),
            Codec::H264 => config.enable_h264(true),
            Codec::Vp9 => config.enable_vp9(true),
            Codec::Opus => config,
        };
    }
    config.build(now)
}

/// As browsers number them, because a server may take ids as they come.
fn extensions(fidelity: Fidelity) -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    if fidelity == Fidelity::Full {
        map.set(3, Extension::TransportSequenceNumber);
    }
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(13, Extension::VideoOrientation);
    map
}
