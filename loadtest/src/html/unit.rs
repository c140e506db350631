//! Numbers for readers: units, and values in them.

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ms,
    Seconds,
    Share,
    Count,
    Cores,
    Bytes,
    Bits,
    PerSecond,
}

/// A unit's size, as a number of base units, and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) size: f64,
    pub(super) name: &'static str,
}

impl Unit {
    /// The size that suits values up to `max`.
    pub(super) fn scale(self, max: f64) -> Scale {
        let steps: &[(f64, f64, &str)] = match self {
            Self::Ms => &[(10_000.0, 1000.0, "s"), (0.0, 1.0, "ms")],
            Self::Seconds => &[(600.0, 60.0, "min"), (0.0, 1.0, "s")],
            Self::Share => &[(0.0, 0.01, "%")],
            Self::Count => &[(0.0, 1.0, "")],
            Self::Cores => &[(0.0, 1.0, "cores")],
            Self::Bytes => &[
                (1e9, 1_073_741_824.0, "GiB"),
                (1e6, 1_048_576.0, "MiB"),
                (0.0, 1024.0, "KiB"),
            ],
            Self::Bits => &[
                (1e9, 1e9, "Gbit/s"),
                (1e6, 1e6, "Mbit/s"),
                (0.0, 1e3, "kbit/s"),
            ],
            Self::PerSecond => &[(1e6, 1e6, "M/s"), (1e4, 1e3, "k/s"), (0.0, 1.0, "/s")],
        };
        let step = steps.iter().find(|step| max >= step.0);
        step.map_or(
            Scale {
                size: 1.0,
                name: "",
            },
            |step| Scale {
                size: step.1,
                name: step.2,
            },
        )
    }

    /// The largest value of an axis on which all is zero.
    pub(super) fn floor(self) -> f64 {
        match self {
            Self::Ms | Self::Seconds | Self::Count | Self::Cores | Self::PerSecond => 1.0,
            Self::Share => 0.01,
            Self::Bytes => 1_048_576.0,
            Self::Bits => 1e6,
        }
    }

    /// A value with its unit, in about three digits.
    pub(super) fn words(self, value: f64) -> String {
        let scale = self.scale(value.abs());
        let number = digits(value / scale.size);
        if scale.name.is_empty() {
            return number;
        }
        format!("{number} {}", scale.name)
    }
}

/// About three digits, without zeros that say nothing.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.5 || v == 0.0 => 0,
        v if v >= 9.95 => 1,
        v if v >= 0.995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-" || text == "-0" {
        return "0".to_owned();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_unit_that_suits_them() {
        for (unit, value, words) in [
            (Unit::Ms, 12.345, "12.3 ms"),
            (Unit::Ms, 0.5, "0.5 ms"),
            (Unit::Ms, 61_234.0, "61.2 s"),
            (Unit::Share, 0.001_234, "0.123 %"),
            (Unit::Share, 0.0, "0 %"),
            (Unit::Share, 1.0, "100 %"),
            (Unit::Count, 1234.0, "1234"),
            (Unit::Bytes, 52_428_800.0, "50 MiB"),
            (Unit::Bits, 1_700_000.0, "1.7 Mbit/s"),
            (Unit::PerSecond, 24_000.0, "24 k/s"),
            (Unit::Cores, 0.000_1, "0 cores"),
        ] {
            assert_eq!(unit.words(value), words);
        }
    }
}
