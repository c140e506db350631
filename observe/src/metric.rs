//! Catalogues of metrics.
//!
//! A catalogue is the truth about a program's metrics: help texts, the reference page and the tests are
//! made from it. A metric is there from the start, at 0: a counter that appears with its first event hides
//! that event from `rate()`, and an alert on what is absent never fires.

use metrics::Label as Pair;

/// What can be done with a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, and begins at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations below bounds (`_bucket`), their number and sum.
    Histogram,
}

impl Kind {
    /// The word of Prometheus' text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Which values a label has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// These and no others.
    Closed(&'static [&'static str]),
    /// Names that an operator or the machine has given; few. In words.
    Open(&'static str),
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

impl Label {
    /// A label with these values only.
    pub const fn closed(name: &'static str, values: &'static [&'static str]) -> Self {
        let values = Values::Closed(values);
        Self { name, values }
    }

    /// A label with names from outside; `what` says whose.
    pub const fn open(name: &'static str, what: &'static str) -> Self {
        let values = Values::Open(what);
        Self { name, values }
    }
}

/// One metric of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// By Prometheus' conventions: base units, and `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels. Never rooms or participants: those are without bound.
    pub labels: &'static [Label],
    /// One line: what it counts, and what to do about it.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    pub const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self::new(name, Kind::Counter, labels, help)
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, labels, help)
    }

    /// A histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Histogram, labels, help)
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [Label],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
        }
    }

    /// The unit that its name says, empty for plain numbers.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let units = ["seconds", "bytes", "ratio"];
        let of_name = |unit: &&&str| name.strip_suffix(**unit).is_some_and(|n| n.ends_with('_'));
        units.iter().find(of_name).copied().unwrap_or_default()
    }

    /// Every set of labels that is known before anything has happened, where `given` are the values of
    /// the open labels. Empty if an open one is missing.
    fn series(&self, given: &[(&'static str, &str)]) -> Vec<Vec<Pair>> {
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let values: Vec<String> = match label.values {
                Values::Closed(values) => values.iter().map(|value| (*value).to_owned()).collect(),
                Values::Open(_) => {
                    let found = given.iter().find(|(name, _)| *name == label.name);
                    found
                        .map(|(_, value)| (*value).to_owned())
                        .into_iter()
                        .collect()
                }
            };
            series = series
                .iter()
                .flat_map(|pairs| {
                    values.iter().map(|value| {
                        let mut pairs = pairs.clone();
                        pairs.push(Pair::new(label.name, value.clone()));
                        pairs
                    })
                })
                .collect();
        }
        series
    }
}

/// Gives the recorder of this process the help texts of a catalogue.
pub fn describe(catalogue: &[Metric]) {
    for metric in catalogue {
        let (name, help) = (metric.name, metric.help);
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

/// Shows all series of a catalogue whose labels are known: `given` are the values of open labels, such as
/// the shard's name. What has a value already keeps it.
pub fn register(catalogue: &[Metric], given: &[(&'static str, &str)]) {
    for metric in catalogue {
        for pairs in metric.series(given) {
            match metric.kind {
                Kind::Counter => metrics::counter!(metric.name, pairs).increment(0),
                Kind::Gauge => metrics::gauge!(metric.name, pairs).increment(0.0),
                // There is no observation to make: its being here is enough.
                Kind::Histogram => drop(metrics::histogram!(metric.name, pairs)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Label = Label::open("shard", "the shard's name");
    const RESULT: Label = Label::closed("result", &["ok", "failed"]);

    #[test]
    fn every_known_set_of_labels_is_there_from_the_start() {
        let joins = Metric::counter("joins_total", &[SHARD, RESULT], "Joins.");
        let of = |given: &[(&'static str, &str)]| -> Vec<String> {
            let series = joins.series(given).into_iter();
            let words = series.map(|pairs| {
                let words = pairs
                    .iter()
                    .map(|pair| format!("{}={}", pair.key(), pair.value()));
                words.collect::<Vec<_>>().join(" ")
            });
            words.collect()
        };
        assert_eq!(
            of(&[("shard", "s1")]),
            ["shard=s1 result=ok", "shard=s1 result=failed"]
        );
        assert!(of(&[]).is_empty(), "nobody has said which shard");
        assert_eq!(Metric::gauge("rooms", &[], "Rooms.").series(&[]), [[]]);
    }

    #[test]
    fn the_unit_is_the_end_of_the_name() {
        let unit = |name| Metric::gauge(name, &[], "").unit();
        assert_eq!(unit("process_cpu_seconds_total"), "seconds");
        assert_eq!(unit("process_resident_memory_bytes"), "bytes");
        assert_eq!(unit("anteroom_node_media_cpu_ratio"), "ratio");
        assert_eq!(unit("anteroom_shard_rooms"), "");
    }
}
