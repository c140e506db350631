//! Prometheus' text format, version 0.0.4, for what is read from the kernel.

use super::METRICS;
use observe::Metric;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Samples by metric.
#[derive(Default)]
pub(super) struct Page(BTreeMap<&'static str, Vec<(String, f64)>>);

impl Page {
    /// One sample. What no catalogue knows is not shown.
    pub(super) fn one(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        let labels: Vec<String> = labels.collect();
        self.0
            .entry(name)
            .or_default()
            .push((labels.join(","), value));
    }

    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for Metric {
            name, kind, help, ..
        } in METRICS
        {
            let Some(samples) = self.0.get(name) else {
                continue;
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
            for (labels, value) in samples {
                let _ = match labels.as_str() {
                    "" => writeln!(text, "{name} {value}"),
                    labels => writeln!(text, "{name}{{{labels}}} {value}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// A label's value: names of devices and folders are foreign text.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_with_help_and_type() {
        let mut page = Page::default();
        page.one("anteroom_host_load_average", &[("minutes", "1")], 0.5);
        page.one("process_threads", &[], 3.0);
        page.one("anteroom_host_load_average", &[("minutes", "5\"\n")], 2.0);
        page.one("unknown", &[], 1.0);
        let text = page.into_text();
        let line = |part: &str| {
            let found = text.lines().position(|line| line.starts_with(part));
            found.unwrap_or_else(|| panic!("no {part} in {text}"))
        };
        let first = line("# HELP anteroom_host_load_average ");
        assert_eq!(line("# TYPE anteroom_host_load_average gauge"), first + 1);
        assert_eq!(
            line("anteroom_host_load_average{minutes=\"1\"} 0.5"),
            first + 2
        );
        assert_eq!(
            line(r#"anteroom_host_load_average{minutes="5\"\n"} 2"#),
            first + 3
        );
        line("process_threads 3");
        assert!(!text.contains("unknown"));
    }
}
