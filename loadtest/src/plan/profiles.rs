//! The steps of each profile.

use super::{Action, Kind, PlanSettings, Profile, Step};
use crate::random::Random;
use std::sync::Arc;
use std::time::Duration;

/// Nothing new happens so long before the end: what was begun shall be seen.
const CALM: Duration = Duration::from_secs(2);

struct Person {
    room: usize,
    identity: Arc<str>,
    audio_muted: bool,
    video_muted: bool,
}

struct Builder<'a> {
    settings: &'a PlanSettings,
    random: Random,
    rooms: Vec<Arc<str>>,
    /// Who is there now.
    present: Vec<Person>,
    /// How many have ever joined each room: identities are not used twice.
    joined: Vec<usize>,
    steps: Vec<Step>,
}

pub(super) fn steps(settings: &PlanSettings) -> Vec<Step> {
    let mut builder = Builder::new(settings);
    builder.ramp();
    let from = settings.ramp();
    match settings.profile {
        Profile::Meeting | Profile::Webinar => {}
        Profile::Churn => builder.churn(from),
        Profile::Switch => builder.switch(from),
        Profile::Torture => builder.torture(from),
    }
    builder.end();
    builder.steps
}

impl<'a> Builder<'a> {
    fn new(settings: &'a PlanSettings) -> Self {
        let PlanSettings { prefix, rooms, .. } = settings;
        Self {
            settings,
            random: Random::new(settings.seed),
            rooms: (0..*rooms)
                .map(|room| format!("{prefix}-{}", room + 1).into())
                .collect(),
            present: Vec::new(),
            joined: vec![0; *rooms],
            steps: Vec::new(),
        }
    }

    /// Room after room: who joins finds the others there, as in a real meeting.
    fn ramp(&mut self) {
        let PlanSettings { rooms, people, .. } = *self.settings;
        for number in 0..rooms * people {
            let at = f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / self.settings.join_rate;
            self.join(number / people, Duration::from_secs_f64(at));
        }
    }

    /// Everybody who is there leaves.
    fn end(&mut self) {
        for index in 0..self.present.len() {
            self.act(index, Action::Leave, self.settings.duration);
        }
        self.present.clear();
    }

    fn churn(&mut self, from: Duration) {
        let every = Duration::try_from_secs_f64(1.0 / self.settings.churn_rate);
        // At more than one a nanosecond the plan is refused; at less than one an age, nobody goes.
        let every = every.unwrap_or(Duration::MAX);
        for at in self.ticks(from, every) {
            self.replace(Action::Leave, at);
        }
    }

    /// All rooms change their speaker at the same time: the worst moment there is.
    fn switch(&mut self, from: Duration) {
        for index in 0..self.present.len() {
            self.mute(index, Kind::Audio, from);
        }
        let mut speakers: Vec<Option<usize>> = vec![None; self.settings.rooms];
        for at in self.ticks(from, self.settings.speak) {
            for (room, speaker) in speakers.iter_mut().enumerate() {
                let others: Vec<usize> = self.people_of(room, *speaker);
                // Alone in a room, one speaks on.
                let Some(next) = self.random.pick(&others).copied() else {
                    continue;
                };
                if let Some(before) = speaker.replace(next) {
                    self.mute(before, Kind::Audio, at);
                }
                self.unmute(next, Kind::Audio, at);
                for watcher in self.people_of(room, Some(next)) {
                    self.focus(watcher, next, at);
                }
            }
        }
    }

    fn torture(&mut self, from: Duration) {
        for at in self.ticks(from, self.settings.fault_every) {
            let who = self.random.below(self.present.len());
            match self.random.below(12) {
                0..4 => self.act(who, Action::CutConnection, at),
                4..6 => self.toggle(who, Kind::Audio, at),
                6..8 => self.toggle(who, Kind::Video, at),
                8 => self.replace(Action::Vanish, at),
                9 => self.replace(Action::Leave, at),
                _ => {
                    let room = self.present.get(who).map_or(0, |person| person.room);
                    let others = self.people_of(room, Some(who));
                    if let Some(other) = self.random.pick(&others).copied() {
                        self.focus(who, other, at);
                    }
                }
            }
        }
    }

    fn ticks(&self, from: Duration, every: Duration) -> impl Iterator<Item = Duration> + use<> {
        let until = self.settings.duration.saturating_sub(CALM);
        std::iter::successors(Some(from), move |at| at.checked_add(every))
            .take_while(move |at| *at < until)
    }

    fn join(&mut self, room: usize, at: Duration) {
        let Some(joined) = self.joined.get_mut(room) else {
            return;
        };
        let publish =
            self.settings.profile != Profile::Webinar || *joined < self.settings.publishers;
        *joined += 1;
        let name = self.rooms.get(room).map_or("", |name| name);
        let identity = format!("{name}-p{joined}").into();
        self.present.push(Person {
            room,
            identity,
            audio_muted: false,
            video_muted: false,
        });
        self.act(self.present.len() - 1, Action::Join { publish }, at);
    }

    /// Somebody goes, and a new one comes to the same room.
    fn replace(&mut self, how: Action, at: Duration) {
        let who = self.random.below(self.present.len());
        self.act(who, how, at);
        if who < self.present.len() {
            let gone = self.present.swap_remove(who);
            self.join(gone.room, at);
        }
    }

    fn toggle(&mut self, who: usize, kind: Kind, at: Duration) {
        let muted = self.present.get(who).is_some_and(|person| match kind {
            Kind::Audio => person.audio_muted,
            Kind::Video => person.video_muted,
        });
        if muted {
            self.unmute(who, kind, at);
        } else {
            self.mute(who, kind, at);
        }
    }

    fn mute(&mut self, who: usize, kind: Kind, at: Duration) {
        self.set_muted(who, kind, true);
        self.act(who, Action::Mute(kind), at);
    }

    fn unmute(&mut self, who: usize, kind: Kind, at: Duration) {
        self.set_muted(who, kind, false);
        self.act(who, Action::Unmute(kind), at);
    }

    fn set_muted(&mut self, who: usize, kind: Kind, muted: bool) {
        if let Some(person) = self.present.get_mut(who) {
            match kind {
                Kind::Audio => person.audio_muted = muted,
                Kind::Video => person.video_muted = muted,
            }
        }
    }

    fn focus(&mut self, watcher: usize, on: usize, at: Duration) {
        if let Some(on) = self
            .present
            .get(on)
            .map(|person| Arc::clone(&person.identity))
        {
            self.act(watcher, Action::Focus(on), at);
        }
    }

    fn people_of(&self, room: usize, except: Option<usize>) -> Vec<usize> {
        let people = self.present.iter().enumerate();
        people
            .filter(|(index, person)| person.room == room && Some(*index) != except)
            .map(|(index, _)| index)
            .collect()
    }

    fn act(&mut self, who: usize, action: Action, at: Duration) {
        let Some(person) = self.present.get(who) else {
            return;
        };
        let Some(room) = self.rooms.get(person.room) else {
            return;
        };
        self.steps.push(Step {
            at,
            room: Arc::clone(room),
            identity: Arc::clone(&person.identity),
            action,
        });
    }
}
