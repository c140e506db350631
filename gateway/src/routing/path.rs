//! What a request path asks for.

use percent_encoding::percent_decode_str;

/// First segments under which a room must be named by token, query or header.
const ROOM_ELSEWHERE: [&str; 6] = ["rtc", "twirp", "whip", "whep", "api", "agent"];
/// First segments that belong to no room.
const NO_ROOM: [&str; 2] = ["assets", "settings"];
/// Files that browsers and crawlers ask for at the top: never rooms.
const TOP_FILES: [&str; 8] = [
    "favicon.ico",
    "favicon.svg",
    "robots.txt",
    "sw.js",
    "manifest.json",
    "manifest.webmanifest",
    "apple-touch-icon.png",
    "apple-touch-icon-precomposed.png",
];

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Any shard can answer.
    Anywhere,
    /// The page of a room, for people; the raw segment.
    Page(&'a str),
    /// Below the sticky prefix `/r/{room}`; the raw segment.
    Sticky(&'a str),
    /// Signalling or API without a room in the path.
    Elsewhere {
        /// The first segment.
        first: &'a str,
    },
    /// Nothing we know.
    Unknown,
    /// A segment is `.` or `..`, or an escaped form of it.
    Dots,
}

/// Splits a request target into path and query, with several leading slashes taken as one
/// (clients join base URL and path carelessly).
pub(crate) fn split(target: &str) -> (&str, &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let extra = path.len() - path.trim_start_matches('/').len();
    (path.get(extra.saturating_sub(1)..).unwrap_or(path), query)
}

/// Reads `path`, which starts with one slash.
pub(crate) fn classify(path: &str) -> Place<'_> {
    let Some(rest) = path.strip_prefix('/') else {
        return Place::Unknown;
    };
    if rest.is_empty() {
        return Place::Anywhere;
    }
    if rest.split('/').any(is_dots) {
        return Place::Dots;
    }
    let (first, tail) = rest.split_once('/').unwrap_or((rest, ""));
    if NO_ROOM.contains(&first) || (tail.is_empty() && TOP_FILES.contains(&first)) {
        return Place::Anywhere;
    }
    if ROOM_ELSEWHERE.contains(&first) {
        return Place::Elsewhere { first };
    }
    if first == "r" {
        return match tail.split('/').next() {
            Some(room) if !room.is_empty() => Place::Sticky(room),
            _ => Place::Unknown,
        };
    }
    if tail.is_empty() && !first.is_empty() {
        return Place::Page(first);
    }
    Place::Unknown
}

fn is_dots(segment: &str) -> bool {
    let mut decoded = percent_decode_str(segment);
    matches!(
        (decoded.next(), decoded.next(), decoded.next()),
        (Some(b'.'), None, _) | (Some(b'.'), Some(b'.'), None)
    )
}

/// Whether it is the page of a room, which any shard can show.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(classify(path), Place::Page(_))
}

/// Whether scripts of other origins may read the answer: SDKs in browsers check reachability and
/// errors of the signalling paths from the application's origin.
pub(crate) fn is_cross_origin(path: &str) -> bool {
    let below = match path.strip_prefix("/r/") {
        Some(rest) => rest
            .find('/')
            .and_then(|slash| rest.get(slash..))
            .unwrap_or_default(),
        None => path,
    };
    let is_below = |prefix| {
        let tail = below.strip_prefix(prefix).map(str::as_bytes);
        tail.is_some_and(|tail| matches!(tail, [] | [b'/', ..]))
    };
    matches!(below, "/" | "") || ["/rtc", "/whip", "/whep"].into_iter().any(is_below)
}

/// Whether an offer can be posted there (RFC 9725 section 4.2): a room's `/whip` and `/whep`, and the
/// paths that name no room.
pub(crate) fn accepts_offers(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let in_room = path
        .strip_prefix("/r/")
        .and_then(|rest| rest.split_once('/'));
    match in_room {
        Some((_, below)) => matches!(below, "whip" | "whep"),
        None => matches!(path, "/whip/v1" | "/whep/v1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_one_kind_of_place() {
        for (path, place) in [
            ("/", Place::Anywhere),
            ("/assets/app.js", Place::Anywhere),
            ("/favicon.ico", Place::Anywhere),
            ("/settings/regions", Place::Anywhere),
            ("/standup", Place::Page("standup")),
            ("/standup/", Place::Page("standup")),
            ("/standup/x", Place::Unknown),
            ("/r/standup", Place::Sticky("standup")),
            ("/r/standup/rtc/v1", Place::Sticky("standup")),
            ("/r", Place::Unknown),
            ("/r/", Place::Unknown),
            ("/r//rtc", Place::Unknown),
            ("/rtc", Place::Elsewhere { first: "rtc" }),
            ("/rtc/v1/validate", Place::Elsewhere { first: "rtc" }),
            ("/rtcx", Place::Page("rtcx")),
            ("/whip/v1", Place::Elsewhere { first: "whip" }),
            ("/r/standup/../other/rtc", Place::Dots),
            ("/%2e%2e", Place::Dots),
            ("/r/%2E/rtc", Place::Dots),
            ("/...", Place::Page("...")),
            ("", Place::Unknown),
            ("*", Place::Unknown),
        ] {
            assert_eq!(classify(path), place, "{path}");
        }
    }

    #[test]
    fn leading_slashes_collapse_and_the_query_is_cut_off() {
        assert_eq!(split("//rtc/v1?a=b"), ("/rtc/v1", "a=b"));
        assert_eq!(split("/rtc"), ("/rtc", ""));
        assert_eq!(split("///"), ("/", ""));
        assert_eq!(split("rtc?x"), ("rtc", "x"));
        assert_eq!(split("/a?//b"), ("/a", "//b"));
    }

    #[test]
    fn scripts_of_other_origins_may_read_the_signalling_paths_only() {
        for path in [
            "/",
            "/rtc",
            "/rtc/v1/validate",
            "/r/a/rtc",
            "/r/a",
            "/r/a/rtc/validate",
            "/whip/v1",
            "/r/a/whip",
            "/r/a/whep/0123",
        ] {
            assert!(is_cross_origin(path), "{path}");
        }
        for path in [
            "/standup",
            "/rtcx",
            "/r/a/api/token",
            "/assets/x",
            "/r/a/rtcx",
            "/whipx",
            "/r/a/watch",
        ] {
            assert!(!is_cross_origin(path), "{path}");
        }
    }

    #[test]
    fn offers_are_taken_at_endpoints_only() {
        for path in ["/r/a/whip", "/r/a/whep/", "/whip/v1", "/whep/v1"] {
            assert!(accepts_offers(path), "{path}");
        }
        for path in ["/r/a/whip/0123", "/whip/v1/0123", "/r/a/rtc", "/whip", "/a"] {
            assert!(!accepts_offers(path), "{path}");
        }
    }
}
