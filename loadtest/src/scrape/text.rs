//! The Prometheus text format (version 0.0.4), read strictly: `name{label="value"} value time`.
//!
//! Comments with types and help are passed over. A line that is not of the format is an error with
//! its number: a page of something else must not look like a server without metrics.

/// Samples of one snapshot at most.
const SAMPLES_MAX: usize = 100_000;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels, in order.
    pub labels: Vec<(String, String)>,
    /// Its value; may be infinite or not a number.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|label| label.0 == name)
            .map(|label| label.1.as_str())
    }
}

/// A text that is not of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no Prometheus metric ({what}): is this a /metrics page?")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// The samples of a page.
pub fn parse(text: &str) -> Result<Vec<Sample>, TextError> {
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |what| TextError {
            line: index + 1,
            what,
        };
        if samples.len() >= SAMPLES_MAX {
            return Err(error("more than 100,000 metrics"));
        }
        samples.push(sample(line).map_err(error)?);
    }
    Ok(samples)
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let (name, rest) = name(line, ":");
    if name.is_empty() {
        return Err("it has no name");
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(labels_on) => labels(labels_on)?,
        None => (Vec::new(), rest),
    };
    let mut fields = rest.split_ascii_whitespace();
    let value = fields.next().and_then(|value| value.parse().ok());
    let time = fields.next().map(str::parse::<i64>);
    if matches!(time, Some(Err(_))) || fields.next().is_some() {
        return Err("something follows the value");
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.ok_or("it has no value")?,
    })
}

/// The name at the beginning and what follows it.
fn name<'a>(text: &'a str, also: &str) -> (&'a str, &'a str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let starts_well = !text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(if starts_well { end } else { 0 })
}

type Labels = Vec<(String, String)>;

fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (key, after) = name(rest, "");
        let after = after.trim_start().strip_prefix('=').map(str::trim_start);
        let quoted = after.and_then(|after| after.strip_prefix('"'));
        let Some(quoted) = quoted.filter(|_| !key.is_empty()) else {
            return Err("a label is not name=\"value\"");
        };
        let (value, after) = unquote(quoted).ok_or("a label's value does not end")?;
        labels.push((key.to_owned(), value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("labels are not divided by commas"),
        }
    }
}

/// The text up to the closing quote, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_with_and_without_labels_and_times_are_read() {
        let text = "# HELP a b\n# TYPE a counter\na 1\n\nb:c{x=\"1\", y=\"a \\\"b\\\\\\n\" ,} 2.5e3 99\n\
                    d{} +Inf\ne NaN\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples.len(), 4);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a", 1.0));
        let labelled = &samples[1];
        assert_eq!((labelled.name.as_str(), labelled.value), ("b:c", 2500.0));
        assert_eq!(labelled.label("y"), Some("a \"b\\\n"));
        assert_eq!(labelled.label("z"), None);
        assert_eq!(samples[2].value, f64::INFINITY);
        assert!(samples[3].value.is_nan());
    }

    #[test]
    fn what_is_of_another_kind_is_refused_with_its_line() {
        for (line, what) in [
            ("<html>", "it has no name"),
            ("9a 1", "it has no name"),
            ("a", "it has no value"),
            ("a b", "it has no value"),
            ("a 1 2 3", "something follows the value"),
            ("a 1 x", "something follows the value"),
            ("a{b} 1", "a label is not name=\"value\""),
            ("a{b=\"c} 1", "a label's value does not end"),
            ("a{b=\"c\" d=\"e\"} 1", "labels are not divided by commas"),
        ] {
            let error = parse(&format!("ok 1\n{line}\n")).unwrap_err();
            assert_eq!(error, TextError { line: 2, what }, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text: String, line in "[a{}=\",\\\\ 1#é]{0,30}") {
            let _ = parse(&text);
            let _ = parse(&line);
        }
    }
}
