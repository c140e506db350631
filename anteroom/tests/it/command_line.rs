//! Commands that start nothing.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn anteroom(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(arguments)
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("the workspace"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(input.as_bytes())
        .expect("written");
    child.wait_with_output().expect("the binary ends")
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_sample_passes_check() {
    for sample in [
        "deploy/up.yaml",
        "deploy/gateway.yaml",
        "deploy/shard.yaml",
        "deploy/node.yaml",
    ] {
        let output = anteroom(&["check", sample], "");
        assert!(
            output.status.success(),
            "{sample}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn check_fails_and_names_the_missing_file() {
    let output = anteroom(&["check", "no-such.yaml"], "");
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("no-such.yaml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn check_reads_the_certificates_that_a_file_names() {
    let folder = std::env::temp_dir().join(format!("anteroom-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("gateway.yaml");
    let text = "version: 1\nkeys: {k: a-secret-of-at-least-thirty-two-bytes}\n\
                cluster: {secret: c}\ngateway:\n  listen:\n    - address: 127.0.0.1:443\n      \
                tls: {certificates: [{cert: /no/cert.pem, key: /no/key.pem}]}\n  \
                shards: [{id: s1, url: 'http://127.0.0.1:7901'}]\n";
    std::fs::write(&file, text).expect("written");
    let output = anteroom(&["check", &file.to_string_lossy()], "");
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(!output.status.success());
    assert!(
        text_of(&output).contains("/no/cert.pem"),
        "{}",
        text_of(&output)
    );
}

#[test]
fn a_token_has_three_parts_and_a_long_life_is_refused() {
    let arguments = ["token", "create", "--room", "standup", "--identity", "ada"];
    let token = text(&anteroom(&arguments, "").stdout);
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let output = anteroom(&[&arguments[..], &["--ttl", "25h"]].concat(), "");
    assert!(text(&output.stderr).contains("--ttl is longer than 24 h"));
}

#[test]
fn route_says_shard_room_and_rule_for_a_url_and_for_lines_of_json() {
    let route = ["route", "--config", "deploy/gateway.yaml"];
    let people = anteroom(&[&route[..], &["http://meet.example/standup"]].concat(), "");
    assert!(text(&people.stdout).contains("s1") && text(&people.stdout).contains("standup"));

    let lines = "{\"method\":\"GET\",\"url\":\"/standup\",\"headers\":{}}\n\
                 {\"method\":\"GET\",\"url\":\"/%2e%2e\",\"headers\":{}}\nno json\n";
    let output = anteroom(&[&route[..], &["--json", "-"]].concat(), lines);
    let answers: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    assert_eq!(answers[0]["shard"], "s1");
    assert_eq!(answers[0]["room"], "standup");
    assert_eq!(answers[1]["status"], 400);
    assert_eq!(answers[2]["status"], 400);
}

#[test]
fn the_schema_is_json_and_knows_the_roles() {
    let output = anteroom(&["schema"], "");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    for section in ["gateway", "shard", "node"] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}
