//! What the publishers are to do, and what everybody has counted.

use std::cell::{Cell, RefCell};
use std::time::Instant;

/// What all cameras do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    Still,
    /// A packet a frame: everything is alive, nothing is loaded.
    Warm,
    /// Whole frames, so many of them.
    Run { begin: Instant, frames: u32 },
}

/// What one participant has counted. Everything lives on one thread.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Videos of which something has come.
    pub(crate) sources: Cell<usize>,
    /// Packets that came: repeated ones and small ones (padding) do not count.
    pub(crate) received: Cell<u64>,
    /// Packets that were written.
    pub(crate) sent: Cell<u64>,
    /// Decrypted packets that are none of ours.
    pub(crate) wrong: Cell<u64>,
    /// From writing a packet until the kernel had it here, µs, of those that decrypt.
    pub(crate) delays_us: RefCell<Vec<u64>>,
    /// How late frames were written, µs.
    pub(crate) late_us: RefCell<Vec<u64>>,
    /// The camera's packets are taken.
    pub(crate) can_send: Cell<bool>,
    /// Why it ended, if it was not told to.
    pub(crate) ended: RefCell<Option<String>>,
}

impl Tally {
    /// A new measurement begins.
    pub(crate) fn reset(&self) {
        self.received.set(0);
        self.sent.set(0);
        self.wrong.set(0);
        self.delays_us.borrow_mut().clear();
        self.late_us.borrow_mut().clear();
    }
}

/// One more.
pub(crate) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
