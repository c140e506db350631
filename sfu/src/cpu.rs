//! Load of the machine, from `/proc/stat`. Elsewhere than on Linux it is reported as 0.

use std::fs;
use std::num::NonZero;

/// Jiffies since boot, all cores together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    total: u64,
    idle: u64,
}

/// Measures the load between two calls.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    last: Option<Sample>,
}

impl CpuMeter {
    /// Load since the previous call, 0.0 to 1.0 of all cores; 0.0 at the first call.
    pub(crate) fn measure(&mut self) -> f32 {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        self.load(&text)
    }

    fn load(&mut self, text: &str) -> f32 {
        let Some(now) = parse(text) else { return 0.0 };
        let Some(before) = self.last.replace(now) else {
            return 0.0;
        };
        let total = now.total.saturating_sub(before.total);
        let idle = now.idle.saturating_sub(before.idle).min(total);
        if total == 0 {
            return 0.0;
        }
        // A second has some hundred jiffies per core: exact in f32.
        (total - idle) as f32 / total as f32
    }
}

/// The load average of a minute for each core, from `/proc/loadavg`; 0.0 if that is not known.
pub(crate) fn sys_load() -> f32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    per_core(&text, u16::try_from(cores).unwrap_or(u16::MAX))
}

fn per_core(loadavg: &str, cores: u16) -> f32 {
    let minute = loadavg.split_ascii_whitespace().next();
    let minute: Option<f32> = minute.and_then(|field| field.parse().ok());
    minute.unwrap_or(0.0) / f32::from(cores.max(1))
}

/// First line of `/proc/stat`: user nice system idle iowait irq softirq steal, then guest times that
/// user and nice contain already (proc_stat(5)).
fn parse(text: &str) -> Option<Sample> {
    let mut fields = text.lines().next()?.split_ascii_whitespace();
    if fields.next()? != "cpu" {
        return None;
    }
    let jiffies: Vec<u64> = fields
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let idle = jiffies.get(3)?.saturating_add(*jiffies.get(4)?);
    let total = jiffies.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    Some(Sample { total, idle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_average_counts_for_each_core() {
        let load = per_core("1.50 0.60 0.43 2/345 6789\n", 4);
        assert!((load - 0.375).abs() < 1e-6);
        assert!(per_core("nonsense", 4).abs() < 1e-6);
    }

    #[test]
    fn the_load_is_what_was_not_idle_since_the_last_look() {
        let mut meter = CpuMeter::default();
        assert_eq!(
            meter.load("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2"),
            0.0
        );
        assert_eq!(meter.load("cpu  130 0 120 740 110 0 0 0 90 0\n"), 0.5);
        assert_eq!(meter.load("cpu  130 0 120 740 110 0 0 0 90 0\n"), 0.0);
    }

    #[test]
    fn another_systems_file_is_no_load() {
        let mut meter = CpuMeter::default();
        for text in [
            "",
            "cpu",
            "cpu 1 2 3",
            "disk 1 2 3 4 5 6 7 8",
            "cpu a b c d e",
        ] {
            assert_eq!(meter.load(text), 0.0);
        }
    }
}
