//! With real sockets.

use super::hello::tests::hello;
use super::*;
use tokio::sync::watch;

/// Answers each connection with its name and whatever it hears first.
async fn upstream(name: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = vec![0; READ_BYTES];
                let length = stream.read(&mut heard).await.unwrap();
                stream.write_all(name.as_bytes()).await.unwrap();
                stream.write_all(&heard[..length]).await.unwrap();
            });
        }
    });
    address
}

async fn splitter(default: Option<SocketAddr>) -> (SocketAddr, watch::Sender<bool>) {
    let turn = upstream("turn").await;
    let config = SniConfig {
        listen: "127.0.0.1:0".to_owned(),
        routes: vec![SniRoute {
            names: vec!["turn.example.org".to_owned()],
            upstream: turn.to_string(),
        }],
        default: default.map(|address| address.to_string()),
    };
    let listener = tokio::net::TcpListener::bind(&config.listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(accept(listener, Arc::new(config), shutdown));
    (address, stop)
}

/// Sends, and returns what comes until the end.
async fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(Duration::from_secs(5), client.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_connection_goes_to_the_program_of_its_name_as_it_came() {
    let web = upstream("web").await;
    let (address, _stop) = splitter(Some(web)).await;
    let to_turn = hello("turn.example.org");
    assert_eq!(
        ask(address, &to_turn).await,
        [b"turn", to_turn.as_slice()].concat()
    );
    for name in ["meet.example.org", "192.0.2.1"] {
        let other = hello(name);
        assert_eq!(
            ask(address, &other).await,
            [b"web", other.as_slice()].concat()
        );
    }
}

#[tokio::test]
async fn what_has_no_place_is_closed() {
    let (address, _stop) = splitter(None).await;
    assert!(ask(address, &hello("meet.example.org")).await.is_empty());
    assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").await.is_empty());
    // Nobody listens at the default.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = free.local_addr().unwrap();
    drop(free);
    let (address, _stop) = splitter(Some(gone)).await;
    assert!(ask(address, &hello("meet.example.org")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_closed_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpStream::connect(listener.local_addr().unwrap());
    let (silent, accepted) = tokio::join!(silent, listener.accept());
    let config = SniConfig {
        listen: String::new(),
        routes: Vec::new(),
        default: None,
    };
    let began = tokio::time::Instant::now();
    let ended = pass(accepted.unwrap().0, &config).await;
    assert!(matches!(ended, Err(PassError::Slow)), "{ended:?}");
    assert_eq!(began.elapsed(), HELLO_LIMIT);
    drop(silent);
}
