//! Drives a run: threads of participants, the servers' metrics, the progress line, the end.
//!
//! Owns: everything of this crate that has a socket, a thread or a clock. Must not: decide what is
//! done when ([`crate::plan`]) or what figures mean ([`crate::collect`]).
//!
//! # The way of a run
//!
//! 1. [`Run::prepare`] makes the plan and the media, and refuses what cannot work, before anything is
//!    sent: too few open files, a URL that is none, an API secret that signs nothing.
//! 2. [`Run::go`] deals the participants out to workers: threads with a runtime and a
//!    [`Collector`](crate::collect::Collector) each, that share nothing while the run goes on.
//! 3. In a worker each participant is a task that obeys the plan's orders and comes back when its
//!    connection is lost; inside of its client lives a *member*, who sends at the pace and counts
//!    what comes.
//! 4. At the plan's end, or when the [`Stop`] is pulled, the curtain falls: nobody sends or counts any
//!    more, all leave, and the workers' figures become one [`Report`].

mod browser;
mod cause;
mod clock;
mod conductor;
mod desk;
mod fetch;
mod host;
mod limits;
mod member;
mod orders;
mod participant;
mod receiving;
mod sending;
mod settings;
mod webrtc;
mod worker;

pub use cause::{Cause, PrepareError};
pub use settings::{RoomHeaders, RunSettings};

use crate::media::make::{MediaError, make_media};
use crate::media::synthetic::synthetic;
use crate::media::{Media, MediaSettings};
use crate::plan::Step;
use crate::progress::Progress;
use crate::report::Report;
use crate::slo::Slo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Ends a run before its time when it is cancelled: everybody leaves, the report is written.
pub type Stop = CancellationToken;

/// A run that can begin.
#[derive(Debug)]
pub struct Run {
    settings: Arc<RunSettings>,
    steps: Vec<Step>,
    media: Arc<Media>,
    /// The browser's program, if there shall be browsers.
    browser: Option<PathBuf>,
    notes: Vec<String>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    /// What it found.
    pub report: Report,
    /// Why it ended before its time, other than by [`Stop`].
    pub cause: Option<Cause>,
}

impl Run {
    /// Makes the plan and the media, kept in `folder` from run to run. Blocks: with ffmpeg some seconds,
    /// the first time.
    ///
    /// # Errors
    /// What cannot work, in one line with its cure.
    pub fn prepare(settings: RunSettings, folder: &Path) -> Result<Self, PrepareError> {
        let steps = settings.plan.plan()?;
        settings.check()?;
        limits::check(limits::needed(&steps, &settings))?;
        let browser = match settings.browsers {
            0 => None,
            _ => Some(browser::find(settings.browser.as_deref()).map_err(PrepareError::Setting)?),
        };
        let (media, note) = media(&settings, folder)?;
        Ok(Self {
            settings: Arc::new(settings),
            steps,
            media: Arc::new(media),
            browser,
            notes: note.into_iter().collect(),
        })
    }

    /// What whoever starts it should know, a line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many participants join, if all goes well.
    #[must_use]
    pub fn joins(&self) -> u64 {
        let is_join = |step: &&Step| matches!(step.action, crate::plan::Action::Join { .. });
        self.steps.iter().filter(is_join).count() as u64 + self.settings.outsiders()
    }

    /// Runs it to its end, and judges it. Blocks; takes the plan's duration and the time of leaving.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn go(self, slo: &Slo, stop: Stop, progress: Progress) -> std::io::Result<Ended> {
        conductor::conduct(self, slo, stop, progress)
    }
}

/// The media, and what is to be said about it.
fn media(settings: &RunSettings, folder: &Path) -> Result<(Media, Option<String>), PrepareError> {
    let wanted = MediaSettings {
        codecs: vec![settings.codec],
        ..MediaSettings::default()
    };
    if settings.synthetic {
        return Ok((synthetic(&wanted), None));
    }
    match make_media(folder, &wanted) {
        Ok(media) => Ok((media, None)),
        Err(error @ MediaError::NoFfmpeg(_)) => {
            let note = format!(
                "{error}. This run sends synthetic media: right sizes and headers, no picture to see"
            );
            Ok((synthetic(&wanted), Some(note)))
        }
        Err(error) => Err(error.into()),
    }
}
