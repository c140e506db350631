//! The DevTools protocol over a pipe: JSON, each message ended by a zero byte.
//! <https://chromedevtools.github.io/devtools-protocol/>

use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::oneshot;

/// How long one answer may take: pages on a busy machine are slow.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection to a browser. Cheap to clone.
#[derive(Clone)]
pub(super) struct DevTools {
    commands: Arc<tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>>,
    /// Who waits for which answer; `None`: the browser is gone.
    waiting: Arc<Mutex<Option<Waiting>>>,
    next: Arc<AtomicU64>,
}

type Waiting = HashMap<u64, oneshot::Sender<Value>>;

impl DevTools {
    /// Over these pipes. Reads answers in a task, until there are no more.
    pub(super) fn new(
        commands: impl AsyncWrite + Send + Unpin + 'static,
        answers: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        let waiting = Arc::new(Mutex::new(Some(Waiting::new())));
        tokio::spawn(read(BufReader::new(answers), Arc::clone(&waiting)));
        Self {
            commands: Arc::new(tokio::sync::Mutex::new(Box::new(commands))),
            waiting,
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// One command, to the browser or to a page's session; gives its result.
    pub(super) async fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let (Some(session), Some(fields)) = (session, command.as_object_mut()) {
            fields.insert("sessionId".to_owned(), session.into());
        }
        let (sender, answer) = oneshot::channel();
        let gone = || "the browser is gone".to_owned();
        locked(&self.waiting)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, sender);
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        let mut commands = self.commands.lock().await;
        let written = async {
            commands.write_all(&bytes).await?;
            commands.flush().await
        };
        written.await.map_err(|_| gone())?;
        drop(commands);
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await;
        if let Some(waiting) = locked(&self.waiting).as_mut() {
            waiting.remove(&id);
        }
        let answer = answer.map_err(|_| format!("the browser does not answer to {method}"))?;
        result(answer.map_err(|_| gone())?)
    }
}

fn result(mut answer: Value) -> Result<Value, String> {
    if let Some(message) = answer.pointer("/error/message").and_then(Value::as_str) {
        return Err(message.to_owned());
    }
    Ok(answer.get_mut("result").map_or(Value::Null, Value::take))
}

async fn read(
    mut answers: BufReader<impl AsyncRead + Unpin>,
    waiting: Arc<Mutex<Option<Waiting>>>,
) {
    let mut bytes = Vec::new();
    while answers
        .read_until(0, &mut bytes)
        .await
        .is_ok_and(|read| read > 0)
    {
        let message: Option<Value> = bytes
            .split_last()
            .and_then(|(_, text)| serde_json::from_slice(text).ok());
        bytes.clear();
        // What has no id is an event, of which we want none.
        let Some((message, id)) = message.and_then(|message| {
            let id = message.get("id")?.as_u64()?;
            Some((message, id))
        }) else {
            continue;
        };
        let who = locked(&waiting)
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        if let Some(who) = who {
            // It may have lost its patience.
            let _ = who.send(message);
        }
    }
    // Whoever waits hears that nothing comes.
    *locked(&waiting) = None;
}

fn locked(waiting: &Mutex<Option<Waiting>>) -> MutexGuard<'_, Option<Waiting>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn answers_find_who_asked_in_any_order() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (answers, commands) = tokio::io::split(ours);
        let devtools = DevTools::new(commands, answers);
        let browser = tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(theirs);
            let mut seen = Vec::new();
            while seen.iter().filter(|byte| **byte == 0).count() < 2 {
                read.read_buf(&mut seen).await.unwrap();
            }
            let event = b"{\"method\":\"Page.loaded\"}\0no json\0";
            write.write_all(event).await.unwrap();
            let answers = b"{\"id\":2,\"error\":{\"message\":\"no such page\"}}\0{\"id\":1,\"result\":{\"x\":7}}\0";
            write.write_all(answers).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let one = devtools.call(None, "Browser.one", json!({ "a": 1 }));
        let two = devtools.call(Some("s"), "Page.two", json!({}));
        let (one, two) = tokio::join!(one, two);
        assert_eq!(
            (one, two),
            (Ok(json!({ "x": 7 })), Err("no such page".to_owned()))
        );
        let seen = browser.await.unwrap();
        let commands: Vec<Value> = seen
            .split_terminator('\0')
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        assert_eq!(commands[0]["params"]["a"], 1);
        assert_eq!(commands[1]["sessionId"], "s");
        // The other end has been dropped.
        let gone = devtools.call(None, "Browser.three", json!({})).await;
        assert_eq!(gone, Err("the browser is gone".to_owned()));
    }
}
