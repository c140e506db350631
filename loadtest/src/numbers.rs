//! Small arithmetic that several modules need. Owns no units of its own.

/// For figures that are only shown or compared: beyond 2^53 the last digits go.
pub(crate) fn as_f64(value: u64) -> f64 {
    value as f64
}

/// `part` of `whole`, 0 where there is nothing to be a part of.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        as_f64(part) / as_f64(whole)
    }
}

/// Seconds from nanoseconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    as_f64(ns) / 1e9
}

/// Rounded for a reader and for a smaller file: four digits that count.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let magnitude = value.abs().log10().floor();
    let factor = 10_f64.powf(3.0 - magnitude);
    if !factor.is_finite() || factor == 0.0 {
        return value;
    }
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_nothing_is_zero() {
        assert_eq!(ratio(0, 0), 0.0);
        assert_eq!(ratio(1, 4), 0.25);
    }

    #[test]
    fn four_digits_are_kept_whatever_the_size() {
        assert_eq!(rounded(123_456.0), 123_500.0);
        assert_eq!(rounded(0.001_234_56), 0.001_235);
        assert_eq!(rounded(0.0), 0.0);
        assert_eq!(rounded(f64::NAN), 0.0);
    }
}
