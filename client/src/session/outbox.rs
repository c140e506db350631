//! What a session has to say, until it is polled.

use crate::event::SessionEvent;
use crate::options::Connection;
use livekit_protocol as lk;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Datagrams that wait. An input makes a few; beyond: they are lost, as on a network.
const TRANSMITS_MAX: usize = 4096;
/// Packets among the events that wait. Beyond: the newest are dropped and counted. Other events are
/// never dropped: there are a few for each message of the server, and the caller polls between them.
const PACKETS_MAX: usize = 8192;
/// Messages that wait. Each comes from a call or an input; beyond: the newest are dropped and counted.
const SIGNALS_MAX: usize = 4096;

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From the socket of this connection.
    pub connection: Connection,
    /// To this address.
    pub to: SocketAddr,
    /// UDP payload.
    pub contents: Vec<u8>,
}

/// What was counted beside the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets of no known track, such as before the answer came.
    pub unclaimed_packets: u64,
    /// RTP packets that arrived, claimed or not.
    pub received_packets: u64,
    /// RTP packets that [`Session::write`](crate::Session::write) took.
    pub written_packets: u64,
    /// Packet events that nobody polled in time.
    pub dropped_packets: u64,
    /// Datagrams that nobody polled in time.
    pub dropped_transmits: u64,
    /// Datagrams that the system did not take. They are lost, as on a network.
    pub unsent_datagrams: u64,
    /// Messages that nobody polled in time.
    pub dropped_signals: u64,
    /// Offers made.
    pub offers: u64,
    /// Answers to an earlier offer than the newest.
    pub stale_answers: u64,
    /// How often the session went on over a new signalling connection.
    pub resumes: u64,
    /// Reliable data packets that came once more, and were dropped.
    pub repeated_data: u64,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) signals: VecDeque<lk::SignalRequest>,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<SessionEvent>,
    pub(super) counters: Counters,
}

impl Outbox {
    pub(super) fn say(&mut self, event: SessionEvent) {
        if event.is_media() && self.events.len() >= PACKETS_MAX {
            self.counters.dropped_packets += 1;
        } else {
            self.events.push_back(event);
        }
    }

    /// Forgets what was to be sent.
    pub(super) fn hush(&mut self) {
        self.transmits.clear();
        self.signals.clear();
    }

    pub(super) fn transmit(&mut self, connection: Connection, to: SocketAddr, contents: Vec<u8>) {
        if self.transmits.len() >= TRANSMITS_MAX {
            self.counters.dropped_transmits += 1;
            return;
        }
        self.transmits.push_back(Transmit {
            connection,
            to,
            contents,
        });
    }

    pub(super) fn signal(&mut self, message: lk::signal_request::Message) {
        if self.signals.len() >= SIGNALS_MAX {
            self.counters.dropped_signals += 1;
            return;
        }
        self.signals.push_back(lk::SignalRequest {
            message: Some(message),
        });
    }
}
