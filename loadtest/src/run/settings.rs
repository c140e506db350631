//! What a run is made of, besides its plan.

use super::cause::PrepareError;
use crate::media::{Codec, Layer};
use crate::packetize::Placement;
use crate::plan::{PlanSettings, Profile};
use client::{AccessToken, PeerMode, ServerUrl};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Up to so many participants, all are receivers in full.
const ALL_FULL_MAX: usize = 100;
/// With more, one in so many is.
const FULL_EVERY: usize = 5;
/// Workers at most: threads are cheap, but each has its own figures.
const WORKERS_MAX: usize = 64;
/// Browsers at most: each costs about a core.
const BROWSERS_MAX: usize = 50;
/// Participants over the `webrtc` crate at most: they share one thread.
const WEBRTC_MAX: usize = 200;
/// Characters of a prefix at most.
const PREFIX_MAX: usize = 64;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Who does what when.
    pub plan: PlanSettings,
    /// The server: `ws`, `wss`, `http` or `https`.
    pub url: String,
    /// Whose tokens are signed.
    pub api_key: String,
    /// With what.
    pub api_secret: String,
    /// Two peer connections each, else one.
    pub dual: bool,
    /// Of the pictures.
    pub codec: Codec,
    /// The largest size that is sent.
    pub largest: Layer,
    /// Pictures are sent in all sizes up to that; else in that alone.
    pub simulcast: bool,
    /// The size that is asked for where nobody is looked at in particular.
    pub watch: Layer,
    /// One in so many participants decrypts what it receives; the others count clear headers. `None`:
    /// all in small runs, one in five in larger ones.
    pub full_every: Option<usize>,
    /// Threads.
    pub workers: usize,
    /// Media without ffmpeg.
    pub synthetic: bool,
    /// Where metrics are: `http` URLs. Empty: where `anteroom up` has them, if it runs on this machine.
    pub metrics: Vec<String>,
    /// Further participants over the `webrtc` crate.
    pub webrtc: usize,
    /// Further participants in browsers.
    pub browsers: usize,
    /// The browser; `None`: the first Chromium or Chrome in the `PATH`.
    pub browser: Option<PathBuf>,
    /// Further header fields of each join; none by default.
    pub headers: RoomHeaders,
    /// The program and its version, for the report.
    pub tool: String,
}

/// Header fields that each join of a room has on top: what a proxy in front of the server would add.
#[derive(Clone)]
pub struct RoomHeaders(Arc<OfRoom>);

type OfRoom = dyn Fn(&str) -> Vec<(String, String)> + Send + Sync;

impl RoomHeaders {
    /// Those that `of_room` gives, for each join anew.
    pub fn new(of_room: impl Fn(&str) -> Vec<(String, String)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(of_room))
    }

    pub(super) fn of(&self, room: &str) -> Vec<(String, String)> {
        (self.0)(room)
    }
}

impl Default for RoomHeaders {
    fn default() -> Self {
        Self::new(|_| Vec::new())
    }
}

impl fmt::Debug for RoomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomHeaders")
    }
}

impl RunSettings {
    /// Defaults for all but the plan and the server.
    #[must_use]
    pub fn new(plan: PlanSettings, url: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            plan,
            url: url.into(),
            api_key: "devkey".to_owned(),
            api_secret: "secret".to_owned(),
            dual: false,
            codec: Codec::Vp8,
            largest: Layer::High,
            simulcast: true,
            watch: Layer::High,
            full_every: None,
            workers: cores.min(WORKERS_MAX),
            synthetic: false,
            metrics: Vec::new(),
            webrtc: 0,
            browsers: 0,
            browser: None,
            headers: RoomHeaders::default(),
            tool: concat!("loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), PrepareError> {
        ServerUrl::parse(&self.url)?;
        self.token("room", "identity", true)?;
        let refuse = |text: String| Err(PrepareError::Setting(text));
        if !self.codec.is_video() {
            return refuse("the codec must be one of pictures: vp8 or h264".to_owned());
        }
        // Rooms stand in URLs of pages, and everybody's rules for names differ.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let prefix = &self.plan.prefix;
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || !prefix.chars().all(plain) {
            return refuse(format!(
                "the prefix '{prefix}' must be 1 to {PREFIX_MAX} letters, digits, '-', '_' or '.'"
            ));
        }
        if self.full_every == Some(0) {
            return refuse("one in 0 participants is nobody: give 1 or more".to_owned());
        }
        let counts = [
            (self.workers, 1, WORKERS_MAX, "workers"),
            (self.browsers, 0, BROWSERS_MAX, "browsers"),
            (
                self.webrtc,
                0,
                WEBRTC_MAX,
                "participants over the webrtc crate",
            ),
        ];
        for (count, min, max, what) in counts {
            if !(min..=max).contains(&count) {
                return refuse(format!("{min} to {max} {what} fit in one run, not {count}"));
            }
        }
        for url in &self.metrics {
            super::fetch::check(url).map_err(PrepareError::Setting)?;
        }
        Ok(())
    }

    /// A token for an hour longer than the run.
    pub(super) fn token(
        &self,
        room: &str,
        identity: &str,
        publish: bool,
    ) -> Result<String, client::TokenError> {
        let mut token = AccessToken::new(room, identity);
        token.lifetime += self.plan.duration;
        token.can_publish = publish;
        token.sign(&self.api_key, &self.api_secret)
    }

    pub(super) fn mode(&self) -> PeerMode {
        if self.dual {
            PeerMode::Dual
        } else {
            PeerMode::Single
        }
    }

    /// Participants that are not our own clients.
    pub(super) fn outsiders(&self) -> u64 {
        (self.webrtc + self.browsers) as u64
    }

    /// This participant, by its number in the run, decrypts what it receives.
    pub(super) fn is_full(&self, number: usize) -> bool {
        let people = self.plan.rooms * self.plan.people;
        let default = if people <= ALL_FULL_MAX {
            1
        } else {
            FULL_EVERY
        };
        number.is_multiple_of(self.full_every.unwrap_or(default).max(1))
    }

    /// Where stamps go: browsers must be able to decode.
    pub(super) fn placement(&self) -> Placement {
        if self.browsers > 0 {
            Placement::Decodable
        } else {
            Placement::EveryPacket
        }
    }

    /// The layers that are sent.
    pub(super) fn layers(&self) -> &'static [Layer] {
        let all: &'static [Layer] = &Layer::ALL;
        let last = usize::from(self.largest.index());
        let first = if self.simulcast { 0 } else { last };
        all.get(first..=last).unwrap_or(all)
    }

    /// Name and value, for the report.
    pub(super) fn rows(&self, notes: &[String]) -> Vec<(String, String)> {
        let plan = &self.plan;
        let layers = self.layers().iter().map(|layer| layer.lines());
        let layers = layers.collect::<Vec<_>>().join(", ");
        let source = if self.synthetic || !notes.is_empty() {
            "synthetic"
        } else {
            "encoded"
        };
        let media = format!("{:?} {layers}, Opus; {source}", self.codec);
        let people = plan.rooms * plan.people;
        let full = (0..people).filter(|number| self.is_full(*number)).count();
        let mut rows = vec![
            ("Media", media),
            ("Joins a second", plan.join_rate.to_string()),
            ("Decrypting receivers", format!("{full} of {people}")),
            (
                "Connections",
                match self.mode() {
                    PeerMode::Single => "one for both directions (/rtc/v1)".to_owned(),
                    PeerMode::Dual => "one a direction (/rtc)".to_owned(),
                },
            ),
            ("Workers", self.workers.to_string()),
        ];
        match plan.profile {
            Profile::Meeting => {}
            Profile::Webinar => rows.push(("Publishers", plan.publishers.to_string())),
            Profile::Churn => rows.push(("Changes a second", plan.churn_rate.to_string())),
            Profile::Switch => rows.push(("Each speaks for", format!("{:?}", plan.speak))),
            Profile::Torture => rows.push(("A fault every", format!("{:?}", plan.fault_every))),
        }
        if self.webrtc > 0 {
            rows.push(("Over the webrtc crate", self.webrtc.to_string()));
        }
        if self.browsers > 0 {
            rows.push(("In browsers", self.browsers.to_string()));
        }
        rows.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The room that the `number`-th outsider joins, and its name there.
    pub(super) fn place_of(&self, number: usize, what: &str) -> (String, String) {
        let room = format!(
            "{}-{}",
            self.plan.prefix,
            number % self.plan.rooms.max(1) + 1
        );
        let identity = format!("{room}-{what}{}", number + 1);
        (room, identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(people: usize) -> RunSettings {
        let plan = PlanSettings {
            people,
            ..PlanSettings::new(Profile::Meeting)
        };
        RunSettings::new(plan, "http://127.0.0.1:1")
    }

    #[test]
    fn pictures_go_up_to_the_largest_size_that_is_asked_for() {
        let layers = |largest, simulcast| {
            let settings = RunSettings {
                largest,
                simulcast,
                ..settings(2)
            };
            settings.layers().to_vec()
        };
        assert_eq!(layers(Layer::High, true), Layer::ALL);
        assert_eq!(layers(Layer::Medium, true), [Layer::Low, Layer::Medium]);
        assert_eq!(layers(Layer::Medium, false), [Layer::Medium]);
    }

    #[test]
    fn small_runs_are_measured_in_full_and_large_ones_in_part() {
        let full = |settings: &RunSettings| (0..1000).filter(|n| settings.is_full(*n)).count();
        assert_eq!(full(&settings(100)), 1000);
        assert_eq!(full(&settings(101)), 200);
        let one_in_ten = RunSettings {
            full_every: Some(10),
            ..settings(4)
        };
        assert_eq!(full(&one_in_ten), 100);
    }

    #[test]
    fn bad_settings_are_refused_with_their_cure() {
        let refusals = [
            (
                RunSettings {
                    url: "host".to_owned(),
                    ..settings(4)
                },
                "no URL",
            ),
            (
                RunSettings {
                    api_secret: String::new(),
                    ..settings(4)
                },
                "secret is empty",
            ),
            (
                RunSettings {
                    full_every: Some(0),
                    ..settings(4)
                },
                "1 or more",
            ),
            (
                RunSettings {
                    workers: 0,
                    ..settings(4)
                },
                "1 to 64 workers",
            ),
            (
                RunSettings {
                    browsers: 99,
                    ..settings(4)
                },
                "0 to 50 browsers",
            ),
            (
                RunSettings {
                    codec: Codec::Opus,
                    ..settings(4)
                },
                "vp8 or h264",
            ),
            (
                RunSettings {
                    metrics: vec!["host".to_owned()],
                    ..settings(4)
                },
                "http://",
            ),
        ];
        for (settings, words) in refusals {
            let refused = settings.check().unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        assert!(settings(4).check().is_ok());
    }

    #[test]
    fn outsiders_go_from_room_to_room() {
        let mut settings = settings(4);
        settings.plan.rooms = 2;
        let rooms: Vec<_> = (0..3)
            .map(|number| settings.place_of(number, "browser").0)
            .collect();
        assert_eq!(rooms, ["loadtest-1", "loadtest-2", "loadtest-1"]);
    }
}
