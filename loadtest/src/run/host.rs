//! The machine that the generator runs on, and what it uses of it.

use crate::generator::cpu_seconds_of_stat;

/// CPU seconds of this process since it started; `None` where there is no `/proc`.
pub(super) fn own_cpu_seconds() -> Option<f64> {
    cpu_seconds_of_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

pub(super) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// Name and value, for the report.
pub(super) fn machine() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut rows = Vec::new();
    if let Some(processor) = value_of(&read("/proc/cpuinfo"), "model name") {
        rows.push((
            "Processor".to_owned(),
            format!("{processor}, {} cores", cores()),
        ));
    } else {
        rows.push(("Processor".to_owned(), format!("{} cores", cores())));
    }
    let memory = value_of(&read("/proc/meminfo"), "MemTotal");
    if let Some(kib) = memory.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok()) {
        rows.push((
            "Memory".to_owned(),
            format!("{} GiB", kib.div_ceil(1 << 20)),
        ));
    }
    let system = read("/proc/sys/kernel/osrelease");
    if !system.trim().is_empty() {
        rows.push(("System".to_owned(), format!("Linux {}", system.trim())));
    }
    rows
}

/// The value of `name : value` in a file of such lines.
fn value_of(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_names_and_values_are_read() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:  24 kB\n";
        assert_eq!(
            value_of(text, "model name").as_deref(),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(value_of(text, "MemTotal").as_deref(), Some("24 kB"));
        assert_eq!(value_of(text, "nothing"), None);
        assert!(machine().iter().any(|(name, _)| name == "Processor"));
    }
}
