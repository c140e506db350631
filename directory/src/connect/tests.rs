use super::*;

/// From the Redis Cluster specification: the checksum of `123456789` is 0x31C3.
#[test]
fn slots_are_those_of_redis_cluster() {
    assert_eq!(slot_of("123456789"), 0x31C3);
    assert_eq!(slot_of("foo"), 12_182);
    assert_eq!(slot_of(""), 0);
}

fn node(host: Value, port: i64) -> Value {
    Value::Array(vec![host, Value::Int(port)])
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

#[test]
fn the_owner_of_a_slot_is_read_from_the_answer() {
    let range =
        |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
    let answer = Value::Array(vec![
        range(0, 5_000, node(text("10.0.0.1"), 7000)),
        range(5_001, 9_999, node(Value::Nil, 7001)),
        range(10_000, 10_001, node(text("?"), 7002)),
    ]);
    assert_eq!(owner_of(7, &answer), Some((Some("10.0.0.1".into()), 7000)));
    assert_eq!(owner_of(9_999, &answer), Some((None, 7001)));
    assert_eq!(owner_of(10_000, &answer), Some((None, 7002)));
    assert_eq!(owner_of(16_000, &answer), None);
}

#[test]
fn answers_of_another_shape_are_no_owner() {
    for answer in [
        Value::Nil,
        Value::Array(vec![Value::Nil]),
        Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(9)])]),
        Value::Array(vec![Value::Array(vec![
            Value::Int(0),
            Value::Int(9),
            node(text("a"), 70_000),
        ])]),
    ] {
        assert_eq!(owner_of(5, &answer), None);
    }
}

#[test]
fn what_says_more_than_unreachable_is_reported() {
    let silent = |address: &str| StartError::Unreachable {
        address: address.to_owned(),
        cause: "refused".to_owned(),
    };
    let telling = StartError::NoPassword {
        address: "b:1".to_owned(),
    };
    assert_eq!(
        most_telling(vec![silent("a:1"), telling.clone(), silent("c:1")]),
        telling
    );
    assert_eq!(
        most_telling(vec![silent("a:1"), silent("b:1")]),
        StartError::Unreachable {
            address: "a:1, b:1".to_owned(),
            cause: "refused".to_owned(),
        }
    );
}

#[test]
fn a_valkey_says_that_it_is_one() {
    let mut facts = Facts::default();
    facts.take(
        "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.0\r\nserver_mode:standalone\r\n",
    );
    facts.take("role:master\r\nconnected_slaves:2\r\nmaxmemory_policy:noeviction");
    assert_eq!(facts.product, "Valkey");
    assert_eq!(facts.version, "8.1.0");
    assert_eq!(facts.mode, "standalone");
    assert!(facts.is_master);
    assert_eq!((facts.replicas, facts.policy.as_str()), (2, "noeviction"));
}
