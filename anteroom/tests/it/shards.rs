//! `anteroom shards` against an admin listener that says what the test wants.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// Answers one request after the other, the last answer again and again. Ends with the test.
struct FakeAdmin {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl FakeAdmin {
    fn start(answers: &[(u16, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (record, answers) = (Arc::clone(&heard), answers.to_vec());
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                record.lock().unwrap().push(read_request(&mut stream));
                let (status, body) = &answers[n.min(answers.len() - 1)];
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, heard }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--admin", &self.url]].concat())
    }
}

fn read_request(stream: &mut std::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return format!("{} {body}", head.lines().next().unwrap());
            }
        }
        let read = stream.read(&mut part).unwrap();
        assert_ne!(read, 0, "{text}");
        bytes.extend_from_slice(&part[..read]);
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
    command.arg("shards").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shard(state: &str, rooms: u32) -> String {
    format!(
        r#"{{"id":"s1","url":"http://h:1","weight":1,"state":"{state}","rooms":{rooms},
            "lease":{{"alive":true,"remaining_ms":2000,"incarnation":"7"}}}}"#
    )
}

fn list(state: &str, rooms: u32) -> (u16, String) {
    let shard = shard(state, rooms);
    let text =
        format!(r#"{{"generation":1,"shards":[{shard}],"topology_differs":"`s2` only there"}}"#);
    (200, text)
}

#[test]
fn shards_are_listed_for_people_and_for_programs() {
    let admin = FakeAdmin::start(&[list("active", 4)]);
    let output = admin.run(&["ls"]);
    assert!(output.status.success());
    let table = text(&output.stdout);
    assert!(table.contains("s1     active  4"), "{table}");
    assert!(text(&output.stderr).contains("`s2` only there"));
    let json = text(&admin.run(&["ls", "--json"]).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["shards"][0]["lease"]["incarnation"], "7");
}

#[test]
fn an_order_is_sent_with_its_deadline_and_waited_for() {
    let answers = [
        (200, shard("draining", 2)),
        list("draining", 2),
        list("draining", 0),
    ];
    let admin = FakeAdmin::start(&answers);
    let output = admin.run(&["drain", "s1", "--deadline", "10m", "--wait"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("2 live rooms") && said.ends_with("s1 is empty.\n"),
        "{said}"
    );
    let heard = admin.heard.lock().unwrap().clone();
    let order = r#"POST /v1/shards/s1/drain HTTP/1.1 {"deadline_s":600}"#;
    assert_eq!(heard[0], order);
    assert!(heard.len() >= 5, "empty at several looks: {heard:?}");

    let admin = FakeAdmin::start(&[(200, shard("active", 2))]);
    let output = admin.run(&["undrain", "s1"]);
    assert_eq!(text(&output.stdout), "s1 is active and takes new rooms.\n");
    assert_eq!(
        admin.heard.lock().unwrap()[0],
        "POST /v1/shards/s1/undrain HTTP/1.1 "
    );
}

#[test]
fn waiting_ends_when_somebody_takes_the_order_back() {
    let admin = FakeAdmin::start(&[(200, shard("draining", 2)), list("active", 2)]);
    let output = admin.run(&["drain", "s1", "--wait"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("active again"));
}

#[test]
fn what_goes_wrong_is_said_in_the_gateways_words_or_ours() {
    let why = r#"{"error":"there is no shard `s9`; there are: s1"}"#;
    let admin = FakeAdmin::start(&[(404, why.to_owned())]);
    let output = admin.run(&["drain", "s9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there are: s1"));

    let output = run(&["ls", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("http://127.0.0.1:1") && error.contains("admin.listen"),
        "{error}"
    );
    let output = run(&["drain", "../reload"]);
    assert!(text(&output.stderr).contains("no shard's id"));
}
