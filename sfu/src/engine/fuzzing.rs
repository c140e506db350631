//! Doors for the fuzz targets into the engine's parsers. No stable interface.

use super::data_packet::{Stamp, stamp};

/// A data packet as it is relayed.
#[derive(Debug, PartialEq, Eq)]
pub struct RelayedPacket {
    /// The packet with the sender's true name.
    pub bytes: Vec<u8>,
    /// Its number, 0 if it has none.
    pub sequence: u32,
    /// Whether somebody of this name and sid gets it.
    pub reaches: bool,
}

/// Stamps `packet` as coming from `sender` and asks whether it is for `receiver`, each an identity
/// and a participant sid.
///
/// # Errors
/// Why it is not relayed.
pub fn relay(
    packet: &[u8],
    sender: (&str, &str),
    receiver: (&str, &str),
) -> Result<RelayedPacket, String> {
    let (identity, sid) = sender;
    let relayed = stamp(packet, Stamp { identity, sid }).map_err(|error| error.to_string())?;
    Ok(RelayedPacket {
        reaches: relayed.destinations.include(receiver.0, receiver.1),
        bytes: relayed.bytes,
        sequence: relayed.sequence,
    })
}
