//! What waits for its turn to go to one peer.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Datagrams that wait for one peer. A full queue drops its oldest: media is worth more when it is
/// new.
pub const DATAGRAM_QUEUE: usize = 1_024;
/// Messages that wait for one peer. A full queue closes the connection: none may be missing, and
/// `Down` and `Up` tell the user to begin anew.
pub const MESSAGE_QUEUE: usize = 4_096;
/// The same in bytes.
pub const MESSAGE_QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Datagrams for one peer.
#[derive(Debug, Default)]
pub(crate) struct DatagramQueue {
    waiting: Mutex<VecDeque<Bytes>>,
    ready: Notify,
}

impl DatagramQueue {
    /// Puts one in; whether the oldest had to go.
    pub(crate) fn push(&self, datagram: Bytes) -> bool {
        let mut waiting = locked(&self.waiting);
        let is_full = waiting.len() == DATAGRAM_QUEUE;
        if is_full {
            waiting.pop_front();
        }
        let was_empty = waiting.is_empty();
        waiting.push_back(datagram);
        drop(waiting);
        if was_empty {
            self.ready.notify_one();
        }
        is_full
    }

    /// Waits for the first and takes what there is, up to `at_most`. For one task only. Cancel safe.
    pub(crate) async fn take(&self, into: &mut Vec<Bytes>, at_most: usize) {
        loop {
            if self.take_now(into, at_most) {
                return;
            }
            self.ready.notified().await;
        }
    }

    /// Throws away what waits; how much that was.
    pub(crate) fn clear(&self) -> u64 {
        std::mem::take(&mut *locked(&self.waiting)).len() as u64
    }

    fn take_now(&self, into: &mut Vec<Bytes>, at_most: usize) -> bool {
        let mut waiting = locked(&self.waiting);
        let count = waiting.len().min(at_most);
        into.extend(waiting.drain(..count));
        count > 0
    }
}

/// Messages for one peer.
#[derive(Debug, Default)]
pub(crate) struct MessageQueue {
    waiting: Mutex<Messages>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Messages {
    queue: VecDeque<Bytes>,
    bytes: usize,
    overflowed: bool,
}

/// There was no room: nothing is taken any more, since one is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// Whether it is for this one that the queue gave up.
    pub(crate) is_first: bool,
}

impl MessageQueue {
    /// Puts one in.
    pub(crate) fn push(&self, message: Bytes) -> Result<(), Overflow> {
        let mut waiting = locked(&self.waiting);
        if waiting.overflowed {
            return Err(Overflow { is_first: false });
        }
        let is_full = waiting.queue.len() == MESSAGE_QUEUE
            || waiting.bytes + message.len() > MESSAGE_QUEUE_BYTES;
        if is_full {
            *waiting = Messages {
                overflowed: true,
                ..Messages::default()
            };
            return Err(Overflow { is_first: true });
        }
        let was_empty = waiting.queue.is_empty();
        waiting.bytes += message.len();
        waiting.queue.push_back(message);
        drop(waiting);
        if was_empty {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits for the first and takes what there is, up to `at_most`. For one task only. Cancel safe.
    pub(crate) async fn take(&self, into: &mut Vec<Bytes>, at_most: usize) {
        loop {
            if self.take_now(into, at_most) {
                return;
            }
            self.ready.notified().await;
        }
    }

    fn take_now(&self, into: &mut Vec<Bytes>, at_most: usize) -> bool {
        let mut waiting = locked(&self.waiting);
        let count = waiting.queue.len().min(at_most);
        for _ in 0..count {
            if let Some(message) = waiting.queue.pop_front() {
                waiting.bytes -= message.len();
                into.push(message);
            }
        }
        count > 0
    }
}

/// Nothing can panic while these are held; if it did, a queue is a queue.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn a_full_queue_of_datagrams_drops_its_oldest() {
        let queue = DatagramQueue::default();
        for number in 0..DATAGRAM_QUEUE {
            assert!(!queue.push(numbered(number)));
        }
        assert!(queue.push(numbered(DATAGRAM_QUEUE)));
        let mut taken = Vec::new();
        assert!(queue.take_now(&mut taken, usize::MAX));
        let expected: Vec<Bytes> = (1..=DATAGRAM_QUEUE).map(numbered).collect();
        assert_eq!(taken, expected);
        assert!(!queue.take_now(&mut taken, usize::MAX));
    }

    #[test]
    fn a_full_queue_of_messages_gives_up() {
        let queue = MessageQueue::default();
        for number in 0..MESSAGE_QUEUE {
            assert_eq!(queue.push(numbered(number)), Ok(()));
        }
        assert_eq!(queue.push(numbered(0)), Err(Overflow { is_first: true }));
        assert_eq!(queue.push(numbered(0)), Err(Overflow { is_first: false }));
        assert!(
            !queue.take_now(&mut Vec::new(), usize::MAX),
            "one is missing"
        );
    }

    #[test]
    fn so_do_too_many_bytes_of_messages_that_are_there_at_once() {
        let queue = MessageQueue::default();
        let message = Bytes::from(vec![0; MESSAGE_QUEUE_BYTES / 4]);
        for _ in 0..100 {
            assert_eq!(queue.push(message.clone()), Ok(()));
            assert!(queue.take_now(&mut Vec::new(), 1));
        }
        for _ in 0..4 {
            assert_eq!(queue.push(message.clone()), Ok(()));
        }
        assert_eq!(queue.push(numbered(0)), Err(Overflow { is_first: true }));
    }

    #[tokio::test]
    async fn one_who_waits_gets_what_comes() {
        let queue = std::sync::Arc::new(DatagramQueue::default());
        let pushing = queue.clone();
        let push = tokio::spawn(async move { pushing.push(numbered(1)) });
        let mut taken = Vec::new();
        queue.take(&mut taken, 8).await;
        assert_eq!(taken, [numbered(1)]);
        assert!(!push.await.unwrap());
    }
}
