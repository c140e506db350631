//! Wrong versions of the protocol, made around the real machines.
//!
//! Owns: the list. Must not: be known to the code under test: a variant distorts a message, an answer,
//! a clock or a belief between the real machines. Each must be caught by the checker.

/// A wrong version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// A claim overwrites whatever binding there is.
    ClaimOverwrites,
    /// A shard goes on when its deadline has passed, until the directory says otherwise.
    NoSelfFence,
    /// The deadline counts from the receipt of the answer.
    DeadlineFromReceipt,
    /// The deadline is the lease's end, without a margin for clocks that run wrong.
    NoMargin,
    /// A grant is acted on however late it comes.
    LateGrantCounts,
    /// The directory forgets which lives have ended: a renewal brings them back.
    EndedLifeRevives,
    /// A room is released first and stopped afterwards.
    ReleaseBeforeStop,
    /// A shard that does not reach the directory just goes on.
    HoldWithoutPromises,
    /// A shard that has promised claims nevertheless.
    PromiseBroken,
    /// Lives that the owner of a held room did not know may take it over.
    UnknownLifeInherits,
    /// After its data was lost the directory takes claims at once.
    NoGrace,
    /// Grace ends after one lease, whoever has not shown up.
    GraceWaitsForNobody,
    /// A Redis master that was replaced, and does not know it, still gives rooms away.
    OldMasterGrants,
    /// A re-assertion replaces the binding of another shard.
    ReassertReplaces,
    /// Requests are taken whichever directory life they were sent to.
    Untagged,
    /// A witness goes on counting over a time in which it did not look.
    WitnessCountsGaps,
    /// A witness takes a lease to be silent although it is renewed.
    WitnessIgnoresRenewals,
    /// A lapse ends the lease even if it was renewed since.
    LapseWithoutCompare,
    /// A room goes on at its old owner when the outcome of its transfer is not known.
    TransferTakenBack,
    /// The old owner goes on until it hears that the transfer was carried out.
    LiveDuringTransfer,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ClaimOverwrites,
        Self::NoSelfFence,
        Self::DeadlineFromReceipt,
        Self::NoMargin,
        Self::LateGrantCounts,
        Self::EndedLifeRevives,
        Self::ReleaseBeforeStop,
        Self::HoldWithoutPromises,
        Self::PromiseBroken,
        Self::UnknownLifeInherits,
        Self::NoGrace,
        Self::GraceWaitsForNobody,
        Self::OldMasterGrants,
        Self::ReassertReplaces,
        Self::Untagged,
        Self::WitnessCountsGaps,
        Self::WitnessIgnoresRenewals,
        Self::LapseWithoutCompare,
        Self::TransferTakenBack,
        Self::LiveDuringTransfer,
    ];
}
