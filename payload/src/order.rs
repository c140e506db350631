//! Where a picture stands beside the newest one, by numbers that wrap around.

/// Pictures of VP8 and VP9 that are remembered behind the newest: P_DIFF of RFC 9628 has seven bits.
pub(crate) const MEMORY: u16 = 128;

/// Where a picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many pictures after the newest, at most the memory; it is the newest now.
    New(u16),
    /// The newest.
    Same,
    /// So many pictures before the newest, less than the memory.
    Late(u16),
}

/// Compares `id` with the newest of a count that wraps around at `mask`. What lies further back than
/// `memory` is a source that counts anew.
#[inline]
pub(crate) fn step(newest: Option<u16>, id: u16, mask: u16, memory: u16) -> Step {
    let Some(newest) = newest else {
        return Step::New(memory);
    };
    let ahead = id.wrapping_sub(newest) & mask;
    let back = newest.wrapping_sub(id) & mask;
    if ahead == 0 {
        Step::Same
    } else if ahead <= mask / 2 {
        Step::New(ahead.min(memory))
    } else if back < memory {
        Step::Late(back)
    } else {
        Step::New(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_across_their_wrap() {
        assert_eq!(step(None, 7, 0x7fff, MEMORY), Step::New(MEMORY));
        assert_eq!(step(Some(7), 7, 0x7fff, MEMORY), Step::Same);
        assert_eq!(step(Some(0x7fff), 1, 0x7fff, MEMORY), Step::New(2));
        assert_eq!(step(Some(1), 0x7fff, 0x7fff, MEMORY), Step::Late(2));
        assert_eq!(step(Some(0x7f), 0, 0x7f, MEMORY), Step::New(1));
        assert_eq!(step(Some(0), 0x7f, 0x7f, MEMORY), Step::Late(1));
        assert_eq!(step(Some(0), 0x7f, 0x7fff, MEMORY), Step::New(0x7f));
        assert_eq!(step(Some(0), 0x7f00, 0x7fff, MEMORY), Step::New(MEMORY));
        assert_eq!(step(Some(10), 5000, 0xffff, MEMORY), Step::New(MEMORY));
    }
}
