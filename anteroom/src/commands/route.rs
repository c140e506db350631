//! `anteroom route`: where requests would go, without sending them.

use crate::cli::RouteArgs;
use crate::{commands::gateway, process};
use affinity::{Headers, RequestView, Routing};
use anyhow::Context as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufWriter, Write};
use std::process::ExitCode;

/// One line of standard input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Header names in lower case.
struct LowerCase(BTreeMap<String, String>);

impl Headers for LowerCase {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(String::as_bytes)
    }
}

/// Answers one URL, or one line after the other.
pub(crate) fn run(args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let loaded = gateway::load(&args.config).map_err(anyhow::Error::msg)?;
    let routing = ::gateway::routing(&loaded)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut all_routed = true;
    if args.url == "-" {
        for line in std::io::stdin().lock().lines() {
            let line = line.context("read standard input")?;
            if !line.trim().is_empty() {
                let answer = answer_line(&line, routing.as_ref());
                print(&answer, args.json, &mut out)?;
            }
        }
    } else {
        let question = Question {
            method: get(),
            url: args.url.clone(),
            headers: BTreeMap::new(),
        };
        let answer = answer(question, routing.as_ref());
        all_routed = answer.get("shard").is_some();
        print(&answer, args.json, &mut out)?;
    }
    out.flush().context("write standard output")?;
    Ok(if all_routed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn answer_line(line: &str, routing: &dyn Routing) -> serde_json::Value {
    match serde_json::from_str(line) {
        Ok(question) => answer(question, routing),
        Err(error) => serde_json::json!({
            "status": 400,
            "reason": format!("not a line of {{\"method\",\"url\",\"headers\"}}: {error}"),
        }),
    }
}

fn answer(question: Question, routing: &dyn Routing) -> serde_json::Value {
    let lower = |(name, value): (String, String)| (name.to_lowercase(), value);
    let headers = LowerCase(question.headers.into_iter().map(lower).collect());
    let request = RequestView {
        method: &question.method,
        target: target_of(&question.url),
        headers: &headers,
        body: None,
    };
    match routing.route(&request, process::unix_now_s()) {
        Ok(decision) => serde_json::json!({
            "room": decision.room.as_ref().map(|room| room.as_str()),
            "shard": decision.candidate.as_str(),
            "rule": decision.rule,
        }),
        Err(refusal) => serde_json::json!({ "status": refusal.status, "reason": refusal.reason }),
    }
}

/// The request target of a URL: what stands behind scheme and authority.
fn target_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    match rest.find(['/', '?']) {
        Some(start) => &rest[start..],
        None => "/",
    }
}

fn print(answer: &serde_json::Value, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{answer}")
    } else if let Some(shard) = answer["shard"].as_str() {
        let room = answer["room"].as_str().unwrap_or("(no room)");
        let rule = answer["rule"].as_str().unwrap_or_default();
        writeln!(out, "room   {room}\nshard  {shard}\nwhy    {rule}")
    } else {
        writeln!(
            out,
            "refused with {}: {}",
            answer["status"], answer["reason"]
        )
    }
    .context("write standard output")
}

#[cfg(test)]
mod tests {
    use super::target_of;

    #[test]
    fn the_target_is_what_stands_behind_the_authority() {
        assert_eq!(
            target_of("https://meet.example/standup?x=1"),
            "/standup?x=1"
        );
        assert_eq!(target_of("wss://meet.example"), "/");
        assert_eq!(target_of("/standup"), "/standup");
        assert_eq!(target_of("http://meet.example?room=a"), "?room=a");
    }
}
