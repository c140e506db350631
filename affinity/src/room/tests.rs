use super::*;
use RoomCase::{Fold, Sensitive};

fn path(raw: &str) -> Result<String, RoomKeyError> {
    RoomKey::from_path_segment(raw, Sensitive).map(|key| key.as_str().to_owned())
}

fn query(raw: &str) -> Result<String, RoomKeyError> {
    RoomKey::from_query_value(raw, Sensitive).map(|key| key.as_str().to_owned())
}

fn claim(name: &str) -> Result<String, RoomKeyError> {
    RoomKey::from_claim(name, Sensitive).map(|key| key.as_str().to_owned())
}

fn fold(name: &str) -> String {
    RoomKey::from_claim(name, Fold).unwrap().as_str().to_owned()
}

#[test]
fn a_path_segment_is_decoded_exactly_once() {
    assert_eq!(path("standup"), Ok("standup".to_owned()));
    assert_eq!(path("team%20a"), Ok("team a".to_owned()));
    assert_eq!(path("t%C3%A4st"), Ok("täst".to_owned()));
    assert_eq!(path("täst"), Ok("täst".to_owned()));
    assert_eq!(path("t%25C3%25A4st"), Err(RoomKeyError::DoubleEncoded));
    assert_eq!(path("a+b"), Ok("a+b".to_owned()));
}

#[test]
fn a_query_value_reads_plus_as_space() {
    assert_eq!(query("team+a"), Ok("team a".to_owned()));
    assert_eq!(query("a%2Bb"), Ok("a+b".to_owned()));
    assert_eq!(query("+a"), Err(RoomKeyError::EdgeSpace));
}

#[test]
fn broken_encodings_are_refused() {
    for raw in ["%", "a%2", "%zz", "a%%20", "%+1"] {
        assert_eq!(path(raw), Err(RoomKeyError::BadEscape), "{raw}");
        assert_eq!(query(raw), Err(RoomKeyError::BadEscape), "{raw}");
    }
    for raw in ["%ff", "%C3", "%C0%AF", "%ED%A0%80"] {
        assert_eq!(path(raw), Err(RoomKeyError::NotUtf8), "{raw}");
    }
    assert_eq!(
        RoomKey::from_header(b"\xff", Sensitive),
        Err(RoomKeyError::NotUtf8)
    );
}

#[test]
fn names_with_a_meaning_in_urls_are_refused_outside_of_tokens() {
    for raw in ["a%2Fb", "a/b", "a%5Cb", "a%3Fb", "a%23b"] {
        assert!(
            matches!(path(raw), Err(RoomKeyError::Forbidden { .. })),
            "{raw}"
        );
    }
    for raw in [".", "..", "%2e", "%2E%2e"] {
        assert_eq!(path(raw), Err(RoomKeyError::Dots), "{raw}");
    }
    assert_eq!(path("..."), Ok("...".to_owned()));
    assert_eq!(path(""), Err(RoomKeyError::Empty));
    for name in ["a/b", "a\\b", "what?", "#1", "100%", ".", " padded ", "rtc"] {
        assert_eq!(claim(name), Ok(name.to_owned()));
    }
}

#[test]
fn what_nobody_sees_is_refused_everywhere() {
    let hidden = [
        "\0",
        "a\nb",
        "a\u{7f}b",
        "a\u{85}",
        "a\u{200B}b",
        "a\u{200D}b",
        "\u{202E}abc",
        "a\u{2066}b",
        "\u{FEFF}a",
        "a\u{AD}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{E0041}b",
    ];
    for name in hidden {
        assert!(
            matches!(claim(name), Err(RoomKeyError::Forbidden { .. })),
            "{name:?}"
        );
        let header = RoomKey::from_header(name.as_bytes(), Sensitive);
        assert!(
            matches!(header, Err(RoomKeyError::Forbidden { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn what_looks_like_something_else_is_refused_outside_of_tokens() {
    let odd = [
        "❤\u{FE0F}",
        "a\u{A0}b",
        "a\u{3000}b",
        "a\u{3164}b",
        "a\u{E000}b",
        "a\u{0378}b",
        "\u{2800}a",
    ];
    for name in odd {
        let header = RoomKey::from_header(name.as_bytes(), Sensitive);
        assert!(
            matches!(header, Err(RoomKeyError::Forbidden { .. })),
            "{name:?}"
        );
        assert_eq!(claim(name), Ok(name.to_owned()));
    }
    for name in [" a", "a ", "\u{3000}a", "a\u{A0}"] {
        let header = RoomKey::from_header(name.as_bytes(), Sensitive);
        assert_eq!(header, Err(RoomKeyError::EdgeSpace), "{name:?}");
    }
}

#[test]
fn composed_and_decomposed_names_are_one_room() {
    assert_eq!(claim("ta\u{308}st"), Ok("täst".to_owned()));
    assert_eq!(path("ta%CC%88st"), path("t%C3%A4st"));
    assert_eq!(claim("\u{212B}"), Ok("\u{C5}".to_owned()));
}

#[test]
fn limits_count_canonical_bytes() {
    let (fits, over) = ("a".repeat(128), "a".repeat(129));
    assert_eq!(path(&fits), Ok(fits));
    assert_eq!(
        path(&over),
        Err(RoomKeyError::TooLong {
            bytes: 129,
            max: 128
        })
    );
    let encoded = "%61".repeat(128);
    assert_eq!(path(&encoded), Ok("a".repeat(128)));
    let (fits, over) = ("a".repeat(256), "a".repeat(300));
    assert_eq!(claim(&fits), Ok(fits));
    assert_eq!(
        claim(&over),
        Err(RoomKeyError::TooLong {
            bytes: 300,
            max: 256
        })
    );
    assert!(matches!(
        path(&"a".repeat(1 << 20)),
        Err(RoomKeyError::TooLong { .. })
    ));
    let decomposed = "\u{1112}\u{1161}\u{11AB}".repeat(40);
    assert_eq!(decomposed.len(), 360);
    assert_eq!(claim(&decomposed).unwrap().len(), 120);
}

#[test]
fn reserved_paths_are_no_page_rooms_but_rooms_in_tokens() {
    for name in RESERVED_SEGMENTS {
        assert!(is_reserved_segment(name));
        assert_eq!(path(name), Err(RoomKeyError::Reserved(name.to_owned())));
        assert_eq!(claim(name), Ok(name.to_owned()));
    }
    assert_eq!(path("%72tc"), Err(RoomKeyError::Reserved("rtc".to_owned())));
    assert_eq!(path("rtc2"), Ok("rtc2".to_owned()));
    assert_eq!(path("RTC"), Ok("RTC".to_owned()));
    let folded = RoomKey::from_path_segment("RTC", Fold);
    assert_eq!(folded, Err(RoomKeyError::Reserved("rtc".to_owned())));
}

#[test]
fn folding_makes_one_room_of_all_cases() {
    assert_eq!(fold("StandUp"), "standup");
    assert_eq!(fold("TÄST"), "täst");
    assert_eq!(fold("ΟΔΟΣ"), fold("οδος"));
    assert_eq!(fold("STRASSE"), fold("straße"));
    assert_eq!(fold("ΐ"), fold("\u{399}\u{308}\u{301}"));
    assert_ne!(claim("Standup"), claim("standup"));
}

#[test]
fn a_key_from_another_program_must_be_canonical() {
    let good: RoomKey = serde_json::from_str("\"t\u{e4}st\"").unwrap();
    assert_eq!(good.as_str(), "täst");
    assert_eq!(serde_json::to_string(&good).unwrap(), "\"täst\"");
    let bad = serde_json::from_str::<RoomKey>("\"ta\u{308}st\"").unwrap_err();
    assert!(bad.to_string().contains("canonical"), "{bad}");
    assert!(serde_json::from_str::<RoomKey>("\"\"").is_err());
    assert_eq!(serde_json::from_str::<RoomCase>("\"fold\"").unwrap(), Fold);
}
