//! A node's own clock: it runs a little wrong, and it may stand still.

/// Shows microseconds since the start of the run, more or less.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// At this true time,
    true_us: u64,
    /// it showed this,
    local_us: u64,
    /// and since then it runs at so many thousandths of true time.
    permille: u64,
    frozen: bool,
}

impl Clock {
    pub(crate) fn new(permille: u64, true_us: u64) -> Self {
        Self {
            true_us,
            local_us: true_us,
            permille,
            frozen: false,
        }
    }

    pub(crate) fn now(&self, true_us: u64) -> u64 {
        if self.frozen {
            return self.local_us;
        }
        self.local_us + (true_us - self.true_us) * self.permille / 1_000
    }

    /// The true time at which it shows `local_us`, if it does not stand still until then.
    pub(crate) fn when(&self, local_us: u64, true_us: u64) -> u64 {
        let wait = local_us.saturating_sub(self.now(true_us));
        true_us + (wait * 1_000).div_ceil(self.permille)
    }

    pub(crate) fn freeze(&mut self, true_us: u64) {
        self.local_us = self.now(true_us);
        self.true_us = true_us;
        self.frozen = true;
    }

    pub(crate) fn thaw_if_frozen(&mut self, true_us: u64) {
        if self.frozen {
            self.true_us = true_us;
            self.frozen = false;
        }
    }
}
