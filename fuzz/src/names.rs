//! Room names: equal rooms have equal keys, whichever part of a request names them.

use affinity::{ROOM_BYTES_MAX, ROOM_SEGMENT_BYTES_MAX, RoomCase, RoomKey, is_reserved_segment};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// A room name in every form that a request can give it.
pub fn room_key(data: &[u8]) {
    for case in [RoomCase::Sensitive, RoomCase::Fold] {
        let header = RoomKey::from_header(data, case).ok();
        if let Some(key) = &header {
            strict(key, case);
        }
        let Ok(text) = std::str::from_utf8(data) else {
            assert_eq!(header, None, "a name that is no text");
            continue;
        };
        let path = RoomKey::from_path_segment(text, case);
        let query = RoomKey::from_query_value(text, case);
        for key in [path, query].into_iter().flatten() {
            strict(&key, case);
        }
        let claim = RoomKey::from_claim(text, case).ok();
        if let Some(key) = &claim {
            canonical(key, case);
        }
        if header.is_some() {
            assert_eq!(
                header, claim,
                "a header and a token split the room {text:?}"
            );
        }
    }
    folding(data);
}

/// A key is its own canonical form, also for a program that was only sent it.
fn canonical(key: &RoomKey, case: RoomCase) {
    let name = key.as_str();
    assert!(!name.is_empty() && name.len() <= ROOM_BYTES_MAX);
    assert!(!name.chars().any(char::is_control), "{name:?}");
    assert_eq!(RoomKey::from_claim(name, case).as_ref(), Ok(key));
    assert_eq!(RoomKey::try_from(name.to_owned()).as_ref(), Ok(key));
}

/// A key from a URL or header: all sources agree about it.
fn strict(key: &RoomKey, case: RoomCase) {
    canonical(key, case);
    let name = key.as_str();
    assert!(name.len() <= ROOM_SEGMENT_BYTES_MAX);
    assert!(!name.contains(['/', '\\', '?', '#', '%']), "{name:?}");
    assert_eq!(
        RoomKey::from_header(name.as_bytes(), case).as_ref(),
        Ok(key)
    );
    let encoded = percent_encode(name.as_bytes(), NON_ALPHANUMERIC).to_string();
    assert_eq!(RoomKey::from_query_value(&encoded, case).as_ref(), Ok(key));
    let path = RoomKey::from_path_segment(&encoded, case);
    if is_reserved_segment(name) {
        assert!(path.is_err(), "{name:?} is the product's");
    } else {
        assert_eq!(path.as_ref(), Ok(key));
    }
}

/// Folding after normalising is folding at once.
fn folding(data: &[u8]) {
    let sensitive = RoomKey::from_header(data, RoomCase::Sensitive);
    let folded = RoomKey::from_header(data, RoomCase::Fold);
    if let (Ok(sensitive), Ok(folded)) = (sensitive, folded) {
        let again = RoomKey::from_header(sensitive.as_bytes(), RoomCase::Fold);
        assert_eq!(again, Ok(folded));
    }
}
