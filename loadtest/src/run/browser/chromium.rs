//! The browser's program: found, started, ended.

use super::devtools::DevTools;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Names under which it is known.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// How long it may take to start: on a busy machine it takes seconds.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether its helpers have ended too.
const HELPERS_EVERY: Duration = Duration::from_millis(50);

/// Gives the pipe of our commands the numbers that the browser expects: it reads from 3 and writes to
/// 4. When we are gone the pipe is closed, and the browser ends.
const SCRIPT: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

const FLAGS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Ten frames a second, as much as a tab of its own needs to be seen.
    "--use-fake-device-for-media-stream=fps=10",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // A page in the background must play on: nobody looks at any of them.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--remote-debugging-pipe",
];

/// The program to use: `wanted`, or the first that the `PATH` has.
pub(in crate::run) fn find(wanted: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(program) = wanted {
        return if program.is_file() {
            Ok(program.to_owned())
        } else {
            Err(format!(
                "there is no browser at {}: give --browser its path",
                program.display()
            ))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut programs = places.filter(|place| place.is_file());
    programs.next().ok_or_else(|| {
        format!(
            "no browser in the PATH ({}): install chromium, or give --browser its path",
            NAMES.join(", ")
        )
    })
}

/// A running browser.
pub(super) struct Chromium {
    child: Child,
    profile: PathBuf,
}

impl Chromium {
    /// Starts it and waits until it answers.
    pub(super) async fn start(program: &Path) -> Result<(Self, DevTools), String> {
        let profile =
            std::env::temp_dir().join(format!("anteroom-loadtest-{}", std::process::id()));
        let failed = |cause: String| format!("{} cannot be started: {cause}", program.display());
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for us, who end it in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| failed("it has no pipes".to_owned()))?;
        let devtools = DevTools::new(commands, answers);
        let chromium = Self { child, profile };
        let asked = devtools.call(None, "Browser.getVersion", serde_json::json!({}));
        match tokio::time::timeout(START_WITHIN, asked).await {
            Ok(Ok(_)) => Ok((chromium, devtools)),
            Ok(Err(cause)) => {
                chromium.end(&devtools).await;
                Err(failed(cause))
            }
            Err(_) => {
                chromium.end(&devtools).await;
                Err(failed(format!(
                    "it did not answer in {} s",
                    START_WITHIN.as_secs()
                )))
            }
        }
    }

    /// Ends it, politely at first, and removes its profile.
    pub(super) async fn end(mut self, devtools: &DevTools) {
        let group = self.child.id();
        let asked = async {
            // That it goes without an answer is an answer too.
            let _ = devtools
                .call(None, "Browser.close", serde_json::json!({}))
                .await;
            let _ = self.child.wait().await;
        };
        if tokio::time::timeout(END_WITHIN, asked).await.is_err() {
            let _ = self.child.kill().await;
        }
        if let Some(group) = group {
            let gone = async {
                while group_runs(group) {
                    tokio::time::sleep(HELPERS_EVERY).await;
                }
            };
            // Without us they end by themselves: nobody has to wait longer.
            let _ = tokio::time::timeout(END_WITHIN, gone).await;
        }
        if let Err(error) = tokio::fs::remove_dir_all(&self.profile).await {
            tracing::debug!("{} was left: {error}", self.profile.display());
        }
    }
}

/// Something of this process group still runs: the browser's helpers end a second after it.
fn group_runs(group: u32) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let stats = processes
        .flatten()
        .map(|process| process.path().join("stat"));
    let mut texts = stats.filter_map(|stat| std::fs::read_to_string(stat).ok());
    texts.any(|text| is_running_in(&text, group))
}

/// From the text of `/proc/PID/stat` (proc_pid_stat(5)): state is field 3, process group field 5.
fn is_running_in(stat: &str, group: u32) -> bool {
    let fields = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split_ascii_whitespace());
    let Some([state, _, found]) =
        fields.and_then(|mut fields| Some([fields.next()?, fields.next()?, fields.next()?]))
    else {
        return false;
    };
    state != "Z" && found.parse() == Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_told_from_what_has_ended_and_from_others() {
        let stat = |state: &str| format!("7 (a) b) {state} 1 4711 7 0");
        assert!(is_running_in(&stat("S"), 4711));
        assert!(!is_running_in(&stat("Z"), 4711));
        assert!(!is_running_in(&stat("S"), 7));
        assert!(!is_running_in("nonsense", 7));
        assert!(!group_runs(u32::MAX));
    }

    #[test]
    fn a_browser_that_is_not_there_is_said() {
        let refused = find(Some(Path::new("/nowhere/chromium"))).unwrap_err();
        assert!(refused.contains("/nowhere/chromium") && refused.contains("--browser"));
    }
}
