//! From a path to a validated [`File`].

use super::error::unknown_key;
use super::{ConfigError, File, validate};
use serde_json::Value;
use std::path::Path;

/// Prefix of environment variables that override a key: `ANTEROOM__ADMIN__LISTEN`.
const OVERRIDE_PREFIX: &str = "ANTEROOM__";

/// Reads, expands, parses and validates a file.
pub(crate) fn load(path: &Path) -> Result<File, ConfigError> {
    load_with(path, |_| {})
}

/// [`load`], with a change of the values before they are validated.
pub(crate) fn load_with(path: &Path, change: impl FnOnce(&mut File)) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| mistake(path, None, format!("cannot be read: {error}")))?;
    let environment: Vec<(String, String)> = std::env::vars().collect();
    parse(path, &text, &environment, change)
}

/// [`load_with`] without the file system and the environment.
fn parse(
    path: &Path,
    text: &str,
    environment: &[(String, String)],
    change: impl FnOnce(&mut File),
) -> Result<File, ConfigError> {
    let text = expand(path, text, environment)?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| yaml_mistake(path, &error))?;
    let mut file = apply_overrides(path, &text, file, environment)?;
    change(&mut file);
    validate::validate(path, &text, &file)?;
    Ok(file)
}

fn mistake(path: &Path, place: Option<(u64, u64)>, message: String) -> ConfigError {
    ConfigError {
        path: path.to_owned(),
        place,
        message,
    }
}

fn yaml_mistake(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let place = error
        .location()
        .map(|location| (location.line(), location.column()));
    let message = match error {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_key(field, expected),
        other => without_place(&other.to_string()),
    };
    mistake(path, place, message)
}

/// The parser's text repeats the place; we print it in front.
fn without_place(text: &str) -> String {
    let first_line = text.lines().next().unwrap_or(text);
    match first_line.rsplit_once(" at line ") {
        Some((cause, _)) => cause.to_owned(),
        None => first_line.to_owned(),
    }
}

/// Replaces `${NAME}` outside of comments. A missing variable is an error, not an empty value.
fn expand(
    path: &Path,
    text: &str,
    environment: &[(String, String)],
) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        let number = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
        expand_line(line, environment, &mut out).map_err(|(column, name)| {
            let message = format!("environment variable {name} is not set");
            mistake(path, Some((number, column)), message)
        })?;
        out.push('\n');
    }
    Ok(out)
}

fn expand_line(
    line: &str,
    environment: &[(String, String)],
    out: &mut String,
) -> Result<(), (u64, String)> {
    if line.trim_start().starts_with('#') {
        out.push_str(line);
        return Ok(());
    }
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        let value = environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value);
        let Some(value) = value else {
            let column = line.len() - rest.len() + before.len() + 1;
            return Err((u64::try_from(column).unwrap_or(u64::MAX), name.to_owned()));
        };
        out.push_str(before);
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(())
}

/// Applies `ANTEROOM__A__B=value`. Only then is the file read a second time as plain values, so that
/// mistakes in the file itself keep their line.
fn apply_overrides(
    path: &Path,
    text: &str,
    file: File,
    environment: &[(String, String)],
) -> Result<File, ConfigError> {
    let overrides: Vec<_> = environment
        .iter()
        .filter_map(|(key, value)| Some((key, key.strip_prefix(OVERRIDE_PREFIX)?, value)))
        .collect();
    if overrides.is_empty() {
        return Ok(file);
    }
    let mut tree: Value =
        serde_saphyr::from_str(text).map_err(|error| yaml_mistake(path, &error))?;
    for (variable, dotted, value) in &overrides {
        set(&mut tree, dotted, value)
            .map_err(|cause| mistake(path, None, format!("{variable}: {cause}")))?;
    }
    serde_json::from_value(tree).map_err(|error| {
        mistake(
            path,
            None,
            format!("after {OVERRIDE_PREFIX}* overrides: {error}"),
        )
    })
}

/// Sets `a__b` to `value`. Keys that exist are found whatever the case of the variable.
fn set(tree: &mut Value, path: &str, value: &str) -> Result<(), String> {
    let mut place = tree;
    let mut under_keys = false;
    for part in path.split("__") {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let object = place
            .as_object_mut()
            .ok_or_else(|| format!("'{part}' is not in a section"))?;
        let existing = object
            .keys()
            .find(|key| key.eq_ignore_ascii_case(part))
            .cloned();
        // Names of API keys are the operator's; all names of ours are in lower case.
        let new = || {
            if under_keys {
                part.to_owned()
            } else {
                part.to_lowercase()
            }
        };
        let key = existing.unwrap_or_else(new);
        under_keys = key == "keys";
        place = object.entry(key).or_insert(Value::Null);
    }
    let is_text = place.is_string() || path.to_lowercase().starts_with("keys__");
    let text = || Value::String(value.to_owned());
    let parsed = serde_saphyr::from_str(value).unwrap_or_else(|_| text());
    *place = if is_text || path.to_lowercase().ends_with("secret") {
        text()
    } else {
        parsed
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "\
version: 1
keys: {devkey: secret}
cluster: {secret: cluster}
gateway:
  listen: [{address: 127.0.0.1:7880}]
  shards:
    - {id: s1, url: 'http://127.0.0.1:7901'}
    - {id: s2, url: 'http://127.0.0.1:7902', weight: 2}
";

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn mistake_in(text: &str) -> String {
        let error = parse(Path::new("a.yaml"), text, &[], |_| {}).expect_err("a mistake");
        error.to_string()
    }

    #[test]
    fn a_good_file_is_read() {
        let file = parse(Path::new("a.yaml"), GATEWAY, &[], |_| {}).expect("good");
        assert!(file.gateway.is_some() && file.shard.is_none());
    }

    #[test]
    fn each_mistake_names_line_column_and_cause() {
        let unknown = mistake_in(&GATEWAY.replace("weight: 2", "wieght: 2"));
        assert!(unknown.starts_with("a.yaml, line 8, column "), "{unknown}");
        assert!(
            unknown.ends_with("unknown key 'wieght': did you mean 'weight'?"),
            "{unknown}"
        );

        let twice = mistake_in(&GATEWAY.replace("id: s2", "id: s1"));
        assert!(
            twice.starts_with("a.yaml, line 8, column ") && twice.contains("s1"),
            "{twice}"
        );

        let syntax = mistake_in(&GATEWAY.replace("    - {id: s1", "\t- {id: s1"));
        assert!(syntax.contains("line 7"), "{syntax}");

        let version = mistake_in(&GATEWAY.replace("version: 1", "version: 9"));
        assert!(
            version.contains("line 1") && version.contains("version 1"),
            "{version}"
        );

        let admin =
            mistake_in(&GATEWAY.replace("gateway:", "admin: {listen: 0.0.0.0:1}\ngateway:"));
        assert!(
            admin.contains("line 4") && admin.contains("not loopback"),
            "{admin}"
        );

        let alone = mistake_in(&format!("{GATEWAY}node: {{id: n1}}\n"));
        assert!(
            alone.contains("line 9") && alone.contains("node.shard is missing"),
            "{alone}"
        );

        let shard = mistake_in(&format!("{GATEWAY}shard: {{id: s1}}\n"));
        assert!(
            shard.contains("line 9") && shard.contains("shard.directory"),
            "{shard}"
        );

        let redis = mistake_in(&format!(
            "{GATEWAY}directory: {{redis: {{url: 'http://a'}}}}\n"
        ));
        assert!(
            redis.contains("line 9") && redis.contains("directory.redis: `url`"),
            "{redis}"
        );
        let empty = mistake_in(&format!("{GATEWAY}directory: {{}}\n"));
        assert!(empty.contains("set directory.redis"), "{empty}");
        let redis = format!("{GATEWAY}directory: {{redis: {{url: 'redis://a'}}}}\n");
        let two = mistake_in(&redis.replace("gateway:", "gateway:\n  internal: 127.0.0.1:1"));
        assert!(
            two.contains("line 5") && two.contains("remove gateway.internal"),
            "{two}"
        );
        let shard = "shard: {id: s1, directory: 'http://127.0.0.1:1'}\n";
        let both = mistake_in(&format!("{redis}{shard}"));
        assert!(both.contains("keep the one you mean"), "{both}");

        let secret = mistake_in(&GATEWAY.replace("devkey: secret", "devkey: ''"));
        assert!(
            secret.contains("line 2") && secret.contains("empty secret"),
            "{secret}"
        );
    }

    #[test]
    fn environment_variables_are_expanded_and_a_missing_one_is_named_with_its_place() {
        let text = GATEWAY.replace("secret: cluster", "secret: ${CLUSTER}");
        let set = environment(&[("CLUSTER", "from-env")]);
        let file = parse(Path::new("a.yaml"), &text, &set, |_| {}).expect("good");
        assert_eq!(file.cluster.secret, "from-env");
        let missing = mistake_in(&text);
        assert_eq!(
            missing,
            "a.yaml, line 3, column 19: environment variable CLUSTER is not set"
        );
    }

    #[test]
    fn an_override_replaces_one_key_and_a_bad_one_names_its_variable() {
        let good = environment(&[("ANTEROOM__ADMIN__LISTEN", "127.0.0.1:9999")]);
        let file = parse(Path::new("a.yaml"), GATEWAY, &good, |_| {}).expect("good");
        assert_eq!(file.admin.listen.map(|address| address.port()), Some(9999));
        let rotated = environment(&[("ANTEROOM__KEYS__DEVKEY", "12345678")]);
        let file = parse(Path::new("a.yaml"), GATEWAY, &rotated, |_| {}).expect("good");
        assert_eq!(file.keys.len(), 1, "the key is replaced, not doubled");
        assert_eq!(file.keys["devkey"], "12345678");
        let shared = environment(&[("ANTEROOM__DIRECTORY__REDIS__URL", "redis://:pass@a:6380/1")]);
        let file = parse(Path::new("a.yaml"), GATEWAY, &shared, |_| {}).expect("good");
        let redis = file.directory.and_then(|directory| directory.redis);
        assert!(redis.is_some_and(|redis| redis.url.is_some()));
        let bad = environment(&[("ANTEROOM__VERSION__X", "1")]);
        let error = parse(Path::new("a.yaml"), GATEWAY, &bad, |_| {})
            .expect_err("a mistake")
            .to_string();
        assert!(error.contains("ANTEROOM__VERSION__X"), "{error}");
    }
}
