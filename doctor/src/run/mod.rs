//! The run: one step after the other, each told as it ends.

mod carrier;
mod clock;
mod guest;
mod http;
mod line;
mod media;
mod pair;
mod party;
mod pipe;
mod relay;
mod resolve;
mod tls;
mod ways;

use crate::core::report::{Finding, Hop, Report, Status, Step};
use crate::core::target::{Target, sticky};
use crate::core::token::Claims;
use crate::core::verdict::gateway::{self, Handshake};
use crate::core::verdict::{join, overall, reach};
use client::{AccessToken, ConnectError, ConnectOptions, Signalling, lk};
use clock::unix_s;
use guest::Guest;
use line::Line;
use std::time::{Duration, Instant};
use tls::Trust;

/// How participants of the run get in.
#[derive(Clone)]
pub enum Login {
    /// Tokens are made.
    Keys {
        /// API key.
        key: String,
        /// Its secret.
        secret: String,
    },
    /// There is one already.
    Token(String),
}

impl std::fmt::Debug for Login {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keys { .. } => "Keys",
            Self::Token(_) => "Token",
        })
    }
}

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As it was given.
    pub url: String,
    /// The deployment.
    pub target: Target,
    /// The room to join; `None`: that of the URL or the token, else one of this run's own.
    pub room: Option<String>,
    /// How to get in.
    pub login: Login,
    /// For each step.
    pub timeout: Duration,
}

/// Makes all steps, tells each as it ends, and draws the sum.
pub async fn run(settings: &Settings, tell: &mut (dyn FnMut(&Step) + Send)) -> Report {
    let mut run = Run::new(settings, tell);
    // Where it ends early, a step has failed.
    let _ = run.go().await;
    if let Some((broken, _)) = overall::broken(&run.steps) {
        for (hop, why) in overall::unreached(&run.steps, broken) {
            run.note(hop, Finding::skipped(why), Duration::ZERO);
        }
    }
    Report::new(&settings.url, &run.room, run.steps)
}

struct Run<'a> {
    settings: &'a Settings,
    room: String,
    /// Tells the participants of this run from those of another one.
    number: u32,
    steps: Vec<Step>,
    tell: &'a mut (dyn FnMut(&Step) + Send),
}

impl<'a> Run<'a> {
    fn new(settings: &'a Settings, tell: &'a mut (dyn FnMut(&Step) + Send)) -> Self {
        let number: u32 = rand::random();
        let of_token = match &settings.login {
            Login::Token(token) => Claims::read(token).map(|claims| claims.video.room),
            Login::Keys { .. } => None,
        };
        let named = settings
            .room
            .clone()
            .or_else(|| settings.target.room.clone());
        let room = named.or(of_token).filter(|room| !room.is_empty());
        Self {
            settings,
            room: room.unwrap_or_else(|| format!("doctor-{number:08x}")),
            number,
            steps: Vec::new(),
            tell,
        }
    }

    /// Notes a step; `None`: it failed, and what follows needs it.
    fn note(&mut self, hop: Hop, finding: Finding, took: Duration) -> Option<()> {
        let step = Step::new(hop, finding, took);
        (self.tell)(&step);
        let is_broken = step.status == Status::Failed;
        self.steps.push(step);
        (!is_broken).then_some(())
    }

    async fn go(&mut self) -> Option<()> {
        let line = self.reach().await?;
        self.ask_http(&line).await?;
        self.ask_websocket().await?;
        self.ask_token(&line).await?;
        let probe = self.join(&line).await?;
        let working = self.try_ways(&probe).await;
        let met = match working {
            Some(way) => self.meet(&line, &way).await,
            None => None,
        };
        // It has kept the room on its node until here.
        probe.leave().await;
        met
    }

    /// Name, TCP and TLS.
    async fn reach(&mut self) -> Option<Line> {
        let target = &self.settings.target;
        let within = self.settings.timeout;
        let began = Instant::now();
        let found = resolve::addresses(target, within).await;
        self.note(
            Hop::Name,
            reach::name(&target.host, &found),
            began.elapsed(),
        )?;
        let began = Instant::now();
        let dials = line::dial_all(&found.ok()?, target.port, within).await;
        self.note(Hop::Tcp, reach::tcp(&dials), began.elapsed())?;
        let address = dials.iter().find(|(_, outcome)| outcome.is_ok())?.0;
        let line = Line::new(target.clone(), address, within);
        let began = Instant::now();
        if !target.tls {
            self.note(
                Hop::Tls,
                Finding::skipped("the URL has none"),
                Duration::ZERO,
            );
            return Some(line);
        }
        let (shown, outcome) = line.try_tls().await;
        let finding = reach::tls(&target.host, &shown, &outcome, unix_s());
        self.note(Hop::Tls, finding, began.elapsed())?;
        Some(line)
    }

    async fn ask_http(&mut self, line: &Line) -> Option<()> {
        let (began, before) = (Instant::now(), unix_s());
        let answer = http::get(line, &sticky(&self.room), None).await;
        let mut finding = gateway::http(&answer);
        let date = answer.as_ref().ok().and_then(|answer| answer.date);
        let warning = date.and_then(|date| gateway::clock(date, before, unix_s()));
        finding.warnings.extend(warning);
        self.note(Hop::Http, finding, began.elapsed())
    }

    /// Without a token: nobody joins.
    async fn ask_websocket(&mut self) -> Option<()> {
        let began = Instant::now();
        let options = self.options(String::new());
        let connecting = Signalling::connect(&options, lk::SessionDescription::default());
        let outcome = match connecting.await {
            Ok(signalling) => {
                signalling.close().await;
                Handshake::Open
            }
            Err(ConnectError::Status { status, text }) => Handshake::Status(status, text),
            Err(error) => Handshake::Broken(error.to_string()),
        };
        self.note(
            Hop::WebSocket,
            gateway::websocket(&outcome),
            began.elapsed(),
        )
    }

    async fn ask_token(&mut self, line: &Line) -> Option<()> {
        let began = Instant::now();
        let token = match self.token("probe") {
            Ok(token) => token,
            Err(cause) => {
                let finding = Finding::failed(cause, "give --api-key and --api-secret, or --token");
                return self.note(Hop::Token, finding, began.elapsed());
            }
        };
        let path = format!("{}/rtc/v1/validate", sticky(&self.room));
        let answer = http::get(line, &path, Some(&token)).await;
        let claims = Claims::read(&token);
        let finding = gateway::token(&answer, claims.as_ref(), unix_s());
        self.note(Hop::Token, finding, began.elapsed())
    }

    async fn join(&mut self, line: &Line) -> Option<Guest> {
        let began = Instant::now();
        let joined = match self.token("probe") {
            Ok(token) => Guest::join(&self.options(token), guest::NOWHERE).await,
            Err(cause) => Err(cause),
        };
        let (welcome, guest) = match joined {
            Ok(guest) => (Ok(guest.welcome()), Some(guest)),
            Err(cause) => (Err(cause), None),
        };
        let finding = join::join(&welcome, Some(line.address().ip()));
        self.note(Hop::Join, finding, began.elapsed())?;
        guest
    }

    /// A token for a participant of this run.
    fn token(&self, name: &str) -> Result<String, String> {
        match &self.settings.login {
            Login::Token(token) => Ok(token.clone()),
            Login::Keys { key, secret } => {
                let identity = format!("doctor-{name}-{:08x}", self.number);
                let mut token = AccessToken::new(&self.room, identity);
                "Connection test".clone_into(&mut token.name);
                let signed = token.sign(key, secret);
                signed.map_err(|error| error.to_string())
            }
        }
    }

    fn options(&self, token: String) -> ConnectOptions {
        let mut options = ConnectOptions::new(self.settings.target.signal_url(&self.room), token);
        options.step_timeout = self.settings.timeout;
        options
    }

    async fn try_ways(&mut self, probe: &Guest) -> Option<ways::Working> {
        let trust = Trust::system();
        let ways = ways::all(probe, &trust, self.settings.timeout).await;
        let mut best: Option<ways::Working> = None;
        for tried in ways {
            self.note(tried.hop, tried.finding, tried.took);
            if best.is_none() {
                best = tried.working;
            }
        }
        best
    }

    /// Two participants on the best way.
    async fn meet(&mut self, line: &Line, way: &ways::Working) -> Option<()> {
        let pair = pair::Pair {
            way: &way.way,
            within: self.settings.timeout,
            trust: Trust::system(),
        };
        let speaker = match self.token("speaker") {
            Ok(token) => self.options(token),
            Err(_) => return None,
        };
        let first = pair.first(&speaker).await;
        self.note(Hop::Dtls, first.dtls.0, first.dtls.1)?;
        self.note(Hop::Data, first.data.0, first.data.1)?;
        let party = first.party?;
        let began = Instant::now();
        let listener = match self.settings.login {
            Login::Keys { .. } => self.token("listener").ok(),
            // A second one with the same identity would throw the first one out.
            Login::Token(_) => http::token(line, &self.room).await,
        };
        let Some(listener) = listener else {
            party.leave().await;
            let why = "one token is one participant: give --api-key and --api-secret for two";
            self.note(Hop::Media, Finding::skipped(why), Duration::ZERO);
            return Some(());
        };
        let finding = pair
            .media(party, &self.options(listener), way.checked.rtt)
            .await;
        self.note(Hop::Media, finding, began.elapsed())
    }
}
