//! Takes aside the SRTP keys that a DTLS handshake makes, so that the engine can send by itself.
//!
//! str0m lets its DTLS be replaced; this one is str0m's own, and only listened to. The keys of a
//! handshake come out while its transport is drained, on that thread: [`take`] right after that call has
//! the keys of that transport, and of no other.

use downlink::{Keys, Profile, Side};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Instant;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile,
};

thread_local! {
    static FOUND: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// The keys that were made on this thread since the last call.
pub(super) fn take() -> Option<Keys> {
    FOUND.take()
}

/// str0m's cryptography, listened to.
pub(super) fn crypto() -> CryptoProvider {
    static TAP: OnceLock<Tap> = OnceLock::new();
    let crypto = str0m::crypto::from_feature_flags();
    let tap = TAP.get_or_init(|| Tap {
        inner: crypto.dtls_provider,
    });
    CryptoProvider {
        dtls_provider: tap,
        ..crypto
    }
}

#[derive(Debug)]
struct Tap {
    inner: &'static dyn DtlsProvider,
}

impl DtlsProvider for Tap {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.inner.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = self.inner.new_dtls(cert, now, version, mtu)?;
        Ok(Box::new(Tapped { inner }))
    }

    fn is_test(&self) -> bool {
        self.inner.is_test()
    }
}

#[derive(Debug)]
struct Tapped {
    inner: Box<dyn DtlsInstance>,
}

impl DtlsInstance for Tapped {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buffer);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let side = if self.inner.is_active() {
                Side::Client
            } else {
                Side::Server
            };
            let keys = profile_of(*profile).map(|known| Keys::new(known, material.as_ref(), side));
            match keys {
                Some(Ok(keys)) => FOUND.set(Some(keys)),
                _ => tracing::warn!(%profile, "no media can be sent: unknown SRTP profile"),
            }
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::Aes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::Aes256Gcm),
        _ => None,
    }
}
