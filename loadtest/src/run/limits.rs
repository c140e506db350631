//! How many files a run has open, and how many it may.

use super::cause::PrepareError;
use super::settings::RunSettings;
use crate::plan::{Action, Step};
use client::PeerMode;
use std::path::Path;

/// Of the program itself: standard streams, the runtimes' own, metrics, the report.
const OWN: u64 = 64;
/// A participant that comes back has two connections for a moment.
const SPARE: u64 = 32;
/// Of each browser: the DevTools connection and pipes. Its own files are its own process's.
const OF_BROWSER: u64 = 8;

/// What a plan needs at its fullest. Who vanished keeps its sockets: that is what vanishing means.
pub(super) fn needed(steps: &[Step], settings: &RunSettings) -> u64 {
    let (mut open, mut most) = (0_u64, 0);
    for step in steps {
        match step.action {
            Action::Join { .. } => open += 1,
            Action::Leave => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    // One TCP connection, and a UDP socket for each peer connection.
    let sockets = match settings.mode() {
        PeerMode::Single => 2,
        PeerMode::Dual => 3,
    };
    let people = most + SPARE + settings.webrtc as u64;
    OWN + people * sockets + settings.browsers as u64 * OF_BROWSER
}

pub(super) fn check(needed: u64) -> Result<(), PrepareError> {
    match soft_limit(Path::new("/proc/self/limits")) {
        Some(limit) if limit < needed => Err(PrepareError::OpenFiles { needed, limit }),
        // Where the limit cannot be read, nobody can say.
        _ => Ok(()),
    }
}

fn soft_limit(file: &Path) -> Option<u64> {
    soft_limit_of(&std::fs::read_to_string(file).ok()?)
}

/// From the text of `/proc/self/limits` (proc_pid_limits(5)); `None` also if there is none.
fn soft_limit_of(text: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlanSettings, Profile};

    #[test]
    fn the_limit_is_read_and_none_is_none() {
        let text = "Limit  Soft Limit  Hard Limit  Units\n\
                    Max processes             95810  95810  processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit_of(text), Some(1024));
        assert_eq!(
            soft_limit_of("Max open files unlimited unlimited files"),
            None
        );
        assert_eq!(soft_limit_of("nothing"), None);
    }

    #[test]
    fn a_plan_needs_what_it_has_open_at_its_fullest() {
        let plan = PlanSettings {
            rooms: 10,
            people: 10,
            ..PlanSettings::new(Profile::Meeting)
        };
        let steps = plan.plan().unwrap();
        let mut settings = RunSettings::new(plan, "http://127.0.0.1:1");
        assert_eq!(needed(&steps, &settings), OWN + (100 + SPARE) * 2);
        settings.dual = true;
        assert_eq!(needed(&steps, &settings), OWN + (100 + SPARE) * 3);
        let refused = check(u64::MAX).unwrap_err().to_string();
        assert!(refused.contains("ulimit -n"), "{refused}");
        assert!(check(1).is_ok());
    }
}
