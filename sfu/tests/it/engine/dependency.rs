//! Dependency descriptors of a stream with three spatial layers (`L3T1_KEY`), as an encoder writes them
//! (RTP Payload Format For AV1, v1.0, section A.8).

/// Bits, the highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, number: usize, count: usize) {
        for bit in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let set = u8::from(number >> bit & 1 != 0);
            *self.bytes.last_mut().unwrap() |= set << (7 - self.count % 8);
            self.count += 1;
        }
    }
}

/// What frames have in common, for each layer in a key picture, then in others.
struct Template {
    /// For each decode target: 0 without it, 2 a switch.
    indications: [usize; 3],
    /// How many frames before it is the one that it refers to.
    reference: Option<usize>,
    chains: [usize; 3],
}

const fn template(
    indications: [usize; 3],
    reference: Option<usize>,
    chains: [usize; 3],
) -> Template {
    Template {
        indications,
        reference,
        chains,
    }
}

const TEMPLATES: [Template; 6] = [
    template([2, 2, 2], None, [0, 0, 0]),
    template([2, 0, 0], Some(3), [3, 2, 1]),
    template([0, 2, 2], Some(1), [1, 1, 1]),
    template([0, 2, 0], Some(3), [1, 3, 2]),
    template([0, 0, 2], Some(1), [2, 1, 1]),
    template([0, 0, 2], Some(3), [2, 1, 3]),
];

/// One packet's frame.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) number: u16,
    pub(crate) layer: u8,
    pub(crate) key: bool,
    pub(crate) starts: bool,
    pub(crate) ends: bool,
}

impl Frame {
    /// Its descriptor. The first packet of a key picture brings the structure.
    pub(crate) fn descriptor(self) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(usize::from(self.starts), 1);
        bits.put(usize::from(self.ends), 1);
        bits.put(2 * usize::from(self.layer) + usize::from(!self.key), 6);
        bits.put(usize::from(self.number), 16);
        if self.key && self.layer == 0 && self.starts {
            bits.put(0b10000, 5);
            put_structure(&mut bits);
        }
        bits.bytes
    }
}

fn put_structure(bits: &mut Bits) {
    // No offset; three decode targets.
    bits.put(0, 6);
    bits.put(2, 5);
    for next_layer in [0, 2, 0, 2, 0, 3] {
        bits.put(next_layer, 2);
    }
    for template in &TEMPLATES {
        template.indications.iter().for_each(|it| bits.put(*it, 2));
    }
    for template in &TEMPLATES {
        if let Some(back) = template.reference {
            bits.put(0b10000 | (back - 1), 5);
        }
        bits.put(0, 1);
    }
    // Three chains, one for each decode target, as numbers below 4 and below 3.
    bits.put(3, 2);
    for (chain, width) in [(0, 1), (2, 2), (3, 2)] {
        bits.put(chain, width);
    }
    for template in &TEMPLATES {
        template.chains.iter().for_each(|it| bits.put(*it, 4));
    }
    // No resolutions.
    bits.put(0, 1);
}
