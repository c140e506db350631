//! The boundary around str0m: a panic inside one transport ends that transport and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use str0m::Rtc;

/// A transport panicked. Its state is unknown: it must be dropped, not called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transport failed inside: it is dropped, the client must connect again")]
pub(super) struct Fault;

/// Runs `call` on a transport.
pub(super) fn guard<R>(rtc: &mut Rtc, call: impl FnOnce(&mut Rtc) -> R) -> Result<R, Fault> {
    // Unwind safety: after a fault nobody looks at `rtc` again.
    catch_unwind(AssertUnwindSafe(|| call(rtc))).map_err(|_| Fault)
}

/// Runs `call`, which makes or drops a transport.
pub(super) fn guard_any<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Fault)
}
