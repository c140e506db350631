//! A real `redis-server` of this test alone.

use directory::RedisConfig;
use redis::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const START_DEADLINE: Duration = Duration::from_secs(10);
/// Sentinels that a busy machine has made doubt its clock do nothing for 30 s.
const EVENTUALLY: Duration = Duration::from_secs(60);
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A server that ends with its owner, and its folder with it.
pub(crate) struct RedisServer {
    child: Option<Child>,
    folder: PathBuf,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    /// One that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with further options of `redis.conf`, as `--name value`. `{folder}` is its folder.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::prepared(options, |_, _| {})
    }

    /// As [`Self::with`], after `prepare` has put files into its folder; it also gets the port.
    pub(crate) fn prepared(options: &[&str], prepare: impl Fn(&Path, u16)) -> Self {
        // Between finding a free port and using it somebody else may take it.
        for _ in 0..5 {
            let mut server = Self::stopped(options);
            prepare(&server.folder, server.port);
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start: is it installed (scripts/setup test)?");
    }

    fn stopped(options: &[&str]) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("anteroom-directory-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let place = folder.display().to_string();
        let arguments = options
            .iter()
            .map(|option| option.replace("{folder}", &place))
            .collect();
        Self {
            child: None,
            folder,
            port: free_port(),
            arguments,
        }
    }

    /// Whether it came up.
    fn launch(&mut self) -> bool {
        // The kernel ends it even if this process has no time to.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        if let Some(file) = self.arguments.iter().find(|word| word.ends_with(".conf")) {
            command.arg(file);
        }
        let has = |name: &str| self.arguments.iter().any(|word| word == name);
        if !has("--sentinel") {
            command.args(["--save", "", "--appendonly", "no"]);
            command.args(["--dir", &self.folder.display().to_string()]);
        }
        if !has("--port") {
            command.args(["--port", &self.port.to_string()]);
        }
        command.args(["--bind", "127.0.0.1", "--daemonize", "no"]);
        command.args(
            self.arguments
                .iter()
                .filter(|word| !word.ends_with(".conf")),
        );
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("setpriv and redis-server are installed"));
        self.is_up()
    }

    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            // It listens before it has read what it kept.
            let loads = || {
                let answer = self.try_command(&["PING"]);
                answer.is_err_and(|error| error.to_string().contains("BusyLoading"))
            };
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() && !loads() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// For an engine that waits for a busy machine.
    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            call_timeout_ms: 2_000,
            connect_timeout_ms: 2_000,
            ..RedisConfig::at(self.url())
        }
    }

    /// A command of the test's own, on a connection of its own.
    pub(crate) fn command(&self, words: &[&str]) -> Value {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn try_command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection)
    }

    /// Kills it, without a chance to save anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the same port and folder.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        assert!(self.launch(), "redis-server does not start again");
    }

    /// Stops it in its tracks: connections stay open and silent.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `done`, or says what was waited for.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + EVENTUALLY;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
