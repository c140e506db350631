//! QUIC as the relay wants it: times, MTU, buffers.

use crate::congestion::FixedWindow;
use crate::link::MESSAGE_MAX;
use crate::tls::{self, TlsError};
use quinn::{
    AckFrequencyConfig, ClientConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};
use std::sync::Arc;
use std::time::Duration;

/// A node that is gone must be known to be within two seconds. A silent connection asks for a sign of
/// life [`KEEP_ALIVE`] after the last one, and the idle time begins when it asks: together 1.9 s.
const IDLE_TIMEOUT_MS: u32 = 1_500;
const KEEP_ALIVE: Duration = Duration::from_millis(400);
/// Before anything was measured: decides how soon a lost first packet is sent again (three times this).
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// What Ethernet with IPv6 carries. Taken for granted, so that media goes whole from the first packet;
/// a path that carries less is noticed as a black hole.
const USUAL_MTU: u16 = 1_452;
/// What QUIC demands of every path.
const MIN_MTU: u16 = 1_200;
/// How soon after a black hole a larger packet is tried again.
const BLACK_HOLE_COOLDOWN: Duration = Duration::from_secs(60);
/// One acknowledgement for so many packets, or after [`ACK_DELAY`]: nothing waits for it.
const ACK_EVERY: u32 = 15;
const ACK_DELAY: Duration = Duration::from_millis(5);
/// Datagrams handed to quinn that are not sent yet, bytes: 7 ms at 300 Mbit/s. Full, the rest waits in
/// our queue, where the oldest is dropped.
const DATAGRAM_SEND_BUFFER: usize = 256 * 1024;
/// Datagrams received that are not delivered yet, bytes: 27 ms at 300 Mbit/s. Full, quinn drops its
/// oldest.
const DATAGRAM_RECEIVE_BUFFER: usize = 1024 * 1024;
/// Bytes of messages on the way: four of the longest.
const STREAM_WINDOW: u32 = 4 * 256 * 1024;
const _: () = assert!(STREAM_WINDOW as usize == 4 * MESSAGE_MAX);
/// The same before a peer has proved itself: hellos are shorter.
const STRANGER_WINDOW: u32 = 16 * 1024;

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(USUAL_MTU)
        .black_hole_cooldown(BLACK_HOLE_COOLDOWN);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(ACK_EVERY.into())
        .max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(USUAL_MTU)
        .min_mtu(MIN_MTU)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(FixedWindow))
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(STRANGER_WINDOW.into())
        .send_window(STREAM_WINDOW.into())
        // The hello's, and the messages'.
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(1_u32.into());
    config
}

/// A peer proved itself: it may send messages.
pub(crate) fn open_up(connection: &quinn::Connection) {
    connection.set_receive_window(STREAM_WINDOW.into());
}

/// Both ends of the configuration.
pub(crate) fn configs() -> Result<(ServerConfig, ClientConfig), TlsError> {
    let transport = Arc::new(transport());
    let mut server = ServerConfig::with_crypto(Arc::new(tls::server()?));
    // Nodes stay where they are.
    server.transport_config(transport.clone()).migration(false);
    let mut client = ClientConfig::new(Arc::new(tls::client()?));
    client.transport_config(transport);
    Ok((server, client))
}
