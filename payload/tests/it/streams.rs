//! Made-up scalable streams: which frame refers to which. Codecs write them in their own form.

use payload::Layers;
use proptest::prelude::*;

/// How spatial layers of one picture refer to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// L3T3: always.
    Full,
    /// `L3T3_KEY`: in key pictures.
    Key,
    /// S3T3: never.
    Independent,
}

/// What a stream is like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) mode: Mode,
    /// Pictures from key picture to key picture; a multiple of the temporal pattern's length.
    pub(crate) keys_every: usize,
    /// Only in every so-manieth temporal pattern upper layers can be entered; in the others they
    /// refer to what came before it.
    pub(crate) sync_every: usize,
    pub(crate) pictures: usize,
    /// Seeds the lengths of frames in packets.
    pub(crate) seed: u64,
    pub(crate) first_id: u16,
    pub(crate) wide: bool,
    pub(crate) flexible: bool,
}

/// A frame: one spatial layer of one picture.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) picture: usize,
    pub(crate) layers: Layers,
    pub(crate) key: bool,
    /// Its temporal pattern refers to nothing of upper layers from before it.
    pub(crate) sync: bool,
    /// No later picture of a higher temporal layer refers to one of a layer above, from before it.
    pub(crate) switching_up: bool,
    pub(crate) inter_layer: bool,
    pub(crate) serves_upper: bool,
    /// Frames of earlier pictures that it refers to.
    pub(crate) earlier: Vec<usize>,
    pub(crate) packets: usize,
}

pub(crate) fn plans(modes: &'static [Mode], spatial: u8) -> impl Strategy<Value = Plan> {
    let shape = (1..=spatial, 1..=3_u8, prop::sample::select(modes));
    let rhythm = (1..8_usize, 1..4_usize, 10..60_usize);
    let form = (any::<u64>(), any::<u16>(), any::<bool>(), any::<bool>());
    (shape, rhythm, form).prop_map(|((spatial, temporal, mode), rhythm, form)| {
        let (keys, sync_every, pictures) = rhythm;
        let (seed, first_id, wide, flexible) = form;
        Plan {
            spatial,
            temporal,
            mode,
            keys_every: keys * pattern(temporal).len(),
            sync_every,
            pictures,
            seed,
            first_id,
            wide,
            flexible,
        }
    })
}

fn pattern(temporal: u8) -> &'static [u8] {
    match temporal {
        1 => &[0],
        2 => &[0, 1],
        _ => &[0, 2, 1, 2],
    }
}

impl Plan {
    /// Upper temporal layers refer to their own frames, too.
    fn is_sticky(&self) -> bool {
        self.sync_every > 1
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut last = [[None; 3]; 8];
        let mut seed = self.seed | 1;
        let pattern = pattern(self.temporal);
        for picture in 0..self.pictures {
            let key = picture % self.keys_every == 0;
            if key {
                last = [[None; 3]; 8];
            }
            let since_key = picture % self.keys_every;
            let sync = (since_key / pattern.len()).is_multiple_of(self.sync_every);
            let temporal = pattern[since_key % pattern.len()];
            for spatial in 0..self.spatial {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let known = &mut last[usize::from(spatial)];
                let frame = Frame {
                    picture,
                    layers: Layers { spatial, temporal },
                    key,
                    sync,
                    switching_up: match temporal {
                        0 => sync,
                        1 => !self.is_sticky() || self.temporal == 2,
                        _ => true,
                    },
                    inter_layer: spatial > 0 && self.is_linked(key),
                    serves_upper: spatial + 1 < self.spatial && self.is_linked(key),
                    earlier: self.earlier(known, temporal, sync, key),
                    packets: 1 + usize::try_from(seed % 3).unwrap(),
                };
                known[usize::from(temporal)] = Some(frames.len());
                frames.push(frame);
            }
        }
        frames
    }

    fn is_linked(&self, key: bool) -> bool {
        self.mode == Mode::Full || (self.mode == Mode::Key && key)
    }

    fn earlier(
        &self,
        last: &[Option<usize>; 3],
        temporal: u8,
        sync: bool,
        key: bool,
    ) -> Vec<usize> {
        if key {
            return Vec::new();
        }
        let base = last[0].unwrap();
        let after_base = |it: &usize| !sync || *it > base;
        let mut found = vec![base];
        if temporal == 2 {
            found.extend(last[1].filter(after_base));
        }
        if temporal > 0 && self.is_sticky() {
            found.extend(last[usize::from(temporal)].filter(after_base));
        }
        found
    }

    /// The receiver of these layers needs the frame.
    pub(crate) fn needs(&self, layers: Layers, frame: &Frame) -> bool {
        let spatial = layers.spatial.min(self.spatial - 1);
        let in_layer = frame.layers.spatial == spatial
            || (frame.layers.spatial < spatial && self.is_linked(frame.key));
        in_layer && frame.layers.temporal <= layers.temporal
    }

    pub(crate) fn picture_id(&self, picture: usize) -> u16 {
        let id = usize::from(self.first_id) + picture;
        u16::try_from(id & if self.wide { 0x7fff } else { 0x7f }).unwrap()
    }

    /// As both VP8 and VP9 write it.
    pub(crate) fn picture_id_bytes(&self, picture: usize) -> Vec<u8> {
        let id = self.picture_id(picture);
        if self.wide {
            (id | 0x8000).to_be_bytes().to_vec()
        } else {
            vec![u8::try_from(id).unwrap()]
        }
    }

    /// TL0PICIDX.
    pub(crate) fn tl0(&self, picture: usize) -> u8 {
        let of_base =
            |it: &usize| (it % self.keys_every).is_multiple_of(pattern(self.temporal).len());
        u8::try_from((1..=picture).filter(of_base).count() % 256).unwrap()
    }
}

/// All frames that `frames[index]` refers to.
pub(crate) fn references(frames: &[Frame], index: usize) -> Vec<usize> {
    let mut found = frames[index].earlier.clone();
    if frames[index].inter_layer {
        found.push(index - 1);
    }
    found
}
