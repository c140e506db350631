//! SRTP and SRTCP of one connection (RFC 3711; with AES-GCM: RFC 7714).
//!
//! Packets are sealed where they lie. The caller never seals two packets of one source under the same
//! index: the ciphers fall with that.

use crate::keys::{Master, Profile, Side};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use std::fmt;

pub(crate) const LABEL_KEY: u8 = 0;
pub(crate) const LABEL_AUTH: u8 = 1;
pub(crate) const LABEL_SALT: u8 = 2;
/// Those of SRTCP come behind those of SRTP.
const LABELS_OF_RTCP: u8 = 3;

const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;
/// Bytes of a control packet that are never encrypted.
const RTCP_HEAD: usize = 8;
/// At the end of a control packet: whether it is encrypted, and its number.
const RTCP_INDEX: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// Of a packet's index the ciphers see so many bits.
const INDEX_MASK: u64 = (1 << 48) - 1;

/// The handshake gave no usable keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysError;

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the keying material does not fit its SRTP profile")
    }
}

impl std::error::Error for KeysError {}

/// The keys of one connection: ours to send, the peer's to read what it says of what we sent.
pub struct Keys {
    rtp: Cipher,
    rtcp: Cipher,
    peer_rtcp: Cipher,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what is in them.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Keys from what the handshake exported (RFC 5764 section 4.2).
    ///
    /// # Errors
    /// It is too short for the profile.
    pub fn new(profile: Profile, material: &[u8], side: Side) -> Result<Self, KeysError> {
        let peer = match side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        let ours = Master::of(profile, material, side).ok_or(KeysError)?;
        let theirs = Master::of(profile, material, peer).ok_or(KeysError)?;
        Ok(Self {
            rtp: Cipher::new(profile, &ours, 0).ok_or(KeysError)?,
            rtcp: Cipher::new(profile, &ours, LABELS_OF_RTCP).ok_or(KeysError)?,
            peer_rtcp: Cipher::new(profile, &theirs, LABELS_OF_RTCP).ok_or(KeysError)?,
        })
    }

    /// Seals the packet that begins at `start`: what is behind its `head` bytes of header is encrypted,
    /// a tag comes behind it. `index`: the sequence number, continued beyond 16 bits. False: nothing
    /// usable was written.
    pub fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        head: usize,
        ssrc: u32,
        index: u64,
    ) -> bool {
        self.rtp
            .seal_rtp(packet, start, head, ssrc, index)
            .is_some()
    }

    /// Reads a control packet of the peer's into `plain`. False: it is not the peer's.
    pub fn open_peer_rtcp(&self, packet: &[u8], plain: &mut Vec<u8>) -> bool {
        self.peer_rtcp.open_rtcp(packet, plain).is_some()
    }

    /// Reads one of ours into `plain`, and says its number: whoever sends another one under this number
    /// must never send the first.
    pub fn open_own_rtcp(&self, packet: &[u8], plain: &mut Vec<u8>) -> Option<u32> {
        self.rtcp.open_rtcp(packet, plain)
    }

    /// Seals a control packet of ours. False: nothing usable was written.
    pub fn seal_rtcp(&self, packet: &mut Vec<u8>, index: u32) -> bool {
        self.rtcp.seal_rtcp(packet, index).is_some()
    }
}

enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Rare and large: it must not make the others large.
    CmSha1(Box<CmSha1>),
}

struct CmSha1 {
    key: EncryptingKey,
    auth: hmac::Key,
    salt: [u8; 14],
}

impl Cipher {
    fn new(profile: Profile, master: &Master<'_>, labels: u8) -> Option<Self> {
        let label = |which: u8| labels + which;
        Some(match profile {
            Profile::Aes128CmSha1 => {
                let key = master.derive::<16>(label(LABEL_KEY))?;
                let key = UnboundCipherKey::new(&AES_128, &key).ok()?;
                let auth = master.derive::<20>(label(LABEL_AUTH))?;
                Self::CmSha1(Box::new(CmSha1 {
                    key: EncryptingKey::ctr(key).ok()?,
                    auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth),
                    salt: master.derive(label(LABEL_SALT))?,
                }))
            }
            Profile::Aes128Gcm => {
                let key = master.derive::<16>(label(LABEL_KEY))?;
                Self::gcm(UnboundKey::new(&AES_128_GCM, &key).ok()?, master, labels)?
            }
            Profile::Aes256Gcm => {
                let key = master.derive::<32>(label(LABEL_KEY))?;
                Self::gcm(UnboundKey::new(&AES_256_GCM, &key).ok()?, master, labels)?
            }
        })
    }

    fn gcm(key: UnboundKey, master: &Master<'_>, labels: u8) -> Option<Self> {
        Some(Self::Gcm {
            key: LessSafeKey::new(key),
            salt: master.derive(labels + LABEL_SALT)?,
        })
    }

    fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        head: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<()> {
        let (header, body) = packet.get_mut(start..)?.split_at_mut_checked(head)?;
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce_rtp(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), body);
                packet.extend_from_slice(tag.ok()?.as_ref());
            }
            Self::CmSha1(cipher) => {
                let CmSha1 { key, auth, salt } = cipher.as_ref();
                let counter = cm_counter(salt, ssrc, index);
                key.less_safe_encrypt(body, counter).ok()?;
                let [_, _, rollover @ .., _, _] = index.to_be_bytes();
                let mut mac = hmac::Context::with_key(auth);
                mac.update(packet.get(start..)?);
                mac.update(&rollover);
                packet.extend_from_slice(mac.sign().as_ref().get(..SHA1_TAG)?);
            }
        }
        Some(())
    }

    fn seal_rtcp(&self, packet: &mut Vec<u8>, index: u32) -> Option<()> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let ssrc = ssrc_of(packet)?;
        let (header, body) = packet.split_at_mut_checked(RTCP_HEAD)?;
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce_rtcp(salt, ssrc, index);
                let aad = gcm_aad_rtcp(header, trailer)?;
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
                packet.extend_from_slice(tag.ok()?.as_ref());
                packet.extend_from_slice(&trailer);
            }
            Self::CmSha1(cipher) => {
                let CmSha1 { key, auth, salt } = cipher.as_ref();
                let counter = cm_counter(salt, ssrc, u64::from(index));
                key.less_safe_encrypt(body, counter).ok()?;
                packet.extend_from_slice(&trailer);
                let tag = hmac::sign(auth, packet);
                packet.extend_from_slice(tag.as_ref().get(..SHA1_TAG)?);
            }
        }
        Some(())
    }

    /// The number of the packet. What is not encrypted is not taken: no client of ours sends it so.
    fn open_rtcp(&self, packet: &[u8], plain: &mut Vec<u8>) -> Option<u32> {
        plain.clear();
        let ssrc = ssrc_of(packet)?;
        match self {
            Self::Gcm { key, salt } => {
                let (sealed, trailer) = packet.split_last_chunk::<RTCP_INDEX>()?;
                let index = encrypted_index(*trailer)?;
                let (header, body) = sealed.split_at_checked(RTCP_HEAD)?;
                plain.extend_from_slice(sealed);
                let nonce = gcm_nonce_rtcp(salt, ssrc, index);
                let aad = Aad::from(gcm_aad_rtcp(header, *trailer)?);
                let length = body.len().checked_sub(GCM_TAG)?;
                key.open_in_place(nonce, aad, plain.get_mut(RTCP_HEAD..)?)
                    .ok()?;
                plain.truncate(RTCP_HEAD + length);
                Some(index)
            }
            Self::CmSha1(cipher) => {
                let CmSha1 { key, auth, salt } = cipher.as_ref();
                let (signed, tag) = packet.split_last_chunk::<SHA1_TAG>()?;
                let expected = hmac::sign(auth, signed);
                verify_slices_are_equal(tag, expected.as_ref().get(..SHA1_TAG)?).ok()?;
                let (sealed, trailer) = signed.split_last_chunk::<RTCP_INDEX>()?;
                let index = encrypted_index(*trailer)?;
                plain.extend_from_slice(sealed);
                let counter = cm_counter(salt, ssrc, u64::from(index));
                key.less_safe_encrypt(plain.get_mut(RTCP_HEAD..)?, counter)
                    .ok()?;
                Some(index)
            }
        }
    }
}

fn ssrc_of(rtcp: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*rtcp.get(4..)?.first_chunk()?))
}

fn encrypted_index(trailer: [u8; RTCP_INDEX]) -> Option<u32> {
    let trailer = u32::from_be_bytes(trailer);
    (trailer & ENCRYPTED != 0).then_some(trailer & !ENCRYPTED)
}

/// RFC 7714 section 8.1: two zero bytes, the source, the index in 48 bits.
fn gcm_nonce_rtp(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    gcm_nonce(salt, ssrc, index & INDEX_MASK)
}

/// RFC 7714 section 9.1: the same, of the index there are 31 bits.
fn gcm_nonce_rtcp(salt: &[u8; 12], ssrc: u32, index: u32) -> Nonce {
    gcm_nonce(salt, ssrc, u64::from(index))
}

fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut wide = [0; 16];
    let (_, low) = wide.split_at_mut(4);
    low.copy_from_slice(salt);
    let mixed = u128::from_be_bytes(wide) ^ (u128::from(ssrc) << 48) ^ u128::from(index);
    let [_, _, _, _, nonce @ ..] = mixed.to_be_bytes();
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 section 9.2.
fn gcm_aad_rtcp(header: &[u8], trailer: [u8; RTCP_INDEX]) -> Option<[u8; RTCP_HEAD + RTCP_INDEX]> {
    let mut aad = [0; RTCP_HEAD + RTCP_INDEX];
    let (front, back) = aad.split_first_chunk_mut::<RTCP_HEAD>()?;
    *front = *header.first_chunk()?;
    back.copy_from_slice(&trailer);
    Some(aad)
}

/// RFC 3711 section 4.1.1.
fn cm_counter(salt: &[u8; 14], ssrc: u32, index: u64) -> EncryptionContext {
    let mut wide = [0; 16];
    let (high, _) = wide.split_at_mut(14);
    high.copy_from_slice(salt);
    let index = u128::from(index & INDEX_MASK);
    let counter = u128::from_be_bytes(wide) ^ (u128::from(ssrc) << 64) ^ (index << 16);
    EncryptionContext::Iv128(FixedLength::from(counter.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 3] = [
        Profile::Aes128CmSha1,
        Profile::Aes128Gcm,
        Profile::Aes256Gcm,
    ];

    fn ends(profile: Profile) -> (Keys, Keys) {
        let material: Vec<u8> = (0..100).collect();
        let material = &material[..profile.material_bytes()];
        let keys = |side| Keys::new(profile, material, side).unwrap();
        (keys(Side::Server), keys(Side::Client))
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|two| pair(two).unwrap()).collect()
    }

    fn gcm_of_the_rfc(algorithm: &'static aws_lc_rs::aead::Algorithm, key: &[u8]) -> Cipher {
        Cipher::Gcm {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap()),
            salt: bytes("517569642070726f2071756f").try_into().unwrap(),
        }
    }

    const GALLIA: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573";

    #[test]
    fn packets_are_sealed_as_in_rfc_7714_section_16() {
        let key: Vec<u8> = (0..32).collect();
        let seal = |cipher: &Cipher| {
            let mut packet = bytes(GALLIA);
            cipher
                .seal_rtp(&mut packet, 0, 12, 0x5501_a0b2, 0xf17b)
                .unwrap();
            packet
        };
        let cipher = gcm_of_the_rfc(&AES_128_GCM, &key[..16]);
        let expected = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
            0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
        assert_eq!(seal(&cipher), bytes(expected));
        let cipher = gcm_of_the_rfc(&AES_256_GCM, &key);
        let expected = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
            9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
        assert_eq!(seal(&cipher), bytes(expected));
    }

    #[test]
    fn counter_mode_begins_as_in_rfc_3711_appendix_b_2() {
        let key = bytes("2B7E151628AED2A6ABF7158809CF4F3C");
        let salt = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let key = UnboundCipherKey::new(&AES_128, &key).unwrap();
        let key = EncryptingKey::ctr(key).unwrap();
        let stream = |ssrc, index, salt: &[u8; 14]| {
            let mut stream = [0; 32];
            let counter = cm_counter(salt, ssrc, index);
            key.less_safe_encrypt(&mut stream, counter).unwrap();
            stream.to_vec()
        };
        let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB";
        assert_eq!(stream(0, 0, &salt), bytes(expected));
        // Source and index lie where the salt has these bytes.
        let moved = bytes("F0F1F2F3 F5F7F5F3 F8F9FAFBFCFD").try_into().unwrap();
        assert_eq!(stream(0x0102_0304, 0, &moved), stream(0, 0, &salt));
        let moved = bytes("F0F1F2F3F4F5F6F7 F9FBF9FFF9FB").try_into().unwrap();
        assert_eq!(stream(0, 0x0102_0304_0506, &moved), stream(0, 0, &salt));
    }

    #[test]
    fn what_lies_before_a_packet_is_left_alone() {
        for profile in PROFILES {
            let (ours, _) = ends(profile);
            let mut alone = bytes(GALLIA);
            assert!(ours.seal_rtp(&mut alone, 0, 12, 7, 70_000));
            let mut behind = b"before".to_vec();
            behind.extend_from_slice(&bytes(GALLIA));
            assert!(ours.seal_rtp(&mut behind, 6, 12, 7, 70_000));
            assert_eq!(behind, [b"before".as_slice(), &alone].concat());
            assert!(!ours.seal_rtp(&mut Vec::new(), 0, 12, 7, 1), "too short");
        }
    }

    #[test]
    fn a_control_packet_comes_back_as_it_was_and_only_at_the_other_end() {
        for profile in PROFILES {
            let (ours, theirs) = ends(profile);
            let plain = bytes("80c90001 11223344 81ca0002 11223344 01016100");
            let mut packet = plain.clone();
            assert!(theirs.seal_rtcp(&mut packet, 5));
            assert_ne!(packet[..plain.len()], plain);
            let mut read = vec![1; 70];
            assert!(ours.open_peer_rtcp(&packet, &mut read));
            assert_eq!(read, plain);
            assert_eq!(theirs.open_own_rtcp(&packet, &mut read), Some(5));
            assert!(!theirs.open_peer_rtcp(&packet, &mut read), "its own");
            for place in 0..packet.len() {
                let mut broken = packet.clone();
                broken[place] ^= 1;
                assert!(!ours.open_peer_rtcp(&broken, &mut read), "byte {place}");
            }
            for length in 0..packet.len() {
                assert!(!ours.open_peer_rtcp(&packet[..length], &mut read));
            }
        }
    }

    #[test]
    fn keys_of_another_profile_are_refused() {
        let short = [0; 20];
        let refused = Keys::new(Profile::Aes128Gcm, &short, Side::Server);
        assert_eq!(refused.unwrap_err(), KeysError);
    }
}
