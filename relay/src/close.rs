//! What a node tells the other one when it closes a connection.

use quinn::{Connection, VarInt};

/// Why a connection was closed, for the log of the other end.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Close {
    /// No peer any more, or the node ends.
    Done = 0,
    /// No proof.
    Refused = 1,
    /// Too many messages waited.
    Overflow = 2,
    /// Against the protocol.
    Violation = 3,
    /// The same peer has connected again.
    Replaced = 4,
}

impl Close {
    pub(crate) fn close(self, connection: &Connection) {
        connection.close(VarInt::from_u32(self as u32), b"");
    }
}
