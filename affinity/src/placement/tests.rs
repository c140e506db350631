use super::*;

fn shards(weights: &[(&str, u32)]) -> Vec<Shard> {
    let shard = |&(id, weight): &(&str, u32)| Shard {
        id: id.into(),
        url: String::new(),
        weight,
        state: ShardState::Active,
    };
    weights.iter().map(shard).collect()
}

#[test]
fn the_hash_is_siphash_1_3_of_raw_bytes_and_never_changes() {
    let item = |bytes: &[u8]| RawHash.hash_item(&Raw(bytes));
    let point = |id: &str, seq| RawHash.hash_vnode(&PointKey(id.into()), seq);
    let got = [
        item(b""),
        item(b"standup"),
        item("täst".as_bytes()),
        point("s1", 0),
        point("s1", 255),
    ];
    let pinned = [
        0x4c5f_eac2_6ea3_9a00,
        0x4e56_f1bb_8038_abb9,
        0x403b_f79f_9095_76a5,
        0xc6f2_53e6_7d63_226d,
        0x15a4_f741_fa2a_0f8c,
    ];
    assert_eq!(got, pinned, "{got:#x?}");
}

#[test]
fn placement_over_three_shards_never_changes() {
    let ring = Ring::new(&shards(&[("s1", 1), ("s2", 1), ("s3", 2)]));
    let names = [
        "standup", "retro", "täst", "team a", "a", "b", "room-1", "room-2",
    ];
    let placed: Vec<&str> = names
        .iter()
        .filter_map(|name| ring.place(name.as_bytes()))
        .map(ShardId::as_str)
        .collect();
    assert_eq!(placed, ["s3", "s3", "s3", "s3", "s3", "s1", "s2", "s1"]);
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let one = Ring::new(&shards(&[("s1", 1), ("s2", 3), ("s3", 1)]));
    let other = Ring::new(&shards(&[("s3", 1), ("s1", 1), ("s2", 3)]));
    for n in 0..1_000 {
        let name = format!("room-{n}");
        assert_eq!(one.place(name.as_bytes()), other.place(name.as_bytes()));
    }
}

#[test]
fn an_empty_ring_places_nothing() {
    assert_eq!(Ring::new(&[]).place(b"standup"), None);
    assert_eq!(
        format!("{:?}", Ring::new(&shards(&[("s1", 2)]))),
        "Ring(1 shards, 2048 points)"
    );
}
