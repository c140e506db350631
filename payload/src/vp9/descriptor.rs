//! The payload descriptor (RFC 9628 section 4.2).
//!
//! Only this is looked at: what lies behind it may be encrypted end to end.

use crate::numbers::{Numbers, PictureId, Tl0};
use crate::packet::Standing;
use crate::verdict::Layers;

/// Most spatial layers (N_S has three bits).
pub(crate) const SPATIAL_MAX: usize = 8;
/// Most references of a picture in flexible mode.
const REFERENCES_MAX: usize = 3;

const HAS_PICTURE_ID: u8 = 0x80;
const INTER_PICTURE: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS: u8 = 0x08;
const ENDS: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;
const NOT_FOR_UPPER: u8 = 0x01;

/// A resolution in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The scalability structure (SS). Its picture group is skipped: [`super::Selector`] goes by the
/// layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Spatial layers of the stream, from 1.
    pub spatial_layers: u8,
    /// Their resolutions, if they were told; those of layers that do not exist are zero.
    pub sizes: Option<[Size; SPATIAL_MAX]>,
}

/// The pictures that a frame refers to in flexible mode, as so many pictures back (P_DIFF).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    differences: [u8; REFERENCES_MAX],
    count: u8,
}

impl References {
    /// How many pictures back, for each.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        let known = self.differences.iter().take(usize::from(self.count));
        known.copied()
    }
}

/// What the descriptor of one packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    first: u8,
    /// Bytes before the VP9 data.
    pub bytes: usize,
    /// Picture id and TL0PICIDX.
    pub numbers: Numbers,
    /// SID and TID; 0 if the stream does not tell.
    pub layers: Layers,
    /// U: no later picture of a higher temporal layer refers to one of a layer above this picture's
    /// and from before it.
    pub switching_up: bool,
    /// D: refers to the next lower spatial layer of its picture.
    pub inter_layer: bool,
    /// In flexible mode; always of the same spatial layer.
    pub references: References,
    /// SS, with key pictures and after changes.
    pub structure: Option<Structure>,
}

impl Descriptor {
    /// `None`: it is no VP9 payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader { payload, at: 0 };
        let first = reader.byte()?;
        let mut found = Self {
            first,
            bytes: 0,
            numbers: Numbers::default(),
            layers: Layers::default(),
            switching_up: false,
            inter_layer: false,
            references: References::default(),
            structure: None,
        };
        if first & HAS_PICTURE_ID != 0 {
            let id = PictureId::read(payload, reader.at)?;
            reader.at += id.size();
            found.numbers.picture_id = Some(id);
        }
        if first & HAS_LAYERS != 0 {
            found.read_layers(&mut reader)?;
        }
        if found.is_flexible() && found.is_inter_picture() {
            found.references = read_references(&mut reader)?;
        }
        if first & HAS_STRUCTURE != 0 {
            found.structure = Some(read_structure(&mut reader)?);
        }
        found.bytes = reader.at;
        Some(found)
    }

    fn read_layers(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let octet = reader.byte()?;
        self.layers = Layers {
            spatial: (octet >> 1) & 0x07,
            temporal: octet >> 5,
        };
        self.switching_up = octet & 0x10 != 0;
        self.inter_layer = octet & 0x01 != 0;
        if !self.is_flexible() {
            self.numbers.tl0 = Some(Tl0::read(reader.payload, reader.at)?);
            reader.at += 1;
        }
        Some(())
    }

    /// P: refers to earlier pictures.
    #[must_use]
    pub fn is_inter_picture(&self) -> bool {
        self.first & INTER_PICTURE != 0
    }

    /// F: references are told by [`Self::references`], not by a picture group.
    #[must_use]
    pub fn is_flexible(&self) -> bool {
        self.first & FLEXIBLE != 0
    }

    /// B: the first packet of its frame, which is one spatial layer of a picture.
    #[must_use]
    pub fn begins_frame(&self) -> bool {
        self.first & BEGINS != 0
    }

    /// E: the last packet of its frame.
    #[must_use]
    pub fn ends_frame(&self) -> bool {
        self.first & ENDS != 0
    }

    /// Not Z: an upper spatial layer of the picture may refer to it.
    #[must_use]
    pub fn serves_upper_layers(&self) -> bool {
        self.first & NOT_FOR_UPPER == 0
    }

    /// Where it stands among spatial layers.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let layer = self.layers.spatial & 0x07;
        let told = self.structure.map_or(1, |it| it.spatial_layers);
        let and_above = u8::MAX << layer;
        Standing {
            layer,
            layers: told.max(layer + 1),
            needed_by: match self.serves_upper_layers() {
                true => and_above,
                false => 1 << layer,
            },
        }
    }

    /// It refers to nothing that came before.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        !self.is_inter_picture() && !self.inter_layer
    }

    /// The first packet of a key picture: of the lowest layer, not predicted.
    #[must_use]
    pub fn starts_keyframe(&self) -> bool {
        self.begins_frame() && !self.is_inter_picture() && self.layers.spatial == 0
    }
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.payload.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn pair(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        (self.at <= self.payload.len()).then_some(())
    }
}

/// P_DIFF in seven bits, and N: another follows.
fn read_references(reader: &mut Reader<'_>) -> Option<References> {
    let mut references = References::default();
    for slot in &mut references.differences {
        let octet = reader.byte()?;
        *slot = octet >> 1;
        references.count += 1;
        if octet & 1 == 0 {
            return Some(references);
        }
    }
    // A fourth is against the format.
    None
}

/// N_S, Y and G, then resolutions, then the picture group.
fn read_structure(reader: &mut Reader<'_>) -> Option<Structure> {
    let octet = reader.byte()?;
    let spatial_layers = (octet >> 5) + 1;
    let mut sizes = None;
    if octet & 0x10 != 0 {
        let mut told = [Size::default(); SPATIAL_MAX];
        for size in told.iter_mut().take(usize::from(spatial_layers)) {
            *size = Size {
                width: reader.pair()?,
                height: reader.pair()?,
            };
        }
        sizes = Some(told);
    }
    if octet & 0x08 != 0 {
        for _ in 0..reader.byte()? {
            // TID and U, then R references of one octet each.
            let picture = reader.byte()?;
            reader.skip(usize::from((picture >> 2) & 0x03))?;
        }
    }
    Some(Structure {
        spatial_layers,
        sizes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figure of section 4.2, non-flexible: I, L, B, E, V; a long picture id; TID 2, U, SID 1, D.
    const NON_FLEXIBLE: [u8; 5] = [0xac, 0x92, 0x34, 0x53, 0x2a];

    #[test]
    fn the_figure_of_the_non_flexible_mode_is_read() {
        let found = Descriptor::parse(&NON_FLEXIBLE).unwrap();
        let id = found.numbers.picture_id.unwrap();
        assert_eq!((id.offset, id.wide, id.value), (1, true, 0x1234));
        assert_eq!((found.layers.temporal, found.layers.spatial), (2, 1));
        assert!(found.switching_up && found.inter_layer);
        let tl0 = found.numbers.tl0.unwrap();
        assert_eq!((tl0.offset, tl0.value), (4, 0x2a));
        assert!(found.begins_frame() && found.ends_frame() && found.serves_upper_layers());
        assert!(!found.is_inter_picture() && !found.is_flexible());
        assert_eq!(found.bytes, 5);
    }

    #[test]
    fn the_figure_of_the_flexible_mode_is_read() {
        // I, P, L, F, Z; a short picture id; TID 1, SID 2; P_DIFF 1, 2 and 64.
        let packet = [0xf1, 0x05, 0x24, 0x03, 0x05, 0x80, 0xff];
        let found = Descriptor::parse(&packet).unwrap();
        let id = found.numbers.picture_id.unwrap();
        assert_eq!((id.offset, id.wide, id.value), (1, false, 5));
        assert_eq!((found.layers.temporal, found.layers.spatial), (1, 2));
        assert_eq!(found.references.iter().collect::<Vec<_>>(), [1, 2, 64]);
        assert!(found.numbers.tl0.is_none() && !found.serves_upper_layers());
        assert_eq!(found.bytes, 6);
        assert_eq!(
            Descriptor::parse(&[0xf1, 0x05, 0x24, 0x03, 0x05, 0x07, 0x02]),
            None,
            "four references"
        );
    }

    #[test]
    fn the_structure_is_read_over_its_picture_group() {
        // V; N_S = 1, Y, G; 320x180, 640x360; two pictures: TID 0 with a reference, TID 1 with two.
        let packet = [
            0x0a, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x02, 0x04, 0x02, 0x38,
            0x01, 0x02, 0x99,
        ];
        let found = Descriptor::parse(&packet).unwrap();
        let structure = found.structure.unwrap();
        assert_eq!(structure.spatial_layers, 2);
        let sizes = structure.sizes.unwrap();
        assert_eq!((sizes[0].width, sizes[0].height), (320, 180));
        assert_eq!((sizes[1].width, sizes[1].height), (640, 360));
        assert_eq!(found.bytes, 16);
        for cut in 0..16 {
            assert_eq!(Descriptor::parse(&packet[..cut]), None, "{cut} bytes");
        }
    }

    #[test]
    fn a_frame_is_needed_by_its_layer_and_those_above_that_use_it() {
        let standing = |packet: &[u8]| Descriptor::parse(packet).unwrap().standing();
        // L, SID 1, without Z and with it.
        let needed_by = |first| standing(&[first, 0x02, 0x00]).needed_by;
        assert_eq!((needed_by(0x20), needed_by(0x21)), (0xfe, 0x02));
        assert_eq!(standing(&[0x20, 0x02, 0x00]).layers, 2);
        // V; N_S = 2.
        let told = standing(&[0x0a, 0x40]);
        assert_eq!((told.layer, told.layers), (0, 3));
    }

    #[test]
    fn key_pictures_start_with_the_first_packet_of_the_lowest_layer() {
        let starts = |packet: &[u8]| Descriptor::parse(packet).unwrap().starts_keyframe();
        assert!(starts(&[0x88, 0x01]));
        assert!(!starts(&[0xc8, 0x01]));
        assert!(!starts(&[0x80, 0x01]));
        assert!(!starts(&[0xa8, 0x01, 0x02, 0x00]));
    }
}
