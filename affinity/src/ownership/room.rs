//! One room as the ownership machine sees it.

use super::RequestId;
use super::transfer::Transfer;
use crate::directory::Epoch;
use std::time::Instant;

/// A request that this room needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// To be sent at that time.
    Due(Instant),
    /// On its way.
    Sent(RequestId),
}

impl Step {
    pub(super) fn is_due(self, now: Instant) -> bool {
        matches!(self, Self::Due(at) if at <= now)
    }

    pub(super) fn is_sent(self, id: RequestId) -> bool {
        self == Self::Sent(id)
    }
}

/// Owned under an earlier directory life; the present one has not confirmed it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unproven {
    /// Deadline of the lease under which it is held.
    pub(super) until: Instant,
    pub(super) reassert: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Not ours: a claim decides. `unsettled`: an earlier claim had no answer, so a binding may
    /// exist; claims go on until one is answered, even if nobody wants the room any more.
    Claiming { claim: Step, unsettled: bool },
    /// Ours.
    Owned {
        epoch: Epoch,
        unproven: Option<Unproven>,
    },
    /// Not ours any more; the directory must confirm before the room may be claimed again, or a
    /// late release could free the new claim.
    Releasing { epoch: Epoch, release: Step },
    /// Not ours any more, and perhaps another shard's already.
    Transferring { epoch: Epoch, transfer: Transfer },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Room {
    /// Since when the shard waits for an answer to `acquire`; `None` if it does not.
    pub(super) wanted: Option<Instant>,
    pub(super) phase: Phase,
}

impl Room {
    pub(super) fn claiming(now: Instant) -> Self {
        let claim = Step::Due(now);
        Self {
            wanted: Some(now),
            phase: Phase::Claiming {
                claim,
                unsettled: false,
            },
        }
    }

    pub(super) fn releasing(epoch: Epoch, now: Instant) -> Self {
        Self {
            wanted: None,
            phase: Phase::Releasing {
                epoch,
                release: Step::Due(now),
            },
        }
    }

    pub(super) fn owned(epoch: Epoch) -> Self {
        Self {
            wanted: None,
            phase: Phase::Owned {
                epoch,
                unproven: None,
            },
        }
    }
}
