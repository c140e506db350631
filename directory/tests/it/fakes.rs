//! Things that listen and are no Redis.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A listener that treats each connection as told. Ends with the process.
pub(crate) struct Fake {
    pub(crate) port: u16,
    /// Connections so far.
    pub(crate) accepted: Arc<AtomicU32>,
}

impl Fake {
    fn new(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&accepted);
        let treat = Arc::new(treat);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let treat = Arc::clone(&treat);
                std::thread::spawn(move || treat(stream));
            }
        });
        Self { port, accepted }
    }

    /// Takes everything and says nothing.
    pub(crate) fn silent() -> Self {
        Self::new(|mut stream| {
            let mut sink = [0; 1024];
            while matches!(stream.read(&mut sink), Ok(1..)) {}
        })
    }

    /// Hangs up at once.
    pub(crate) fn closing() -> Self {
        Self::new(drop)
    }

    /// Answers each read with these bytes.
    pub(crate) fn saying(answer: &'static [u8]) -> Self {
        Self::new(move |mut stream| {
            let mut sink = [0; 1024];
            while matches!(stream.read(&mut sink), Ok(1..)) {
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers the first read of a connection with these bytes, and nothing after it.
    pub(crate) fn falling_silent(answer: Vec<u8>) -> Self {
        Self::new(move |mut stream| {
            let mut sink = [0; 1024];
            if matches!(stream.read(&mut sink), Ok(1..)) && stream.write_all(&answer).is_ok() {
                while matches!(stream.read(&mut sink), Ok(1..)) {}
            }
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Three answers to three `INFO`s, of a server of this version.
pub(crate) fn infos(version: &str) -> Vec<u8> {
    let server = format!("redis_version:{version}\r\nredis_mode:standalone\r\n");
    let mut bytes = Vec::new();
    for text in [
        server.as_str(),
        "role:master\r\n",
        "maxmemory_policy:noeviction\r\n",
    ] {
        bytes.extend(format!("${}\r\n{text}\r\n", text.len()).into_bytes());
    }
    bytes
}
