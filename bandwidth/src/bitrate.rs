//! Bits per second.

use std::fmt;
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// `bits` per second.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Thousands of bits per second.
    pub const fn from_kbps(kilobits: u64) -> Self {
        Self(kilobits.saturating_mul(1000))
    }

    /// Bits per second.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The sum, or the largest rate there is.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or nothing.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times the rate; what is below zero is zero.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }

    /// So many bytes in so many microseconds. None if that is no time.
    pub(crate) fn of(bytes: u64, micros: i64) -> Option<Self> {
        let micros = u64::try_from(micros).ok().filter(|micros| *micros > 0)?;
        Some(Self(bytes.saturating_mul(8_000_000) / micros))
    }

    /// Whole bytes that pass in that time.
    pub(crate) fn bytes_in(self, time: Duration) -> u64 {
        (self.0 as f64 * time.as_secs_f64() / 8.0) as u64
    }

    /// How long so many bytes take; an hour if they never end.
    pub(crate) fn time_for(self, bytes: u64) -> Duration {
        const ENDLESS: Duration = Duration::from_secs(3600);
        let micros = bytes.saturating_mul(8_000_000).checked_div(self.0);
        micros.map_or(ENDLESS, |micros| Duration::from_micros(micros).min(ENDLESS))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1000 => write!(out, "{} bit/s", self.0),
            1000..1_000_000 => write!(out, "{} kbit/s", self.0 / 1000),
            _ => write!(out, "{:.1} Mbit/s", self.0 as f64 / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_in_the_unit_that_people_use() {
        assert_eq!(Bitrate::new(999).to_string(), "999 bit/s");
        assert_eq!(Bitrate::from_kbps(425).to_string(), "425 kbit/s");
        assert_eq!(Bitrate::new(1_240_000).to_string(), "1.2 Mbit/s");
    }

    #[test]
    fn bytes_and_times_belong_together() {
        let rate = Bitrate::from_kbps(800);
        let time = Duration::from_millis(30);
        assert_eq!(rate.bytes_in(time), 3000);
        assert_eq!(rate.time_for(3000), time);
        assert_eq!(Bitrate::of(3000, 30_000), Some(rate));
        assert_eq!(Bitrate::of(3000, 0), None);
        assert_eq!(Bitrate::of(3000, -1), None);
    }

    #[test]
    fn nothing_overflows() {
        let most = Bitrate::new(u64::MAX);
        assert_eq!(most.saturating_add(most), most);
        assert_eq!(most.scale(2.0), most);
        assert_eq!(most.scale(-1.0), Bitrate::ZERO);
        assert_eq!(Bitrate::ZERO.saturating_sub(most), Bitrate::ZERO);
        assert!(Bitrate::ZERO.time_for(u64::MAX) > Duration::from_secs(60));
        assert!(Bitrate::of(u64::MAX, 1).is_some());
    }
}
