//! One room, one key: whatever part of a request names it.

use affinity::{RoomCase, RoomKey, is_reserved_segment};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

/// What a browser leaves as it is in a path.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn case() -> impl Strategy<Value = RoomCase> {
    prop_oneof![Just(RoomCase::Sensitive), Just(RoomCase::Fold)]
}

/// Names of all scripts, and many that are close to the rules' edges.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ._~+&=%/?#\\\\-]{0,20}",
        "\\PC{0,40}",
        "[äöüßÄÖÜςσΣıİǅŉﬁ가각힣a\u{301}\u{308}\u{200b}\u{fe0f} %]{0,12}",
        any::<String>(),
    ]
}

/// Every byte of the name as `%xx`, in either case of the hex digits.
fn encode_all(name: &str, upper: bool) -> String {
    let hex = |byte: u8| {
        if upper {
            format!("%{byte:02X}")
        } else {
            format!("%{byte:02x}")
        }
    };
    name.bytes().map(hex).collect()
}

fn form_encode(name: &str) -> String {
    utf8_percent_encode(name, UNRESERVED)
        .to_string()
        .replace("%20", "+")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_canonical_name_is_its_own_canonical_name(name in name(), case in case()) {
        if let Ok(key) = RoomKey::from_claim(&name, case) {
            prop_assert_eq!(&RoomKey::from_claim(key.as_str(), case).unwrap(), &key);
            prop_assert_eq!(RoomKey::try_from(key.as_str().to_owned()).unwrap(), key);
        }
        if let Ok(key) = RoomKey::from_header(name.as_bytes(), case) {
            prop_assert_eq!(RoomKey::from_header(key.as_bytes(), case).unwrap(), key);
        }
    }

    #[test]
    fn path_query_header_and_token_give_the_same_key(
        name in name(), case in case(), upper in any::<bool>(),
    ) {
        let header = RoomKey::from_header(name.as_bytes(), case);
        if let Ok(key) = &header {
            prop_assert_eq!(&RoomKey::from_claim(&name, case).unwrap(), key);
        }
        for raw in [form_encode(&name), encode_all(&name, upper)] {
            prop_assert_eq!(&RoomKey::from_query_value(&raw, case), &header);
        }
        let plain = utf8_percent_encode(&name, UNRESERVED).to_string();
        for raw in [plain, encode_all(&name, upper)] {
            let path = RoomKey::from_path_segment(&raw, case);
            match &header {
                Ok(key) if is_reserved_segment(key.as_str()) => prop_assert!(path.is_err()),
                _ => prop_assert_eq!(&path, &header),
            }
        }
    }

    #[test]
    fn the_form_of_accents_does_not_matter(name in name(), case in case()) {
        let decomposed: String = name.nfd().collect();
        let composed: String = name.nfc().collect();
        if let Ok(key) = RoomKey::from_claim(&composed, case) {
            prop_assert_eq!(&RoomKey::from_claim(&decomposed, case).unwrap(), &key);
            prop_assert_eq!(RoomKey::from_claim(&name, case).unwrap(), key);
        }
    }

    #[test]
    fn folding_ignores_case(name in "[a-zäöüßà-öα-ωа-я0-9 -]{1,30}") {
        let key = RoomKey::from_claim(&name, RoomCase::Fold).unwrap();
        prop_assert_eq!(RoomKey::from_claim(&name.to_uppercase(), RoomCase::Fold).unwrap(), key);
    }

    #[test]
    fn any_request_text_is_a_room_or_an_error(raw in "(%[0-9a-fA-F]{2}|\\PC|%|\\+){0,30}") {
        let path = RoomKey::from_path_segment(&raw, RoomCase::Sensitive);
        let query = RoomKey::from_query_value(&raw, RoomCase::Fold);
        for key in [path, query].into_iter().flatten() {
            prop_assert!(!key.as_str().contains(['/', '\\', '?', '#', '%']));
            prop_assert!((1..=128).contains(&key.as_bytes().len()));
        }
    }
}
