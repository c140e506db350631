//! What a DTLS handshake agrees on (RFC 5764 section 4.2), and the session keys that come of it
//! (RFC 3711 section 4.3).

use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

/// A protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`: dearer than the others, for clients that know nothing else.
    Aes128CmSha1,
    /// `SRTP_AEAD_AES_128_GCM`.
    Aes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    Aes256Gcm,
}

impl Profile {
    pub(crate) fn key_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1 | Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }

    pub(crate) fn salt_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1 => 14,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }

    /// Bytes of the handshake's keying material: two keys, two salts.
    pub fn material_bytes(self) -> usize {
        2 * (self.key_bytes() + self.salt_bytes())
    }

    fn cipher(self) -> &'static Algorithm {
        match self {
            Self::Aes128CmSha1 | Self::Aes128Gcm => &AES_128,
            Self::Aes256Gcm => &AES_256,
        }
    }
}

/// Our side of the DTLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We sent the `ClientHello`.
    Client,
    /// The peer did.
    Server,
}

/// Master key and salt of one direction.
#[derive(Clone, Copy)]
pub(crate) struct Master<'a> {
    profile: Profile,
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    /// Those with which `side` sends; `None`: the material is too short.
    pub(crate) fn of(profile: Profile, material: &'a [u8], side: Side) -> Option<Self> {
        let (keys, salts) = material.split_at_checked(2 * profile.key_bytes())?;
        let place = match side {
            Side::Client => 0,
            Side::Server => 1,
        };
        Some(Self {
            profile,
            key: keys.chunks(profile.key_bytes()).nth(place)?,
            salt: salts.chunks_exact(profile.salt_bytes()).nth(place)?,
        })
    }

    /// A session key: the cipher in counter mode over nothing. `label`: RFC 3711 section 4.3.2.
    pub(crate) fn derive<const N: usize>(&self, label: u8) -> Option<[u8; N]> {
        let mut counter = [0; 16];
        for (to, from) in counter.iter_mut().zip(self.salt) {
            *to = *from;
        }
        counter[7] ^= label;
        let key = UnboundCipherKey::new(self.profile.cipher(), self.key).ok()?;
        let key = EncryptingKey::ctr(key).ok()?;
        let mut derived = [0; N];
        let context = EncryptionContext::Iv128(FixedLength::from(counter));
        key.less_safe_encrypt(&mut derived, context).ok()?;
        Some(derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protection::{LABEL_AUTH, LABEL_KEY, LABEL_SALT};

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|two| pair(two).unwrap()).collect()
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
        let master = Master {
            profile: Profile::Aes128CmSha1,
            key: &key,
            salt: &salt,
        };
        let derived = master.derive::<16>(LABEL_KEY).unwrap();
        assert_eq!(
            derived.as_slice(),
            bytes("C61E7A93744F39EE10734AFE3FF7A087")
        );
        let derived = master.derive::<14>(LABEL_SALT).unwrap();
        assert_eq!(derived.as_slice(), bytes("30CBBC08863D8C85D49DB34A9AE1"));
        let derived = master.derive::<20>(LABEL_AUTH).unwrap();
        let expected = bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
        assert_eq!(derived.as_slice(), expected);
    }

    #[test]
    fn each_side_sends_with_its_half() {
        for profile in [
            Profile::Aes128CmSha1,
            Profile::Aes128Gcm,
            Profile::Aes256Gcm,
        ] {
            let length = u8::try_from(profile.material_bytes()).unwrap();
            let material: Vec<u8> = (0..length).collect();
            let client = Master::of(profile, &material, Side::Client).unwrap();
            let server = Master::of(profile, &material, Side::Server).unwrap();
            let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
            assert_eq!(client.key, &material[..key]);
            assert_eq!(server.key, &material[key..2 * key]);
            assert_eq!(client.salt, &material[2 * key..2 * key + salt]);
            assert_eq!(server.salt, &material[2 * key + salt..]);
            let short = &material[..material.len() - 1];
            assert!(Master::of(profile, short, Side::Server).is_none());
        }
    }
}
