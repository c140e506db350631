//! The loop that drives one client: a task that owns its session, its sockets and its agent.
//!
//! Owns: the order of things (events, then datagrams, then messages), the signalling connection and
//! its successors, and the end. Must not: decide anything; the session and the agent do.

use crate::agent::{Agent, EventQueue};
use crate::dial::dial;
use crate::error::{ConnectError, Step};
use crate::event::{EndReason, SessionEvent};
use crate::handshake::Upgrade;
use crate::options::{ConnectOptions, PeerMode};
use crate::session::{Redial, Session, WriteError};
use crate::signal::{Signal, SignalEnd};
use crate::timeline::Timeline;
use crate::track::{Layer, RtpOut, TrackHandle, TrackSpec};
use crate::udp::Sockets;
use crate::url::ServerUrl;
use livekit_protocol::SignalResponse;
use std::future::pending;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Calls that wait for the client's task. Beyond: the caller waits.
const CALLS_MAX: usize = 64;
/// How long a client may take to end: it says goodbye to the server, which may be gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// When nothing is to be done for long, the loop looks around all the same.
const IDLE_MAX: Duration = Duration::from_secs(3600);

type Call<A> = Box<dyn FnOnce(&mut Session, &mut A, Instant) + Send>;

/// The client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client has ended")]
pub struct Gone;

/// A client that has joined. Dropping it leaves the room.
#[derive(Debug)]
pub struct Client<A: Agent = EventQueue> {
    calls: mpsc::Sender<Call<A>>,
    events: Option<mpsc::Receiver<SessionEvent>>,
    task: JoinHandle<A>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Client {
    /// Joins, with a queue of events: [`Client::next_event`].
    ///
    /// # Errors
    /// Why it could not, in one line.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let (queue, events) = EventQueue::new();
        let mut client = Self::connect_with(options, queue).await?;
        client.events = Some(events);
        Ok(client)
    }

    /// The next event; `None` after [`SessionEvent::Ended`].
    pub async fn next_event(&mut self) -> Option<SessionEvent> {
        self.events.as_mut()?.recv().await
    }

    /// The queue of events itself.
    pub fn events(&mut self) -> Option<&mut mpsc::Receiver<SessionEvent>> {
        self.events.as_mut()
    }
}

impl<A: Agent> Client<A> {
    /// Joins, and lets `agent` live in the client's task. Returns when the server has let the client
    /// in; media is connected later.
    ///
    /// # Errors
    /// Why it could not, in one line.
    pub async fn connect_with(options: ConnectOptions, agent: A) -> Result<Self, ConnectError> {
        let (options, (session, signal, sockets)) = join_either(options).await?;
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        let stop = CancellationToken::new();
        let driver = Driver {
            session,
            agent,
            signal: Some(signal),
            dialling: None,
            options,
            sockets,
            calls: waiting,
            stop: stop.clone(),
        };
        Ok(Self {
            calls,
            events: None,
            task: tokio::spawn(driver.run()),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Does something in the client's task, and waits for its result.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Session, &mut A, Instant) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (reply, result) = oneshot::channel();
        let call: Call<A> = Box::new(move |session, agent, now| {
            // Whoever asked may have gone.
            let _ = reply.send(call(session, agent, now));
        });
        self.calls.send(call).await.map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }

    /// See [`Session::publish`].
    ///
    /// # Errors
    /// The client has ended.
    pub async fn publish(&self, spec: TrackSpec) -> Result<TrackHandle, Gone> {
        self.call(|session, _, now| session.publish(spec, now))
            .await
    }

    /// See [`Session::write`].
    ///
    /// # Errors
    /// The client has ended.
    pub async fn write(
        &self,
        track: TrackHandle,
        layer: Layer,
        packet: RtpOut,
    ) -> Result<Result<(), WriteError>, Gone> {
        self.call(move |session, _, now| session.write(track, layer, packet, now))
            .await
    }

    /// The moments of the join so far.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn timeline(&self) -> Result<Timeline, Gone> {
        self.call(|session, _, _| *session.timeline()).await
    }

    /// The client has ended, by itself or by the server.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until the client has ended, and gives the agent back; `None` if it panicked.
    pub async fn ended(mut self) -> Option<A> {
        (&mut self.task).await.ok()
    }

    /// Leaves the room and gives the agent back; `None` if it did not end in 3 s, or panicked.
    pub async fn close(mut self) -> Option<A> {
        self.stop.cancel();
        match tokio::time::timeout(CLOSE_TIMEOUT, &mut self.task).await {
            Ok(ended) => ended.ok(),
            Err(_) => {
                self.task.abort();
                None
            }
        }
    }
}

/// On `/rtc/v1`, or, if the server has none, on `/rtc`, as LiveKit's clients do.
async fn join_either(
    mut options: ConnectOptions,
) -> Result<(ConnectOptions, (Session, Signal, Sockets)), ConnectError> {
    let joined = match join(&options).await {
        Err(ConnectError::Status { status: 404, .. })
            if options.fallback && options.session.mode == PeerMode::Single =>
        {
            options.session.mode = PeerMode::Dual;
            join(&options).await
        }
        joined => joined,
    };
    joined.map(|joined| (options, joined))
}

/// A new signalling connection for a session that goes on.
async fn redial(mut options: ConnectOptions, redial: Redial) -> Result<Signal, ConnectError> {
    let url = ServerUrl::parse(&options.url)?;
    let within = options.step_timeout;
    let dialled = dial(&url, options.tls.as_ref(), within).await?;
    if let Some(token) = redial.token {
        options.token = token;
    }
    let upgrade = Upgrade {
        authority: url.authority(),
        target: &url.resume_target(&options.session, &redial.participant_sid),
        token: &options.token,
        headers: &options.headers,
    };
    let socket = tokio::time::timeout(within, upgrade.run(dialled.stream));
    let socket = socket.await.map_err(|_| ConnectError::Timeout {
        server: url.authority().to_owned(),
        step: Step::Handshake,
        after: within,
    })??;
    Ok(Signal::new(socket))
}

/// The server will not let this client in however often it asks.
fn is_forbidden(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Status {
            status: 401 | 403,
            ..
        }
    )
}

/// Everything up to the join response.
async fn join(options: &ConnectOptions) -> Result<(Session, Signal, Sockets), ConnectError> {
    let started = Instant::now();
    let url = ServerUrl::parse(&options.url)?;
    let within = options.step_timeout;
    let dialled = dial(&url, options.tls.as_ref(), within).await?;
    let dialled_at = Instant::now();
    let sockets = Sockets::bind(dialled.remote, options.session.mode)?;
    let mut session = Session::new(options.session.clone(), sockets.addresses(), started)?;
    session.handle_dialled(dialled_at);

    let target = url.join_target(&options.session, session.initial_offer());
    let upgrade = Upgrade {
        authority: url.authority(),
        target: &target,
        token: &options.token,
        headers: &options.headers,
    };
    let late = |step| ConnectError::Timeout {
        server: url.authority().to_owned(),
        step,
        after: within,
    };
    let socket = tokio::time::timeout(within, upgrade.run(dialled.stream))
        .await
        .map_err(|_| late(Step::Handshake))??;
    session.handle_http(Instant::now());

    let foreign = |cause: String| ConnectError::NotLiveKit {
        server: url.authority().to_owned(),
        cause,
    };
    let mut signal = Signal::new(socket);
    let first = tokio::time::timeout(within, signal.next())
        .await
        .map_err(|_| late(Step::Join))?
        .map_err(|SignalEnd(cause)| ConnectError::Refused(EndReason::SignalClosed(cause)))?;
    session.handle_signal(first, Instant::now());
    match session.end() {
        Some(end) => Err(ConnectError::Refused(end.clone())),
        None if session.is_joined() => Ok((session, signal, sockets)),
        None => Err(foreign("its first message is no join response".to_owned())),
    }
}

type Dialling = Pin<Box<dyn Future<Output = Result<Signal, ConnectError>> + Send>>;

struct Driver<A> {
    session: Session,
    agent: A,
    /// `None` while a session that goes on has none.
    signal: Option<Signal>,
    dialling: Option<Dialling>,
    /// How to connect once more.
    options: ConnectOptions,
    sockets: Sockets,
    calls: mpsc::Receiver<Call<A>>,
    stop: CancellationToken,
}

impl<A: Agent> Driver<A> {
    async fn run(mut self) -> A {
        let mut alarm = pin!(tokio::time::sleep(IDLE_MAX));
        let mut armed = Instant::now() + IDLE_MAX;
        loop {
            self.flush().await;
            if self.session.end().is_some() {
                break;
            }
            self.arm(alarm.as_mut(), &mut armed);
            self.wait(alarm.as_mut()).await;
            let now = Instant::now();
            if armed <= now {
                // It rang, or is about to: it is set anew next time.
                armed = now + IDLE_MAX;
            }
            self.tick(now);
        }
        if self.session.end() == Some(&EndReason::Vanished) {
            // The sockets stay open, and nobody reads them.
            self.stop.cancelled().await;
        } else if let Some(signal) = self.signal {
            signal.close().await;
        }
        self.agent
    }

    /// Waits for one thing to happen and hands it to the session.
    async fn wait(&mut self, alarm: Pin<&mut Sleep>) {
        tokio::select! {
            connection = self.sockets.readable() => {
                self.sockets.read_into(connection, &mut self.session);
            }
            message = next_of(&mut self.signal) => match message {
                Ok(message) => self.session.handle_signal(message, Instant::now()),
                Err(SignalEnd(cause)) => self.session.handle_signal_end(cause, Instant::now()),
            },
            dialled = dialled_of(&mut self.dialling) => {
                self.dialling = None;
                self.handle_dialled(dialled, Instant::now());
            }
            Some(call) = self.calls.recv() => {
                call(&mut self.session, &mut self.agent, Instant::now());
            }
            () = alarm => {}
            () = self.stop.cancelled() => self.session.leave(Instant::now()),
        }
    }

    fn handle_dialled(&mut self, dialled: Result<Signal, ConnectError>, now: Instant) {
        match dialled {
            Ok(signal) => {
                self.signal = Some(signal);
                self.session.handle_redialled(now);
            }
            Err(error) => {
                let forbidden = is_forbidden(&error);
                self.session
                    .handle_redial_failed(error.to_string(), forbidden, now);
            }
        }
    }

    /// A lost connection is let go, without a goodbye, and a new one is made when it is time.
    fn mend(&mut self, now: Instant) {
        if self.session.has_lost_signal() {
            self.signal = None;
        }
        if let Some(wanted) = self.session.poll_redial(now) {
            self.dialling = Some(Box::pin(redial(self.options.clone(), wanted)));
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        if self.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(&mut self.session, now);
        }
    }

    /// Sets the alarm earlier where needed. One that rings too early does no harm, and setting it
    /// for every packet would cost more than that.
    fn arm(&self, alarm: Pin<&mut Sleep>, armed: &mut Instant) {
        let wanted = [self.session.poll_timeout(), self.agent.poll_timeout()];
        let wanted = wanted.into_iter().flatten().min();
        let wanted = wanted.unwrap_or_else(|| Instant::now() + IDLE_MAX);
        if wanted < *armed || alarm.is_elapsed() {
            *armed = wanted;
            alarm.reset(wanted.into());
        }
    }

    /// Everything that the session has to say, to the agent first: it may add something.
    async fn flush(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                self.agent
                    .handle_event(event, &mut self.session, Instant::now());
            }
            while let Some(transmit) = self.session.poll_transmit() {
                if !self.sockets.send(&transmit) {
                    self.session.handle_unsent();
                }
            }
            let Some(request) = self.session.poll_signal() else {
                self.mend(Instant::now());
                return;
            };
            let Some(signal) = &mut self.signal else {
                continue;
            };
            if let Err(SignalEnd(cause)) = signal.send(&request).await {
                self.session.handle_signal_end(cause, Instant::now());
            }
        }
    }
}

async fn next_of(signal: &mut Option<Signal>) -> Result<SignalResponse, SignalEnd> {
    match signal {
        Some(signal) => signal.next().await,
        None => pending().await,
    }
}

async fn dialled_of(dialling: &mut Option<Dialling>) -> Result<Signal, ConnectError> {
    match dialling {
        Some(dialling) => dialling.await,
        None => pending().await,
    }
}
