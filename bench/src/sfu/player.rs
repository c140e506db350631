//! The loop of one participant: its socket, its signalling if it has any, its camera if it has one.

use super::camera::{Camera, written_at};
use super::livekit::Signal;
use super::media::{Heard, Media};
use super::order::{Order, Tally};
use super::wire::Wire;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// When nothing is to be done for long, the loop looks around all the same.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// A participant, or with some servers half of one.
pub(crate) struct Player {
    pub(crate) media: Media,
    pub(crate) wire: Wire,
    pub(crate) signal: Option<Signal>,
    pub(crate) camera: Option<Camera>,
    pub(crate) ear: Ear,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) stop: CancellationToken,
}

/// What hears and counts.
pub(crate) struct Ear {
    pub(crate) tally: Arc<Tally>,
    /// Packets with less are padding or the like. Servers may write picture ids shorter than we do.
    pub(crate) bytes: usize,
    sources: Vec<u32>,
    refresh: bool,
    over: bool,
}

impl Ear {
    pub(crate) fn new(tally: Arc<Tally>, bytes: usize) -> Self {
        Self {
            tally,
            bytes,
            sources: Vec::new(),
            refresh: false,
            over: false,
        }
    }

    fn hear(&mut self, heard: Heard, at: Duration) {
        match heard {
            Heard::Media {
                source,
                bytes,
                payload,
            } => {
                if !self.sources.contains(&source) {
                    self.sources.push(source);
                    self.tally.set_sources(self.sources.len());
                }
                if bytes >= self.bytes {
                    self.tally.received.add_one();
                    if let Some(payload) = payload {
                        self.time(&payload, at);
                    }
                }
            }
            Heard::CanSend => self.tally.set_can_send(),
            Heard::KeyFrameWanted => self.refresh = true,
            Heard::Ended(cause) => {
                self.over = true;
                self.tally.ended().get_or_insert(cause);
            }
        }
    }

    fn time(&self, payload: &[u8], at: Duration) {
        match written_at(payload) {
            Some(written) => {
                let delay = at.saturating_sub(written).as_micros();
                let delay = u64::try_from(delay).unwrap_or(u64::MAX);
                self.tally.delays_us().push(delay);
            }
            None => self.tally.wrong.add_one(),
        }
    }
}

impl Player {
    /// Until it is told to stop, or ended by the server.
    pub(crate) async fn run(mut self) {
        let mut alarm = pin!(tokio::time::sleep(IDLE_MAX));
        let mut armed = Instant::now() + IDLE_MAX;
        self.obey();
        loop {
            self.flush().await;
            if self.ear.over {
                break;
            }
            self.arm(alarm.as_mut(), &mut armed);
            if !self.wait(alarm.as_mut()).await {
                self.media.close(Instant::now());
                self.flush().await;
                break;
            }
            let now = Instant::now();
            if armed <= now {
                armed = now + IDLE_MAX;
            }
            self.tick(now);
        }
        if let Some(signal) = self.signal.take() {
            signal.close().await;
        }
    }

    /// Waits for one thing to happen; false: it is to stop.
    async fn wait(&mut self, alarm: Pin<&mut Sleep>) -> bool {
        let Self {
            wire,
            signal,
            orders,
            stop,
            ..
        } = self;
        let message = async {
            match signal {
                Some(signal) => signal.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = wire.readable() => self.read(),
            message = message => self.handle_message(message),
            Ok(()) = orders.changed() => self.obey(),
            () = alarm => {}
            () = stop.cancelled() => return false,
        }
        true
    }

    fn read(&mut self) {
        let Self {
            wire, media, ear, ..
        } = self;
        let now = Instant::now();
        wire.receive(|datagram| {
            media.handle_datagram(datagram.from, datagram.contents, now);
            while let Some(heard) = media.poll_heard() {
                ear.hear(heard, datagram.at);
            }
        });
    }

    fn handle_message(&mut self, message: anyhow::Result<client::lk::SignalResponse>) {
        let Media::LiveKit { session, .. } = &mut self.media else {
            return;
        };
        match message {
            Ok(message) => session.handle_signal(message, Instant::now()),
            Err(cause) => session.handle_signal_end(format!("{cause:#}"), Instant::now()),
        }
    }

    fn obey(&mut self) {
        let order = *self.orders.borrow_and_update();
        if let Some(camera) = &mut self.camera {
            camera.obey(order, Instant::now());
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.media.poll_timeout().is_some_and(|at| at <= now) {
            self.media.handle_timeout(now);
        }
        let Some(camera) = &mut self.camera else {
            return;
        };
        if std::mem::take(&mut self.ear.refresh) {
            camera.refresh();
        }
        let tally = &self.ear.tally;
        while let Some(due) = camera.due().filter(|due| *due <= now) {
            let late = Instant::now().saturating_duration_since(due).as_micros();
            let late = u64::try_from(late).unwrap_or(u64::MAX);
            tally.late_us().push(late);
            camera.shoot(due, |packet| {
                if self.media.write(packet, Instant::now()) {
                    tally.sent.add_one();
                }
                while let Some((to, contents)) = self.media.poll_transmit() {
                    self.wire.send(to, &contents);
                }
            });
        }
    }

    /// Sets the alarm earlier where needed. One that rings too early does no harm.
    fn arm(&self, alarm: Pin<&mut Sleep>, armed: &mut Instant) {
        let camera = self.camera.as_ref().and_then(Camera::due);
        let wanted = [self.media.poll_timeout(), camera];
        let wanted = wanted.into_iter().flatten().min();
        let wanted = wanted.unwrap_or_else(|| Instant::now() + IDLE_MAX);
        if wanted < *armed || alarm.is_elapsed() {
            *armed = wanted;
            alarm.reset(wanted.into());
        }
    }

    async fn flush(&mut self) {
        loop {
            while let Some(heard) = self.media.poll_heard() {
                self.ear.hear(heard, Duration::ZERO);
            }
            while let Some((to, contents)) = self.media.poll_transmit() {
                self.wire.send(to, &contents);
            }
            let Media::LiveKit { session, .. } = &mut self.media else {
                return;
            };
            let (Some(request), Some(signal)) = (session.poll_signal(), &mut self.signal) else {
                return;
            };
            if let Err(cause) = signal.send(&request).await {
                session.handle_signal_end(format!("{cause:#}"), Instant::now());
            }
        }
    }
}
