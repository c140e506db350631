use super::*;
use proptest::prelude::*;

fn pieces(packed: Packed) -> Vec<Bytes> {
    match packed {
        Packed::Whole(piece) => vec![piece],
        Packed::Halves(halves) => halves.to_vec(),
    }
}

#[test]
fn what_fits_goes_whole_and_one_byte_more_goes_in_halves() {
    let mut packer = Packer::default();
    let payload = [7; 1_200];
    let Packed::Whole(piece) = packer.pack(&payload, 1_201) else {
        panic!("it fits");
    };
    assert_eq!(piece.len(), 1_201);
    let Packed::Halves(halves) = packer.pack(&payload, 1_200) else {
        panic!("it does not fit");
    };
    assert_eq!(halves.each_ref().map(Bytes::len), [605, 605]);
}

#[test]
fn a_full_table_drops_its_oldest_half() {
    let (mut packer, mut assembler) = (Packer::default(), Assembler::default());
    let mut seconds = Vec::new();
    for payload in 0..=u8::try_from(HALVES_MAX).unwrap() {
        let [first, second] = pieces(packer.pack(&[payload; 100], 60)).try_into().unwrap();
        assert_eq!(assembler.take(first), Ok(None));
        seconds.push(second);
    }
    assert_eq!(assembler.take_dropped(), 1);
    let mut seconds = seconds.into_iter();
    let late = seconds.next().unwrap();
    for (second, payload) in seconds.zip(1..) {
        let whole = assembler
            .take(second)
            .unwrap()
            .expect("its first half is there");
        assert_eq!(&whole[..], [payload; 100]);
    }
    assert_eq!(assembler.take(late), Ok(None));
}

#[test]
fn a_half_that_comes_twice_makes_no_datagram() {
    let (mut packer, mut assembler) = (Packer::default(), Assembler::default());
    let [first, second] = pieces(packer.pack(&[1, 2, 3], 2)).try_into().unwrap();
    assert_eq!(assembler.take(first.clone()), Ok(None));
    assert_eq!(assembler.take(first), Ok(None));
    assert_eq!(assembler.take_dropped(), 1);
    assert_eq!(
        assembler.take(second),
        Ok(Some(Bytes::from_static(&[1, 2, 3])))
    );
}

#[test]
fn what_nobody_of_ours_wrote_is_refused() {
    let mut assembler = Assembler::default();
    let long_whole = [&[WHOLE][..], &[0; DATAGRAM_MAX + 1]].concat();
    let long_half = [&[FIRST, 0, 0, 0, 1][..], &[0; DATAGRAM_MAX / 2 + 1]].concat();
    for bytes in [
        &[][..],
        &[3],
        &[FIRST],
        &[SECOND, 0, 0, 0],
        &long_whole,
        &long_half,
    ] {
        let bytes = Bytes::copy_from_slice(bytes);
        assert_eq!(assembler.take(bytes), Err(Malformed));
    }
}

proptest! {
    /// However pieces are lost and shifted: what comes out went in, once, and everything comes out
    /// whose pieces arrived close enough to each other.
    #[test]
    fn what_comes_out_went_in(
        lengths in prop::collection::vec(0..=DATAGRAM_MAX, 1..200),
        fits in 1_100..1_500_usize,
        fates in prop::collection::vec((0..100_u8, 0..24_usize), 400),
    ) {
        let mut packer = Packer::default();
        let payload = |index: usize, length: usize| {
            let tag = u32::try_from(index).unwrap().to_be_bytes();
            tag.into_iter().cycle().take(length.max(4)).collect::<Vec<u8>>()
        };
        let mut wire = Vec::new();
        let mut fates = fates.into_iter();
        let mut expected = vec![true; lengths.len()];
        for (index, &length) in lengths.iter().enumerate() {
            for piece in pieces(packer.pack(&payload(index, length), fits)) {
                prop_assert!(piece.len() <= fits);
                let (luck, shift) = fates.next().unwrap();
                if luck < 10 {
                    expected[index] = false;
                } else {
                    // Shifted by fewer places than the table has.
                    wire.push((wire.len() + shift, piece));
                }
            }
        }
        wire.sort_by_key(|(at, _)| *at);

        let mut assembler = Assembler::default();
        let mut came = vec![false; lengths.len()];
        for (_, piece) in wire {
            let Some(whole) = assembler.take(piece).unwrap() else { continue };
            let tag = whole[..4].try_into().unwrap();
            let index = usize::try_from(u32::from_be_bytes(tag)).unwrap();
            prop_assert_eq!(&whole[..], payload(index, lengths[index]));
            prop_assert!(!std::mem::replace(&mut came[index], true), "twice");
        }
        prop_assert_eq!(came, expected);
    }

    #[test]
    fn no_bytes_panic_or_fill_the_table(
        datagrams in prop::collection::vec(prop::collection::vec(0..4_u8, 0..9), 0..300),
    ) {
        let mut assembler = Assembler::default();
        for datagram in datagrams {
            let _ = assembler.take(datagram.into());
            prop_assert!(assembler.halves.len() <= HALVES_MAX);
        }
    }
}
