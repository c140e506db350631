//! The rooms that a load asks for, and where each of them is.
//!
//! The room is a query parameter, because that is what all proxies can take as the key of affinity.

use std::sync::atomic::{AtomicU8, Ordering};

/// How many rooms a load asks for: some for each origin, and more than there are connections.
const ROOMS: usize = 256;
/// The key of all handshakes, from RFC 6455 section 1.3: with it nobody needs SHA-1 here.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What must come back.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Requests in their bytes, and the home of each room as it was seen first.
pub(crate) struct Rooms(Vec<Room>);

/// One room.
pub(crate) struct Room {
    /// A request of a room's URL.
    pub(crate) request: Vec<u8>,
    /// A WebSocket handshake.
    pub(crate) handshake: Vec<u8>,
    name: String,
    /// The number of the origin; 0: not seen yet.
    home: AtomicU8,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self((0..ROOMS).map(Room::new).collect())
    }

    /// The room number `index`, over and over again.
    pub(crate) fn get(&self, index: usize) -> Result<&Room, String> {
        let room = self.0.get(index % ROOMS);
        room.ok_or_else(|| "there are no rooms".to_owned())
    }
}

impl Room {
    fn new(number: usize) -> Self {
        let name = format!("bench-{number:03}");
        let head = |path: &str, more: &str| {
            format!(
                "GET {path}?room={name}&sdk=bench HTTP/1.1\r\nHost: localhost\r\n\
                 User-Agent: bench\r\nAccept: */*\r\n{more}\r\n"
            )
            .into_bytes()
        };
        let upgrade = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n"
        );
        Self {
            request: head("/rtc/validate", ""),
            handshake: head("/rtc", &upgrade),
            home: AtomicU8::new(0),
            name,
        }
    }

    /// The room was seen at an origin: always the same one, or affinity is broken.
    pub(crate) fn seen_at(&self, origin: u8) -> Result<(), String> {
        let order = Ordering::Relaxed;
        match self.home.compare_exchange(0, origin, order, order) {
            Err(home) if home != origin => Err(format!(
                "room {} was at origin {home} and is at {origin} now",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_changes_its_origin_is_an_error() {
        let rooms = Rooms::new();
        let room = rooms.get(3).unwrap();
        assert_eq!(room.seen_at(2), Ok(()));
        assert_eq!(room.seen_at(2), Ok(()));
        let error = rooms.get(3 + ROOMS).unwrap().seen_at(1).unwrap_err();
        assert_eq!(error, "room bench-003 was at origin 2 and is at 1 now");
        assert_eq!(rooms.get(4).unwrap().seen_at(1), Ok(()));
    }
}
