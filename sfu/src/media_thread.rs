//! The media thread: the loop that gives the engine its datagrams, commands and time, and carries
//! out what it wants sent.
//!
//! One `std::thread` with a runtime of its own, so that nothing else in the process delays a packet.
//! Owns the engine and the sockets. Decides nothing about media.

use crate::engine::{Datagram, Engine, Prepared, Transmit, Transport};
use crate::exchange::{Mail, Mailbox, Postman};
use crate::figures::Figures;
use crate::node::NodeError;
use crate::ports::Sockets;
use crate::pulse::PulseMeter;
use crate::tcp::{Connections, TcpInput, TcpPort};
use crate::udp::{Batch, DATAGRAM_BYTES_MAX, UdpPort};
use proto::media::NodeEvent;
use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;

/// Prepared commands that may wait for the media thread. When full, the link's task waits: the next
/// queue is the link's own, whose overflow ends the link.
pub(crate) const COMMANDS_MAX: usize = 1024;
/// Commands per pass. A command may build descriptions of 100 sections; media waits meanwhile.
const COMMAND_BUDGET: usize = 16;
/// Receiving calls per pass and socket.
const BATCH_BUDGET: usize = 4;
/// Frames per pass.
const FRAME_BUDGET: usize = 64;
/// Messages of other members per pass.
const MAIL_BUDGET: usize = 256;
/// Such messages between two rounds of sending: those of a frame that waits are held anyway.
const MAIL_PER_FLUSH: usize = 32;
/// Frames between two rounds of sending.
const FRAMES_PER_FLUSH: usize = 16;
/// How often figures are handed out.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// Wait at least this long if the engine still wants a timeout that it has just been given: a fault
/// there shall not eat a core.
const TIMEOUT_FLOOR: Duration = Duration::from_millis(1);

/// Why the loop ended, other than by a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The commands' sender is gone: we were told to stop.
    Stopped,
    /// Nobody takes events any more.
    LinkClosed,
    /// The shard takes no events: its queue is full.
    LinkStalled,
}

/// Everything the thread is given.
pub(crate) struct Start {
    pub(crate) engine: Engine,
    pub(crate) sockets: Sockets,
    pub(crate) commands: mpsc::Receiver<Prepared>,
    pub(crate) mailbox: Mailbox,
    pub(crate) postman: Postman,
    pub(crate) events: mpsc::Sender<NodeEvent>,
    pub(crate) figures: watch::Sender<Figures>,
}

/// A running media thread.
pub(crate) struct MediaThread {
    ended: oneshot::Receiver<io::Result<End>>,
    thread: Option<JoinHandle<()>>,
}

impl MediaThread {
    /// Starts it.
    pub(crate) fn spawn(start: Start) -> Result<Self, NodeError> {
        Self::spawn_fn(move || run(start))
    }

    fn spawn_fn(
        body: impl FnOnce() -> io::Result<End> + Send + 'static,
    ) -> Result<Self, NodeError> {
        let (ended_tx, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("sfu-media".to_owned())
            .spawn(move || {
                let result = body();
                // Nobody listens if the node is being dropped.
                let _ = ended_tx.send(result);
            })
            .map_err(NodeError::MediaThreadStart)?;
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }

    /// Its end was waited for already.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_terminated()
    }

    /// Waits for the end of the loop. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<End, NodeError> {
        match (&mut self.ended).await {
            Ok(result) => result.map_err(NodeError::MediaThreadStart),
            // Dropped unsent: the thread is unwinding or has just ended, joining takes no time.
            Err(_) => {
                let payload = self.thread.take().map(JoinHandle::join);
                let text = match payload {
                    Some(Err(payload)) => panic_text(payload.as_ref()),
                    Some(Ok(())) | None => "ended without a word".to_owned(),
                };
                Err(NodeError::MediaThreadPanicked(text))
            }
        }
    }
}

/// The words of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

fn run(start: Start) -> io::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut media = MediaLoop::new(start)?;
        Ok(poll_fn(|cx| media.poll(cx)).await)
    })
}

/// The loop's state. [`MediaLoop::poll`] is one pass.
struct MediaLoop {
    engine: Engine,
    tcp: Vec<TcpPort>,
    ways: Ways,
    commands: mpsc::Receiver<Prepared>,
    mailbox: Mailbox,
    postman: Postman,
    events: mpsc::Sender<NodeEvent>,
    figures: watch::Sender<Figures>,
    figures_at: Instant,
    sleep: Pin<Box<Sleep>>,
    batch: Batch,
    oversized: u64,
    pulse: PulseMeter,
}

impl MediaLoop {
    /// Must be called inside the runtime.
    fn new(start: Start) -> io::Result<Self> {
        let now = Instant::now();
        let udp: io::Result<_> = start.sockets.udp.into_iter().map(UdpPort::new).collect();
        let tcp: io::Result<_> = start.sockets.tcp.into_iter().map(TcpPort::new).collect();
        Ok(Self {
            engine: start.engine,
            tcp: tcp?,
            ways: Ways {
                udp: udp?,
                connections: Connections::new(),
                udp_dropped: 0,
            },
            commands: start.commands,
            mailbox: start.mailbox,
            postman: start.postman,
            events: start.events,
            figures: start.figures,
            figures_at: now,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            batch: Batch::new(),
            oversized: 0,
            pulse: PulseMeter::new(),
        })
    }

    /// One pass: commands, datagrams, frames, time, then sending. Each source is read under a budget
    /// and registered for the next wake-up when it is empty.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let began = Instant::now();
        let passed = self.pass(cx);
        self.pulse.passed(began.elapsed());
        match passed {
            Err(end) => Poll::Ready(end),
            Ok(more) => {
                if more {
                    // Through the runtime, so that the connections' tasks get their turn.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// True if there is more to do at once.
    fn pass(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut more = self.take_commands(cx)?;
        more |= self.take_datagrams(cx)?;
        more |= self.take_connections(cx)?;
        more |= self.take_mail(cx)?;

        let now = Instant::now();
        let due = self.engine.poll_timeout().filter(|(at, _)| *at <= now);
        let was_due = due.is_some();
        if let Some((at, _)) = due {
            self.pulse.woke(at, now);
            self.engine.handle_timeout(now);
        }
        self.flush()?;
        if self.figures_at <= now {
            self.hand_out_figures(now);
            self.figures_at = now + FIGURES_EVERY;
        }
        if more {
            return Ok(true);
        }
        let mut wake_at = self.figures_at;
        if let Some((at, _)) = self.engine.poll_timeout() {
            let earliest = if was_due { now + TIMEOUT_FLOOR } else { now };
            wake_at = wake_at.min(at.max(earliest));
        }
        Ok(self.sleep_until(wake_at, cx))
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..COMMAND_BUDGET {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => {
                    self.engine.handle_command(command, Instant::now());
                    self.flush()?;
                }
                Poll::Ready(None) => return Err(End::Stopped),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    fn take_datagrams(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut more = false;
        for index in 0..self.ways.udp.len() {
            more |= self.take_datagrams_of(index, cx)?;
        }
        Ok(more)
    }

    fn take_datagrams_of(&mut self, index: usize, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..BATCH_BUDGET {
            let Some(port) = self.ways.udp.get(index) else {
                return Ok(false);
            };
            match port.poll_receive(cx, &mut self.batch) {
                Poll::Ready(Ok(_)) => {}
                // About one datagram that we sent (an ICMP answer): there may be others to read.
                Poll::Ready(Err(_)) => continue,
                Poll::Pending => return Ok(false),
            }
            let (now, local) = (Instant::now(), port.base);
            for (remote, contents) in self.batch.datagrams() {
                if contents.len() > DATAGRAM_BYTES_MAX {
                    self.oversized += 1;
                    continue;
                }
                let datagram = Datagram {
                    transport: Transport::Udp,
                    remote,
                    local,
                    contents,
                };
                self.engine.handle_datagram(datagram, now);
            }
            self.flush()?;
        }
        Ok(true)
    }

    fn take_connections(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut more = false;
        for port in &self.tcp {
            more |= self.ways.connections.accept(port, cx);
        }
        let mut now = Instant::now();
        for count in 1..=FRAME_BUDGET {
            match self.ways.connections.poll_input(cx) {
                Poll::Ready(TcpInput::Frame {
                    remote,
                    local,
                    contents,
                }) => {
                    let datagram = Datagram {
                        transport: Transport::Tcp,
                        remote,
                        local,
                        contents: &contents,
                    };
                    self.engine.handle_datagram(datagram, now);
                }
                Poll::Ready(TcpInput::Closed { remote }) => {
                    self.engine.handle_tcp_closed(remote, now);
                }
                Poll::Pending => return Ok(more),
            }
            if count % FRAMES_PER_FLUSH == 0 {
                self.flush()?;
                now = Instant::now();
            }
        }
        Ok(true)
    }

    /// What other members of rooms say: first what is not to be lost.
    fn take_mail(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for count in 1..=MAIL_BUDGET {
            let letter = self.mailbox.letters.poll_recv(cx);
            let mail = match letter {
                Poll::Ready(Some(mail)) => mail,
                Poll::Ready(None) | Poll::Pending => match self.mailbox.packets.poll_recv(cx) {
                    Poll::Ready(Some(mail)) => mail,
                    Poll::Ready(None) | Poll::Pending => {
                        self.flush()?;
                        return Ok(false);
                    }
                },
            };
            let Mail { from, message } = mail;
            self.engine.handle_relay(&from, message, Instant::now());
            if count % MAIL_PER_FLUSH == 0 {
                self.flush()?;
            }
        }
        Ok(true)
    }

    /// Carries out what the engine wants.
    fn flush(&mut self) -> Result<(), End> {
        while let Some(transmit) = self.engine.poll_transmit() {
            self.ways.send(transmit);
        }
        while let Some((to, message)) = self.engine.poll_relay() {
            self.postman.post(to, self.engine.member(to), message);
        }
        while let Some(event) = self.engine.poll_event() {
            self.events.try_send(event).map_err(|error| match error {
                TrySendError::Full(_) => End::LinkStalled,
                TrySendError::Closed(_) => End::LinkClosed,
            })?;
        }
        Ok(())
    }

    fn hand_out_figures(&mut self, now: Instant) {
        let tcp = self.ways.connections.figures();
        let mut report = self.engine.report();
        report.stray_packets += self.oversized + tcp.strays;
        self.figures.send_replace(Figures {
            report,
            census: self.engine.census(),
            pulse: self.pulse.take(now),
            udp_dropped: self.ways.udp_dropped,
            tcp_dropped: tcp.dropped,
            tcp_connections: self.ways.connections.len(),
            // Of the node as a whole.
            ..Figures::default()
        });
    }

    /// Arms the timer; true if the time has come already.
    fn sleep_until(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let at = tokio::time::Instant::from_std(at);
        if self.sleep.deadline() != at {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }
}

/// How datagrams leave.
struct Ways {
    udp: Vec<UdpPort>,
    connections: Connections,
    udp_dropped: u64,
}

impl Ways {
    fn send(&mut self, transmit: Transmit<'_>) {
        match transmit.transport {
            Transport::Tcp => {
                for datagram in transmit.datagrams() {
                    self.connections.send(transmit.remote, datagram.to_vec());
                }
            }
            Transport::Udp => {
                // Some few addresses: a search is faster than hashing.
                let port = self.udp.iter().find(|port| port.base == transmit.local);
                let (contents, segment) = (transmit.contents, transmit.segment);
                if !port.is_some_and(|port| port.send(transmit.remote, contents, segment)) {
                    self.udp_dropped += transmit.datagrams().count() as u64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_the_thread_is_an_error_with_its_words() {
        let mut media = MediaThread::spawn_fn(|| panic!("boom {}", 1)).unwrap();
        let error = media.ended().await.unwrap_err();
        assert!(error.to_string().contains("boom 1"), "{error}");
        assert!(error.to_string().contains("engine"), "{error}");
    }

    #[tokio::test]
    async fn the_end_of_the_loop_is_told() {
        let mut media = MediaThread::spawn_fn(|| Ok(End::LinkStalled)).unwrap();
        assert_eq!(media.ended().await.unwrap(), End::LinkStalled);
    }
}
