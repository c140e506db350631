use super::*;
use axum::Json;
use axum::routing::post;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// A shard that takes its time, and counts the connections to it.
async fn slow_shard(counted: &'static AtomicUsize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route(
        PATH,
        post(|| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Json(PeerReply::Yes)
        }),
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = server.serve_connection(stream, service).await;
            });
        }
    });
    address
}

fn life(address: SocketAddr) -> Life {
    Life {
        shard: ShardId::new("s2"),
        incarnation: affinity::directory::Incarnation(1),
        url: format!("http://{address}"),
        weight: 1,
        accepts: true,
    }
}

#[tokio::test]
async fn a_room_of_hundreds_asks_over_one_connection() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    let life = life(slow_shard(&CONNECTIONS).await);
    let peers = crate::ownership::tests::nobody();
    let pulls = (0..300).map(|number| {
        let (peers, life) = (peers.clone(), life.clone());
        let request = PeerRequest::Pull {
            room: crate::ownership::tests::room("standup"),
            participant: ParticipantSid::new(format!("PA_{number}")),
        };
        async move { peers.ask(&life, request).await.unwrap() }
    });
    let answers = futures::future::join_all(pulls).await;
    assert!(answers.iter().all(|answer| *answer == PeerReply::Yes));
    assert_eq!(CONNECTIONS.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_unreachable_shard_is_named_with_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let request = PeerRequest::Withdraw {
        room: crate::ownership::tests::room("standup"),
        epoch: Epoch(1),
    };
    let peers = crate::ownership::tests::nobody();
    let error = peers.ask(&life(nobody), request).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("shard s2 at http://127.0.0.1:") && text.contains("refused"),
        "{text}"
    );
}
