//! The dependency descriptor of a packet, a header extension that tells of AV1's layers (RTP Payload Format
//! For AV1, v1.0, appendix A): str0m carries its bytes here, `payload` reads them.

use std::sync::Arc;
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// Its name in descriptions.
pub(super) const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// Our id for it, until a client names another: one that str0m's other extensions leave free, and small
/// enough for the short form.
pub(super) const ID: u8 = 12;

/// The bytes as they came.
#[derive(Clone, Debug)]
struct Descriptor(Arc<[u8]>);

#[derive(Debug)]
struct Serializer;

impl ExtensionSerializer for Serializer {
    /// Media leaves beside str0m, so that it never writes any.
    fn write_to(&self, _: &mut [u8], _: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(bytes.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }
}

/// The extension as str0m knows it.
pub(super) fn extension() -> Extension {
    Extension::with_serializer(URI, Serializer)
}

/// The descriptor of a packet.
pub(super) fn of(values: &ExtensionValues) -> Option<Arc<[u8]>> {
    let found = values.user_values.get::<Descriptor>()?;
    Some(Arc::clone(&found.0))
}

/// A description without the extension, unless its author takes long and short forms in one stream
/// (`a=extmap-allow-mixed`, RFC 8285 section 6): descriptors need the long one now and then.
pub(super) fn if_mixed(description: &str) -> String {
    let mixes = |line: &str| line == "a=extmap-allow-mixed";
    let names = |line: &str| line.starts_with("a=extmap:") && line.contains(URI);
    if description.lines().any(mixes) || !description.lines().any(names) {
        return description.to_owned();
    }
    let kept = description.lines().filter(|line| !names(line));
    kept.flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_one_form_only_gets_no_descriptors() {
        let offer = |session: &str| {
            format!(
                "v=0\r\n{session}m=video 9 RTP\r\na=extmap:3 urn:x\r\na=extmap:12/sendrecv {URI}\r\n"
            )
        };
        let mixed = offer("a=extmap-allow-mixed\r\n");
        assert_eq!(if_mixed(&mixed), mixed);
        let one_form = if_mixed(&offer(""));
        assert_eq!(one_form, "v=0\r\nm=video 9 RTP\r\na=extmap:3 urn:x\r\n");
        assert_eq!(if_mixed(&one_form), one_form);
    }
}
