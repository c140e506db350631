use super::*;
use crate::RoomCase;

fn shard(id: &str, weight: u32, state: ShardState) -> Shard {
    Shard {
        id: id.into(),
        url: format!("http://{id}:7880"),
        weight,
        state,
    }
}

fn active(id: &str) -> Shard {
    shard(id, 1, ShardState::Active)
}

fn error(shards: Vec<Shard>) -> TopologyError {
    Topology::new(1, shards).unwrap_err()
}

#[test]
fn a_topology_is_sorted_and_answers_by_id() {
    let topology = Topology::new(4, vec![active("b"), active("a")]).unwrap();
    let ids: Vec<&str> = topology
        .shards()
        .iter()
        .map(|shard| shard.id.as_str())
        .collect();
    assert_eq!((topology.generation(), ids), (4, vec!["a", "b"]));
    assert_eq!(topology.shard(&"b".into()), Some(&active("b")));
    assert_eq!(topology.shard(&"c".into()), None);
}

#[test]
fn broken_sets_are_refused_with_the_name_of_the_culprit() {
    assert_eq!(error(vec![]), TopologyError::NoShards);
    assert_eq!(error(vec![active("")]), TopologyError::EmptyId);
    for id in ["a b", "ä", "a\n", &"a".repeat(65)] {
        assert!(
            matches!(error(vec![active(id)]), TopologyError::BadId { .. }),
            "{id:?}"
        );
    }
    let twice = error(vec![active("a"), active("b"), active("a")]);
    assert_eq!(twice, TopologyError::DuplicateId { id: "a".into() });
    for weight in [0, 101] {
        let refused = error(vec![shard("a", weight, ShardState::Draining)]);
        assert_eq!(
            refused,
            TopologyError::BadWeight {
                id: "a".into(),
                weight
            }
        );
    }
    let many = (0..21)
        .map(|n| shard(&format!("s{n}"), 100, ShardState::Active))
        .collect();
    assert_eq!(error(many), TopologyError::WeightsSum { sum: 2_100 });
}

#[test]
fn draining_shards_get_no_idle_rooms() {
    let draining = shard("b", 1, ShardState::Draining);
    let topology = Topology::new(1, vec![active("a"), draining.clone()]).unwrap();
    let room = |n: u64| RoomKey::from_claim(&format!("room-{n}"), RoomCase::Sensitive).unwrap();
    let a = ShardId::from("a");
    assert!((0..100).all(|n| topology.place(&room(n)) == Some(&a)));
    assert!((0..100).all(|n| topology.any_active(n) == Some(&a)));
    let drained = Topology::new(2, vec![draining]).unwrap();
    assert_eq!(
        (drained.place(&room(1)), drained.any_active(1)),
        (None, None)
    );
}

#[test]
fn requests_without_a_room_reach_every_active_shard() {
    let topology = Topology::new(1, vec![active("a"), active("b")]).unwrap();
    let hits = (0..1_000)
        .filter(|n| topology.any_active(*n) == Some(&"a".into()))
        .count();
    assert!((350..=650).contains(&hits), "{hits}");
}

#[test]
fn shards_read_from_text() {
    let text = r#"{"id":"s1","url":"http://10.0.0.1","weight":2,"state":"draining"}"#;
    let shard: Shard = serde_json::from_str(text).unwrap();
    assert_eq!(
        (shard.id.as_str(), shard.state),
        ("s1", ShardState::Draining)
    );
}
