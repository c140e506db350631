//! The sessions of this shard by the last segment of their URLs.
//!
//! A name has 128 random bits and is never logged by us. It is no permission: requests need the token of
//! the session's participant too.

use super::{Ask, Flow};
use affinity::RoomKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// The way to one session.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) room: RoomKey,
    pub(crate) identity: String,
    pub(crate) flow: Flow,
    pub(crate) asks: mpsc::Sender<Ask>,
}

/// All sessions, as many as there are permits for connections.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<String, Handle>>>);

/// A session can be found as long as this lives.
pub(crate) struct Registration {
    registry: Registry,
    name: String,
}

impl Registry {
    /// Gives a session a name.
    pub(crate) fn add(&self, handle: Handle) -> Registration {
        let name = format!("{:032x}", rand::random::<u128>());
        self.sessions().insert(name.clone(), handle);
        Registration {
            registry: self.clone(),
            name,
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Handle> {
        self.sessions().get(name).cloned()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        // A map has no invariant that a panic elsewhere could have broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.sessions().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::RoomCase;

    #[test]
    fn a_session_is_found_by_a_name_of_its_own_until_it_ends() {
        let registry = Registry::default();
        let (asks, _inbox) = mpsc::channel(1);
        let handle = Handle {
            room: RoomKey::from_claim("standup", RoomCase::Sensitive).unwrap(),
            identity: "ann".into(),
            flow: Flow::Publish,
            asks,
        };
        let one = registry.add(handle.clone());
        let other = registry.add(handle);
        assert_ne!(one.name(), other.name());
        assert_eq!(one.name().len(), 32);
        let name = one.name().to_owned();
        assert_eq!(registry.find(&name).unwrap().identity, "ann");
        drop(one);
        assert!(registry.find(&name).is_none());
        assert!(registry.find(other.name()).is_some());
    }
}
