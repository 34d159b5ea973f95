//! AES-GCM around a packet or a stream message: version byte, nonce, ciphertext, tag.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aes::Aes192;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};

use super::PacketError;

const NONCE: usize = 12;
const TAG: usize = 16;

/// What version 1 adds to a message.
pub const OVERHEAD: usize = 1 + NONCE + TAG;

/// A key with its schedule.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    cipher: Cipher,
}

#[derive(Clone)]
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

/// A key that is not 16, 24 or 32 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key size must be 16, 24 or 32 bytes")]
pub struct KeySize;

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} bytes)", self.bytes.len())
    }
}

impl Key {
    /// A key of 16, 24 or 32 bytes: AES-128, -192 or -256.
    ///
    /// # Errors
    /// Another length.
    pub fn new(bytes: &[u8]) -> Result<Self, KeySize> {
        let cipher = match bytes.len() {
            16 => Cipher::Aes128(Box::new(
                Aes128Gcm::new_from_slice(bytes).map_err(|_| KeySize)?,
            )),
            24 => Cipher::Aes192(Box::new(
                AesGcm::new_from_slice(bytes).map_err(|_| KeySize)?,
            )),
            32 => Cipher::Aes256(Box::new(
                Aes256Gcm::new_from_slice(bytes).map_err(|_| KeySize)?,
            )),
            _ => return Err(KeySize),
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            cipher,
        })
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn apply_seal(&self, nonce: &[u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let nonce = &(*nonce).into();
        let tag = match &self.cipher {
            Cipher::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, aad, text.into()),
            Cipher::Aes192(cipher) => cipher.encrypt_inout_detached(nonce, aad, text.into()),
            Cipher::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, aad, text.into()),
        };
        // The only failure is a text of 64 GiB.
        tag.expect("a message fits AES-GCM").into()
    }

    fn apply_open(&self, nonce: &[u8; NONCE], aad: &[u8], text: &mut [u8], tag: [u8; TAG]) -> bool {
        let nonce = &(*nonce).into();
        let tag = &tag.into();
        match &self.cipher {
            Cipher::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, aad, text.into(), tag),
            Cipher::Aes192(cipher) => cipher.decrypt_inout_detached(nonce, aad, text.into(), tag),
            Cipher::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, aad, text.into(), tag),
        }
        .is_ok()
    }
}

/// Seals a message as version 1: no padding.
#[must_use]
pub fn seal(key: &Key, nonce: [u8; NONCE], aad: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + OVERHEAD);
    out.push(1);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(message);
    let tag = key.apply_seal(&nonce, aad, &mut out[1 + NONCE..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens a message with the first key that fits.
///
/// # Errors
/// Too short, of an unknown version, or no key fits.
pub fn open<'k>(
    keys: impl Iterator<Item = &'k Key>,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, PacketError> {
    let (version, rest) = sealed.split_first().ok_or(PacketError::Short)?;
    let padded = match version {
        0 => true,
        1 => false,
        _ => return Err(PacketError::EncryptionVersion(*version)),
    };
    let (nonce, rest) = rest
        .split_first_chunk::<NONCE>()
        .ok_or(PacketError::Short)?;
    let (cipher, tag) = rest.split_last_chunk::<TAG>().ok_or(PacketError::Short)?;
    let mut text = Vec::with_capacity(cipher.len());
    for key in keys {
        // A failed attempt may have touched the text.
        text.clear();
        text.extend_from_slice(cipher);
        if key.apply_open(nonce, aad, &mut text, *tag) {
            if padded {
                unpad(&mut text)?;
            }
            return Ok(text);
        }
    }
    Err(PacketError::NoKeyFits)
}

/// Takes away PKCS#7 padding to 16 bytes.
fn unpad(text: &mut Vec<u8>) -> Result<(), PacketError> {
    let count = usize::from(*text.last().ok_or(PacketError::Padding)?);
    if !(1..=16).contains(&count) || count > text.len() {
        return Err(PacketError::Padding);
    }
    text.truncate(text.len() - count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, unhex};

    const PLAIN: &str = "0082a44e6f6465a26e31a55365714e6f2a";
    const V1_K32: &str = "01a0a1a2a3a4a5a6a7a8a9aaabe69ad8632aaf671d0c542280620b8eb15a8cb0dca0a5b08c3f14f623ac7247a153";
    const V1_K16: &str = "01a0a1a2a3a4a5a6a7a8a9aaabaa049cf511ed56a8e44910532363fe0f792cc37e533bd50eb75c68f8dd64b85bc0";
    const V0_K16: &str = "00a0a1a2a3a4a5a6a7a8a9aaabaa049cf511ed56a8e44910532363fe0f79e12c078c1832a02a1f7e944d8280a75bfd84f2b742286d1a7436235a4e6a79";

    fn nonce() -> [u8; 12] {
        std::array::from_fn(|i| 0xa0 + u8::try_from(i).unwrap())
    }

    fn key(len: u8) -> Key {
        Key::new(&(0..len).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn recorded_packets() {
        assert_eq!(hex(&seal(&key(32), nonce(), b"", &unhex(PLAIN))), V1_K32);
        assert_eq!(hex(&seal(&key(16), nonce(), b"", &unhex(PLAIN))), V1_K16);
        let keys = [key(24), key(32), key(16)];
        for sealed in [V1_K32, V1_K16, V0_K16] {
            assert_eq!(hex(&open(keys.iter(), b"", &unhex(sealed)).unwrap()), PLAIN);
        }
    }

    #[test]
    fn all_key_sizes_round_trip_and_no_other_exists() {
        for len in 0..40 {
            let bytes = vec![7; len];
            match Key::new(&bytes) {
                Ok(key) => {
                    assert!([16, 24, 32].contains(&len));
                    let sealed = seal(&key, nonce(), b"label", b"hello");
                    assert_eq!(sealed.len(), 5 + OVERHEAD);
                    assert_eq!(
                        open([&key].into_iter(), b"label", &sealed).unwrap(),
                        b"hello"
                    );
                }
                Err(KeySize) => assert!(![16, 24, 32].contains(&len)),
            }
        }
    }

    #[test]
    fn any_changed_bit_and_another_label_are_refused() {
        let key = key(16);
        let sealed = seal(&key, nonce(), b"label", b"hello");
        assert_eq!(
            open([&key].into_iter(), b"other", &sealed),
            Err(PacketError::NoKeyFits)
        );
        for bit in 8..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open([&key].into_iter(), b"label", &changed).is_err(),
                "bit {bit}"
            );
        }
        for len in 0..sealed.len() {
            assert!(
                open([&key].into_iter(), b"label", &sealed[..len]).is_err(),
                "length {len}"
            );
        }
    }

    #[test]
    fn wrong_padding_is_refused() {
        for last in [0_u8, 17, 255] {
            assert_eq!(unpad(&mut vec![1, 2, last]), Err(PacketError::Padding));
        }
        assert_eq!(unpad(&mut vec![]), Err(PacketError::Padding));
        assert_eq!(unpad(&mut vec![9]), Err(PacketError::Padding));
    }
}
