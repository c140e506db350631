//! One page in a profile of its own, and what is asked of it.

use super::devtools::DevTools;
use serde::Deserialize;
use serde_json::{Value, json};

/// Runs in the page: `null` until the web client has joined. Its `window.anteroom` is for diagnostics,
/// and this is one.
const LOOK: &str = r"(async () => {
  const client = window.anteroom;
  if (!client) return null;
  const own = await client.stats();
  const seen = {
    joinedMs: own.timing.joinedMs, firstFrameMs: own.timing.firstFrameMs,
    streams: 0, packets: 0, lost: 0, frames: 0, freezes: 0, frozenS: 0,
  };
  for (const who of client.room.remoteParticipants.values())
    for (const publication of who.trackPublications.values()) {
      const report = await publication.track?.getRTCStatsReport();
      report?.forEach((entry) => {
        if (entry.type !== 'inbound-rtp') return;
        seen.streams += 1;
        seen.packets += entry.packetsReceived ?? 0;
        seen.lost += entry.packetsLost ?? 0;
        seen.frames += entry.framesDecoded ?? 0;
        seen.freezes += entry.freezeCount ?? 0;
        seen.frozenS += entry.totalFreezesDuration ?? 0;
      });
    }
  return seen;
})()";

/// What a page tells.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sight {
    /// From the start of the page's load, milliseconds.
    pub(super) joined_ms: Option<f64>,
    pub(super) first_frame_ms: Option<f64>,
    pub(super) streams: u64,
    pub(super) packets: u64,
    /// Negative where packets came twice (RFC 3550 section 6.4.1).
    pub(super) lost: i64,
    pub(super) frames: u64,
    pub(super) freezes: u64,
    pub(super) frozen_s: f64,
}

/// A page.
pub(super) struct Tab {
    devtools: DevTools,
    session: String,
}

impl Tab {
    /// Opens the URL in a new profile.
    pub(super) async fn open(devtools: DevTools, url: String) -> Result<Self, String> {
        let context = devtools
            .call(None, "Target.createBrowserContext", json!({}))
            .await?;
        let target = json!({ "url": url, "browserContextId": text(&context, "browserContextId")? });
        let target = devtools.call(None, "Target.createTarget", target).await?;
        let attach = json!({ "targetId": text(&target, "targetId")?, "flatten": true });
        let session = devtools.call(None, "Target.attachToTarget", attach).await?;
        Ok(Self {
            session: text(&session, "sessionId")?.to_owned(),
            devtools,
        })
    }

    /// What it sees; `None` before it has joined.
    pub(super) async fn look(&self) -> Result<Option<Sight>, String> {
        match self.evaluate(LOOK).await? {
            Value::Null => Ok(None),
            value => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| format!("the page tells something else: {error}")),
        }
    }

    /// Leaves the room, as a person who clicks on it.
    pub(super) async fn leave(&self) {
        if let Err(cause) = self.evaluate("window.anteroom?.room.disconnect()").await {
            tracing::debug!("a tab did not leave: {cause}");
        }
    }

    /// What the page shows at its top, for errors.
    pub(super) async fn title(&self) -> String {
        let text = "document.title + ' / ' + (document.body?.innerText ?? '').slice(0, 200)";
        let shown = self.evaluate(text).await;
        let shown = shown
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned));
        let shown = shown.unwrap_or_else(|| "a page that does not answer".to_owned());
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut answer = self
            .devtools
            .call(Some(&self.session), "Runtime.evaluate", params)
            .await?;
        if let Some(thrown) = answer.pointer("/exceptionDetails/exception/description") {
            return Err(format!("the page's script failed: {thrown}"));
        }
        Ok(answer
            .pointer_mut("/result/value")
            .map_or(Value::Null, Value::take))
    }
}

fn text<'a>(answer: &'a Value, key: &str) -> Result<&'a str, String> {
    let found = answer.get(key).and_then(Value::as_str);
    found.ok_or_else(|| format!("the browser's answer has no {key}"))
}
