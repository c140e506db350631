//! Commands on their way to one node.
//!
//! Owns: their order, how many may wait, and for how long. Must not: know what they do, except that
//! of a subscription's settings only the newest count.

use proto::id::{ParticipantSid, TrackSid};
use proto::media::{NodeCommand, ToWorker, TrackSettings};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Commands that may wait for one node, on top of those in the link itself. The largest honest burst
/// is one `Subscribe` for each participant and track when the rooms of a node come back all at once:
/// this is 1,000 participants with 200 tracks each, some 40 MB. Beyond: the link counts as lost.
const COMMANDS_MAX: usize = 200_000;
/// How long a command may wait. A node takes some thousand commands a second, so one that has not
/// come to a command within this is stuck, and its clients give up on their negotiations (15 s)
/// soon. Beyond: the link counts as lost.
const COMMAND_AGE_MAX: Duration = Duration::from_secs(10);

/// Why a node is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum LinkLost {
    #[error("the link is closed")]
    Closed,
    #[error("200,000 commands wait for it: use more nodes, or faster ones")]
    TooMany,
    #[error("it has taken no command for 10 s: is its machine overloaded?")]
    TooOld,
}

type Subscription = (ParticipantSid, TrackSid);

struct Waiting {
    since: Instant,
    message: ToWorker,
}

/// What one node has not taken yet.
pub(super) struct Outbox {
    link: mpsc::Sender<ToWorker>,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// The number of the oldest: commands are numbered as they come.
    first: u64,
    /// Which waiting command carries the newest settings of a subscription.
    settings: HashMap<Subscription, u64>,
}

impl Outbox {
    pub(super) fn new(link: mpsc::Sender<ToWorker>) -> Self {
        Self {
            link,
            waiting: VecDeque::new(),
            first: 0,
            settings: HashMap::new(),
        }
    }

    /// Sends a command after all that wait.
    pub(super) fn push(
        &mut self,
        worker: u16,
        command: NodeCommand,
        now: Instant,
    ) -> Result<(), LinkLost> {
        if self.merge(&command) {
            return Ok(());
        }
        let message = ToWorker { worker, command };
        let message = if self.waiting.is_empty() {
            match self.link.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(message)) => message,
                Err(TrySendError::Closed(_)) => return Err(LinkLost::Closed),
            }
        } else {
            message
        };
        if self.waiting.len() >= COMMANDS_MAX {
            return Err(LinkLost::TooMany);
        }
        self.note(&message.command);
        self.waiting.push_back(Waiting {
            since: now,
            message,
        });
        Ok(())
    }

    /// Hands on what the link has room for.
    pub(super) fn flush(&mut self, now: Instant) -> Result<(), LinkLost> {
        while !self.waiting.is_empty() {
            match self.link.try_reserve() {
                Ok(permit) => {
                    if let Some(oldest) = self.waiting.pop_front() {
                        forget(&mut self.settings, &oldest.message.command, self.first);
                        self.first += 1;
                        permit.send(oldest.message);
                    }
                }
                Err(TrySendError::Full(())) => break,
                Err(TrySendError::Closed(())) => return Err(LinkLost::Closed),
            }
        }
        if self.overdue_at().is_some_and(|at| at <= now) {
            return Err(LinkLost::TooOld);
        }
        Ok(())
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the oldest command will have waited for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        let oldest = self.waiting.front()?;
        Some(oldest.since + COMMAND_AGE_MAX)
    }

    /// Waits until the link has room, or is closed.
    pub(super) async fn room(&self) {
        // `flush` finds out which of the two it is.
        let _ = self.link.reserve().await;
    }

    /// Puts new settings into the command that waits for the same subscription.
    fn merge(&mut self, command: &NodeCommand) -> bool {
        let NodeCommand::SetTrackSettings {
            participant,
            track,
            settings: newest,
        } = command
        else {
            return false;
        };
        let key = (participant.clone(), track.clone());
        let number = self.settings.get(&key).copied();
        let index = number.and_then(|number| usize::try_from(number - self.first).ok());
        let waiting = index.and_then(|index| self.waiting.get_mut(index));
        let Some(settings) = waiting.and_then(|waiting| settings_in(&mut waiting.message.command))
        else {
            return false;
        };
        *settings = *newest;
        true
    }

    /// Remembers where the newest settings of a subscription wait.
    fn note(&mut self, command: &NodeCommand) {
        let number = self.first + self.waiting.len() as u64;
        match command {
            NodeCommand::Subscribe {
                participant, track, ..
            }
            | NodeCommand::SetTrackSettings {
                participant, track, ..
            } => {
                let key = (participant.clone(), track.clone());
                self.settings.insert(key, number);
            }
            // Later settings are those of another subscription.
            NodeCommand::Unsubscribe { participant, track } => {
                self.settings.remove(&(participant.clone(), track.clone()));
            }
            _ => {}
        }
    }
}

fn settings_in(command: &mut NodeCommand) -> Option<&mut TrackSettings> {
    match command {
        NodeCommand::Subscribe { settings, .. }
        | NodeCommand::SetTrackSettings { settings, .. } => Some(settings),
        _ => None,
    }
}

/// The command with this number waits no more.
fn forget(settings: &mut HashMap<Subscription, u64>, command: &NodeCommand, number: u64) {
    let (NodeCommand::Subscribe {
        participant, track, ..
    }
    | NodeCommand::SetTrackSettings {
        participant, track, ..
    }) = command
    else {
        return;
    };
    let key = (participant.clone(), track.clone());
    if settings.get(&key) == Some(&number) {
        settings.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that takes two commands before somebody reads.
    fn outbox() -> (Outbox, mpsc::Receiver<ToWorker>, Instant) {
        let (link, node) = mpsc::channel(2);
        (Outbox::new(link), node, Instant::now())
    }

    fn track(name: usize) -> TrackSid {
        TrackSid::new(format!("TR_{name}"))
    }

    fn ann() -> ParticipantSid {
        ParticipantSid::new("PA_ann")
    }

    fn subscribe(name: usize) -> NodeCommand {
        NodeCommand::Subscribe {
            participant: ann(),
            track: track(name),
            settings: TrackSettings::default(),
        }
    }

    fn unsubscribe(name: usize) -> NodeCommand {
        NodeCommand::Unsubscribe {
            participant: ann(),
            track: track(name),
        }
    }

    fn wide(width: u32) -> TrackSettings {
        TrackSettings {
            width,
            ..TrackSettings::default()
        }
    }

    fn settings(name: usize, width: u32) -> NodeCommand {
        NodeCommand::SetTrackSettings {
            participant: ann(),
            track: track(name),
            settings: wide(width),
        }
    }

    fn drain(outbox: &mut Outbox, node: &mut mpsc::Receiver<ToWorker>) -> Vec<NodeCommand> {
        let mut commands = Vec::new();
        loop {
            outbox.flush(Instant::now()).unwrap();
            let Ok(message) = node.try_recv() else {
                return commands;
            };
            commands.push(message.command);
        }
    }

    #[test]
    fn a_burst_that_the_link_cannot_hold_waits_and_keeps_its_order() {
        let (mut outbox, mut node, now) = outbox();
        for name in 0..8_000 {
            outbox.push(0, subscribe(name), now).unwrap();
        }
        let expected: Vec<_> = (0..8_000).map(subscribe).collect();
        assert_eq!(drain(&mut outbox, &mut node), expected);
        assert!(!outbox.is_waiting());
        assert!(outbox.settings.is_empty());
    }

    #[test]
    fn a_command_after_a_burst_does_not_overtake_it() {
        let (mut outbox, mut node, now) = outbox();
        for name in 0..3 {
            outbox.push(0, subscribe(name), now).unwrap();
        }
        node.try_recv().unwrap();
        outbox.push(0, unsubscribe(0), now).unwrap();
        let expected = [subscribe(1), subscribe(2), unsubscribe(0)];
        assert_eq!(drain(&mut outbox, &mut node), expected);
    }

    #[test]
    fn a_link_is_lost_only_when_the_oldest_command_has_waited_for_too_long() {
        let (mut outbox, mut node, start) = outbox();
        for name in 0..4 {
            outbox.push(0, subscribe(name), start).unwrap();
        }
        let due = outbox.overdue_at().unwrap();
        assert_eq!(due, start + COMMAND_AGE_MAX);
        assert_eq!(outbox.flush(due - Duration::from_millis(1)), Ok(()));
        // A node that takes them late, but takes them, is none that is lost.
        node.try_recv().unwrap();
        node.try_recv().unwrap();
        assert_eq!(outbox.flush(due), Ok(()));
        assert_eq!(outbox.overdue_at(), None);
        outbox.push(0, subscribe(4), due).unwrap();
        let due = outbox.overdue_at().unwrap();
        assert_eq!(outbox.flush(due), Err(LinkLost::TooOld));
    }

    #[test]
    fn there_is_an_end_to_what_may_wait() {
        let (mut outbox, _node, now) = outbox();
        for _ in 0..COMMANDS_MAX + 2 {
            outbox.push(0, unsubscribe(0), now).unwrap();
        }
        assert_eq!(outbox.push(0, unsubscribe(0), now), Err(LinkLost::TooMany));
    }

    #[test]
    fn a_closed_link_is_lost_at_once() {
        let (mut outbox, node, now) = outbox();
        for name in 0..3 {
            outbox.push(0, subscribe(name), now).unwrap();
        }
        drop(node);
        assert_eq!(outbox.flush(now), Err(LinkLost::Closed));
    }

    #[test]
    fn of_settings_that_wait_only_the_newest_are_sent() {
        let (mut outbox, mut node, now) = outbox();
        for name in 0..3 {
            outbox.push(0, subscribe(name), now).unwrap();
        }
        for width in 1..100 {
            outbox.push(0, settings(0, width), now).unwrap();
            outbox.push(0, settings(2, width), now).unwrap();
        }
        let with_settings = NodeCommand::Subscribe {
            participant: ann(),
            track: track(2),
            settings: wide(99),
        };
        let expected = [subscribe(0), subscribe(1), with_settings, settings(0, 99)];
        assert_eq!(drain(&mut outbox, &mut node), expected);
        // Once they are gone, settings are commands of their own again.
        outbox.push(0, settings(0, 7), now).unwrap();
        assert_eq!(drain(&mut outbox, &mut node), [settings(0, 7)]);
    }

    #[test]
    fn settings_of_a_later_subscription_do_not_go_into_an_earlier_one() {
        let (mut outbox, mut node, now) = outbox();
        for command in [
            subscribe(8),
            subscribe(9),
            settings(0, 1),
            unsubscribe(0),
            settings(0, 2),
        ] {
            outbox.push(0, command, now).unwrap();
        }
        let commands = drain(&mut outbox, &mut node);
        let expected = [settings(0, 1), unsubscribe(0), settings(0, 2)];
        assert_eq!(commands[2..], expected);
    }
}
