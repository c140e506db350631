//! Participants in tabs of a real Chromium, in the server's own web client: what people would see.
//!
//! Owns: the browser's life and one task a tab. The program is [`chromium`], how one talks to it
//! [`devtools`], what is asked of a page [`tab`]. Must not: be needed by a run without browsers.

mod chromium;
mod devtools;
mod tab;

pub(super) use chromium::find;

use super::desk::{Common, Desk, add};
use crate::collect::Collector;
use crate::witness::{Witness, WitnessKind};
use chromium::Chromium;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tab::{Sight, Tab};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From the page's request to the first picture. Later, a tab has failed.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// Time from look to look at a page.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pages are looked at for the last time so long before the end: while all others still send.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Starts the browser's thread; it ends with the plan, or soon after `stop`.
pub(super) fn start(
    common: Arc<Common>,
    program: PathBuf,
    stop: CancellationToken,
) -> io::Result<JoinHandle<Collector>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("load-browsers".to_owned());
    thread.spawn(move || {
        let desk = Arc::new(Desk::new(common));
        runtime.block_on(async {
            if let Err(cause) = run(&desk, program, &stop).await {
                desk.note_error("no browser", &cause, Instant::now());
            }
        });
        runtime.shutdown_background();
        desk.take()
    })
}

async fn run(desk: &Arc<Desk>, program: PathBuf, stop: &CancellationToken) -> Result<(), String> {
    let settings = &desk.common.settings;
    let plan = &settings.plan;
    // Started at once, because starting takes cores; joins when rooms are full.
    let (chromium, devtools) = Chromium::start(&program).await?;
    let begin = desk.common.clock.at(plan.ramp());
    let end = desk
        .common
        .clock
        .at(plan.duration.saturating_sub(LAST_LOOK));
    tokio::select! {
        () = tokio::time::sleep_until(begin.into()) => {}
        () = stop.cancelled() => {}
    }
    let leave = stop.child_token();
    let mut all = JoinSet::new();
    for number in 0..settings.browsers {
        let (room, name) = settings.place_of(number, "browser");
        let url = page_url(&settings.url, &room, &name);
        let tab = Tab::open(devtools.clone(), url);
        all.spawn(watch(Arc::clone(desk), tab, room, name, leave.clone()));
    }
    tokio::select! {
        () = tokio::time::sleep_until(end.into()) => {}
        () = stop.cancelled() => {}
    }
    leave.cancel();
    while all.join_next().await.is_some() {}
    chromium.end(&devtools).await;
    Ok(())
}

/// One tab, from its first request to its end.
async fn watch(
    desk: Arc<Desk>,
    opening: impl Future<Output = Result<Tab, String>>,
    room: String,
    name: String,
    leave: CancellationToken,
) {
    let mut witness = Witness::new(WitnessKind::Browser, room, name);
    let watched = async { look_until(&desk, &opening.await?, &mut witness, &leave).await };
    if let Err(cause) = watched.await {
        let example = format!("{}: {cause}", witness.name);
        desk.note_error("participant in a browser failed", &example, Instant::now());
        witness.error = Some(cause);
    }
    desk.collector().handle_witness(witness);
}

async fn look_until(
    desk: &Desk,
    tab: &Tab,
    witness: &mut Witness,
    leave: &CancellationToken,
) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = leave.cancelled() => true,
        };
        if let Some(sight) = tab.look().await? {
            let before = witness.first_frame_ms.is_some();
            note(witness, &sight);
            if !before && witness.first_frame_ms.is_some() {
                add(&desk.common.counters.joined, 1);
            }
        }
        if last {
            tab.leave().await;
            break;
        }
        if witness.first_frame_ms.is_none() && begun.elapsed() > JOIN_WITHIN {
            return Err(format!(
                "no picture in {} s: {}",
                JOIN_WITHIN.as_secs(),
                tab.title().await
            ));
        }
    }
    match witness.first_frame_ms {
        Some(_) => Ok(()),
        None => Err("no picture until the end of the run".to_owned()),
    }
}

fn note(witness: &mut Witness, sight: &Sight) {
    witness.joined_ms = witness.joined_ms.or(sight.joined_ms);
    witness.first_frame_ms = witness.first_frame_ms.or(sight.first_frame_ms);
    // A browser's counts end with the track: the largest are those of the whole stay.
    witness.streams = witness.streams.max(sight.streams);
    witness.packets = witness.packets.max(sight.packets);
    witness.lost = witness.lost.max(sight.lost.try_into().unwrap_or(0));
    witness.frames = witness.frames.max(sight.frames);
    witness.freezes = witness.freezes.max(sight.freezes);
    witness.frozen_s = witness.frozen_s.max(sight.frozen_s);
}

/// The web client's page of a room, which joins by itself.
fn page_url(server: &str, room: &str, name: &str) -> String {
    let page = server
        .replacen("ws://", "http://", 1)
        .replacen("wss://", "https://", 1);
    let page = page.trim_end_matches('/');
    format!("{page}/{room}?autojoin=1&name={name}&audio=1&video=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_room_is_beside_its_signalling() {
        let url = page_url("wss://host:7/", "loadtest-1", "loadtest-1-browser1");
        let expected =
            "https://host:7/loadtest-1?autojoin=1&name=loadtest-1-browser1&audio=1&video=1";
        assert_eq!(url, expected);
        assert!(page_url("http://host", "r", "n").starts_with("http://host/r?"));
    }

    #[test]
    fn what_was_seen_stays_when_tracks_end() {
        let mut witness = Witness::new(WitnessKind::Browser, "r".to_owned(), "n".to_owned());
        let sight = Sight {
            joined_ms: Some(300.0),
            first_frame_ms: Some(900.0),
            frames: 50,
            lost: -1,
            ..Sight::default()
        };
        note(&mut witness, &sight);
        note(&mut witness, &Sight::default());
        assert_eq!(
            (witness.joined_ms, witness.first_frame_ms),
            (Some(300.0), Some(900.0))
        );
        assert_eq!((witness.frames, witness.lost), (50, 0));
    }
}
