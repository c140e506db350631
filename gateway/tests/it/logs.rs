//! What is logged, and what never is.

use crate::support::{FakeShard, TestGateway, config, shard_config, token, until};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_leaves_a_line_and_none_carries_a_token() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn,gateway=trace"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let broken = TestGateway::start(config(vec![shard_config("s1", "http://127.0.0.1:1")]));
    let token = token("logged-room");
    let target = format!("/r/logged-room/rtc?access_token={token}");
    assert_eq!(gateway.get(&target).await.status, 200);
    assert_eq!(broken.get(&target).await.status, 503);
    let wrong = format!("/r/logged-refusal/rtc?access_token={token}");
    assert_eq!(gateway.get(&wrong).await.status, 400);
    // The line is written after the answer.
    until(|| async {
        let text = lines.text();
        text.contains("logged-refusal") && text.contains("request failed")
    })
    .await;
    let text = lines.text();
    assert!(text.contains("/r/logged-room/rtc"), "{text}");
    assert!(!text.contains(&token[..40]), "{text}");
    assert!(!text.contains("access_token="), "{text}");
}
