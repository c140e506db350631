//! Who does what when: a run as a list of timed steps, the same for the same seed.
//!
//! Owns: the profiles ([`Profile`]) and their rates. Must not: join anything. A plan is sound: who
//! does something has joined before and has not left, and everybody has left at the end.

mod profiles;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Participants of one run at most: more than a machine has ports for.
const PARTICIPANTS_MAX: usize = 50_000;
/// Steps of one plan at most.
const STEPS_MAX: f64 = 2_000_000.0;

/// The kinds of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Rooms in which all publish.
    Meeting,
    /// Rooms in which few publish and many watch.
    Webinar,
    /// Meetings in which people come and go.
    Churn,
    /// Meetings in which one speaks at a time, whom all others look at.
    Switch,
    /// Meetings with cut connections, vanishing people, mutes and comings and goings.
    Torture,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Meeting,
        Self::Webinar,
        Self::Churn,
        Self::Switch,
        Self::Torture,
    ];

    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Meeting => "meeting",
            Self::Webinar => "webinar",
            Self::Churn => "churn",
            Self::Switch => "switch",
            Self::Torture => "torture",
        }
    }
}

/// What a plan is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSettings {
    /// The kind of run.
    pub profile: Profile,
    /// Rooms.
    pub rooms: usize,
    /// Participants in each room at the same time.
    pub people: usize,
    /// Of these, how many publish in a webinar.
    pub publishers: usize,
    /// Until everybody leaves.
    pub duration: Duration,
    /// Joins a second, at the start.
    pub join_rate: f64,
    /// In `churn`: how many people a second leave and are followed by new ones, in all rooms.
    pub churn_rate: f64,
    /// In `switch`: how long each one speaks.
    pub speak: Duration,
    /// In `torture`: time from fault to fault, in all rooms.
    pub fault_every: Duration,
    /// The plan's seed.
    pub seed: u64,
    /// The beginning of all room names.
    pub prefix: String,
}

impl PlanSettings {
    /// A run of one minute, with rates that one machine can take.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            rooms: 1,
            people: 4,
            publishers: 1,
            duration: Duration::from_secs(60),
            join_rate: 10.0,
            churn_rate: 1.0,
            speak: Duration::from_secs(3),
            fault_every: Duration::from_secs(1),
            seed: 1,
            prefix: "loadtest".to_owned(),
        }
    }

    /// How long it takes until all have joined.
    #[must_use]
    pub fn ramp(&self) -> Duration {
        let people = u32::try_from(self.rooms * self.people).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(f64::from(people) / self.join_rate).unwrap_or(Duration::MAX)
    }

    /// The steps, in order.
    pub fn plan(&self) -> Result<Vec<Step>, PlanError> {
        self.check()?;
        Ok(profiles::steps(self))
    }

    fn check(&self) -> Result<(), PlanError> {
        let refuse = |cause: String| Err(PlanError(cause));
        if self.rooms == 0 || self.people == 0 {
            return refuse("a run needs 1 room with 1 participant or more".to_owned());
        }
        let people = self.rooms.saturating_mul(self.people);
        if people > PARTICIPANTS_MAX {
            return refuse(format!(
                "{} rooms of {} are {people} participants: at most {PARTICIPANTS_MAX} fit in one run",
                self.rooms, self.people
            ));
        }
        if self.profile == Profile::Webinar && !(1..=self.people).contains(&self.publishers) {
            return refuse(format!(
                "a webinar needs 1 to {} publishers, not {}",
                self.people, self.publishers
            ));
        }
        for (rate, what) in [(self.join_rate, "join"), (self.churn_rate, "churn")] {
            if !(rate.is_finite() && rate > 0.0) {
                return refuse(format!("the {what} rate must be above 0 a second"));
            }
        }
        if self.speak.is_zero() || self.fault_every.is_zero() {
            return refuse("times from change to change must be above 0".to_owned());
        }
        let ramp = self.ramp();
        if ramp > self.duration / 2 {
            return refuse(format!(
                "{people} joins at {} a second take {:.0} s, more than half of the run of {:.0} s: \
                 join faster or run longer",
                self.join_rate,
                ramp.as_secs_f64(),
                self.duration.as_secs_f64()
            ));
        }
        self.check_steps()
    }

    /// A bound from above.
    fn check_steps(&self) -> Result<(), PlanError> {
        let seconds = self.duration.as_secs_f64();
        let people = crate::numbers::as_f64((self.rooms * self.people) as u64);
        let changes = match self.profile {
            Profile::Meeting | Profile::Webinar => 0.0,
            Profile::Churn => self.churn_rate * 2.0,
            Profile::Switch => (people * 2.0) / self.speak.as_secs_f64(),
            Profile::Torture => 2.0 / self.fault_every.as_secs_f64(),
        };
        let steps = people * 3.0 + changes * seconds;
        if steps > STEPS_MAX {
            return Err(PlanError(format!(
                "the plan would have {steps:.0} steps, at most {STEPS_MAX:.0} are made: run shorter, \
                 or with fewer changes"
            )));
        }
        Ok(())
    }
}

/// A plan that cannot be made; the text says why and what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The microphone.
    Audio,
    /// The camera.
    Video,
}

/// What a participant does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Joins its room, and publishes both sound and picture or nothing.
    Join {
        /// Whether it publishes.
        publish: bool,
    },
    /// Stops sending without taking the track back.
    Mute(Kind),
    /// Sends again.
    Unmute(Kind),
    /// Asks for this participant's picture in the best layer and for all others' in the lowest.
    Focus(Arc<str>),
    /// Its signalling connection is cut without a word; it shall come back by itself.
    CutConnection,
    /// Is gone without a word, as a laptop that is closed. Does nothing afterwards.
    Vanish,
    /// Says goodbye. Does nothing afterwards.
    Leave,
}

/// One action of one participant at its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, since the start of the run. Steps of the same time are done in their order.
    pub at: Duration,
    /// The room's name.
    pub room: Arc<str>,
    /// The participant's identity; no other in the run has the same.
    pub identity: Arc<str>,
    /// What it does.
    pub action: Action,
}

#[cfg(test)]
mod tests;
