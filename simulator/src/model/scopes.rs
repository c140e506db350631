//! Which scopes are searched.

use super::state::{Kind, Scope};
use affinity::directory::HOLD_MS;

/// Scopes with so many faults in a history, over so many ticks.
pub fn scopes(faults: u8, ticks: u16) -> Vec<Scope> {
    let scope = |name, kinds, hold_ms| Scope {
        name,
        ticks,
        faults,
        kinds,
        hold_ms,
        variant: None,
    };
    vec![
        scope(
            "messages and clocks, without hold",
            &[
                Kind::Slip,
                Kind::Cut,
                Kind::Late,
                Kind::Witness,
                Kind::Release,
            ],
            0,
        ),
        scope(
            "processes and data, without hold",
            &[
                Kind::Crash,
                Kind::Pause,
                Kind::Cut,
                Kind::FailOver,
                Kind::LoseData,
            ],
            0,
        ),
        scope(
            "without the directory",
            &[
                Kind::Down,
                Kind::Cut,
                Kind::Lonely,
                Kind::Crash,
                Kind::Pause,
                Kind::Slip,
            ],
            HOLD_MS,
        ),
        scope(
            "new lives of the directory, with hold",
            &[
                Kind::FailOver,
                Kind::LoseData,
                Kind::Down,
                Kind::Cut,
                Kind::Crash,
                Kind::Witness,
            ],
            HOLD_MS,
        ),
        scope(
            "hand-over",
            &[
                Kind::Transfer,
                Kind::Late,
                Kind::Cut,
                Kind::Crash,
                Kind::FailOver,
            ],
            HOLD_MS,
        ),
    ]
}
