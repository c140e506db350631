//! What the ownership machine has to say to the core.
//!
//! Owns: turning events into answers and news. The core takes the news before it does anything else,
//! so that a process that stood still does not go on with rooms that are another's by now.

use super::{Legacy, Owner, Shared, fresh};
use affinity::directory::{Drain, Epoch};
use affinity::ownership::Event;
use affinity::{RoomKey, ShardId};
use std::time::Instant;

/// For the core, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The room is not ours any more: stop it.
    Lost { room: RoomKey, epoch: Epoch },
    /// Another shard has handed the room over.
    Came { room: RoomKey, epoch: Epoch },
    /// The room is another shard's now.
    Moved {
        room: RoomKey,
        epoch: Epoch,
        to: ShardId,
    },
    /// The room could not be handed over and is ours as before.
    Stays { room: RoomKey },
    /// Empty the shard, or do not.
    Drain(Option<Drain>),
}

impl Owner {
    /// The next news, with everything counted that is due by now.
    pub(crate) fn next_news(&self, now: Instant) -> Option<News> {
        let mut shared = self.lock();
        if shared.is_due(now) {
            shared.ownership.handle_timeout(fresh(), now);
            self.digest(&mut shared, now);
            // The driver has to send, and to set its alarm anew.
            self.work.notify_one();
        }
        shared.news.pop_front()
    }

    /// Returns when there may be news.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// Answers who waits, and notes what the core must hear.
    pub(super) fn digest(&self, shared: &mut Shared, now: Instant) {
        // Several shards may share a process.
        let shard = shared.ownership.shard().clone();
        let before = shared.news.len();
        shared.note_addresses();
        while let Some(event) = shared.ownership.poll_event() {
            match event {
                Event::Granted {
                    room,
                    epoch,
                    from,
                    options,
                } => {
                    if from.is_some() || options.is_some() {
                        let legacy = Legacy { from, options };
                        shared.legacies.insert(room.clone(), (epoch, legacy));
                    }
                    shared.answer(&room, &Ok(epoch));
                    if from.is_some() {
                        // Its clients are on their way: it is taken up whoever asked for it.
                        shared.news.push_back(News::Came { room, epoch });
                    } else {
                        shared.release_unneeded(&room, now);
                    }
                }
                Event::Refused { room, why } => shared.answer(&room, &Err(why)),
                Event::Lost { room, epoch, why } => {
                    tracing::warn!(room = room.as_str(), epoch = epoch.0, ?why, "room lost");
                    self.figures.count("anteroom_shard_rooms_lost_total");
                    shared.legacies.remove(&room);
                    shared.news.push_back(News::Lost { room, epoch });
                }
                Event::Moved {
                    room, epoch, to, ..
                } => shared.news.push_back(News::Moved { room, epoch, to }),
                Event::Stays { room, .. } => shared.news.push_back(News::Stays { room }),
                Event::Drain(order) => shared.news.push_back(News::Drain(order)),
                Event::Leased { directory } => {
                    tracing::info!(%shard, directory = directory.0, "lease held");
                    self.leased.notify_waiters();
                }
                Event::Fenced => {
                    tracing::warn!(%shard, "the lease has ended: all rooms given up");
                }
                Event::NotLeased { why } => {
                    tracing::warn!(%shard, %why, "no lease: this shard takes nobody in");
                }
            }
        }
        if shared.news.len() > before {
            self.told.notify_one();
        }
    }
}

impl Shared {
    fn is_due(&self, now: Instant) -> bool {
        let timeout = self.ownership.poll_timeout();
        timeout.is_some_and(|(at, _)| at <= now)
    }
}
