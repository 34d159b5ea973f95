//! The keys of an encrypted pool: one primary that seals, all of them open.

use crate::packet::seal::{Key, KeySize};

/// Why the ring could not be changed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The key has a length that AES does not know.
    #[error(transparent)]
    Size(#[from] KeySize),
    /// "Use" of a key that was not installed first.
    #[error("requested key is not in the keyring")]
    Missing,
    /// The primary key can be replaced, not removed.
    #[error("removing the primary key is not allowed")]
    Primary,
    /// More keys than any rotation needs.
    #[error("too many keys")]
    Full,
}

/// Keys, the primary one first. Empty in a pool without encryption.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// Every packet that nobody sealed is tried with every key.
const MAX_KEYS: usize = 64;

impl Keyring {
    /// A ring of these keys; the first is the primary one. Repeated keys count once.
    ///
    /// # Errors
    /// A key of a wrong length, or too many.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Result<Self, KeyringError> {
        let mut ring = Self::default();
        for key in keys {
            ring.install(key.as_ref())?;
        }
        Ok(ring)
    }

    /// Whether the pool is encrypted.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// All keys, the primary one first.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.iter()
    }

    /// Adds a key to open with. A known one is no error.
    ///
    /// # Errors
    /// A key of a wrong length, or too many.
    pub fn install(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        let key = Key::new(bytes)?;
        if self.keys.contains(&key) {
            return Ok(());
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyringError::Full);
        }
        self.keys.push(key);
        Ok(())
    }

    /// Makes an installed key the primary one.
    ///
    /// # Errors
    /// It is not installed.
    pub fn use_key(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        let at = self
            .keys
            .iter()
            .position(|key| key.bytes() == bytes)
            .ok_or(KeyringError::Missing)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a key. An unknown one is no error.
    ///
    /// # Errors
    /// It is the primary one.
    pub fn remove(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        if self.primary().is_some_and(|key| key.bytes() == bytes) {
            return Err(KeyringError::Primary);
        }
        self.keys.retain(|key| key.bytes() != bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation() {
        let (old, new) = ([1; 16], [2; 32]);
        let mut ring = Keyring::new([old]).unwrap();
        assert_eq!(ring.use_key(&new), Err(KeyringError::Missing));
        ring.install(&new).unwrap();
        ring.install(&new).unwrap();
        assert_eq!(ring.keys().len(), 2);
        ring.use_key(&new).unwrap();
        assert_eq!(ring.remove(&new), Err(KeyringError::Primary));
        ring.remove(&old).unwrap();
        ring.remove(&old).unwrap();
        assert_eq!(ring.keys().map(Key::bytes).collect::<Vec<_>>(), [&new[..]]);
        assert_eq!(ring.install(&[1; 15]), Err(KeyringError::Size(KeySize)));
    }
}
