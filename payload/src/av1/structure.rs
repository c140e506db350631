//! The template structure of a stream, and descriptors read by it (section A.8).

use super::bits::Bits;
use super::frame::{
    CHAINS_MAX, FRAMES, Frame, Indications, Places, References, TARGETS_MAX, Targets, bit,
};
use crate::order::{Step, step};
use crate::verdict::Layers;

/// Most templates (`frame_dependency_template_id` has six bits).
const TEMPLATES_MAX: usize = 64;

/// What frames have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Template {
    layers: Layers,
    indications: Indications,
    references: References,
    chains: [u8; CHAINS_MAX],
}

/// The template structure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Templates {
    /// `template_id_offset`.
    offset: u8,
    list: Vec<Template>,
    targets: Targets,
    chain_count: usize,
}

/// The state of one source's descriptors: the structure that came last, and which decode targets are
/// active. Grows at key frames only.
#[derive(Clone, Debug, Default)]
pub struct Structure {
    templates: Option<Templates>,
    generation: u32,
    active: u32,
    /// The newest frame whose packet was read, and the one that brought the structure.
    newest: Option<u16>,
    since: Option<u16>,
}

/// The flags of a descriptor (section A.8.1).
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    structure: bool,
    active: bool,
    indications: bool,
    references: bool,
    chains: bool,
}

impl Structure {
    /// Reads one packet's descriptor, the bytes of the header extension. `None`: it cannot be read, or
    /// its structure has not come yet.
    pub fn read(&mut self, descriptor: &[u8]) -> Option<Frame> {
        let mut bits = Bits::new(descriptor);
        let (starts, ends) = (bits.flag()?, bits.flag()?);
        let template = bits.byte(6)?;
        let number = u16::try_from(bits.number(16)?).ok()?;
        let flags = if descriptor.len() > 3 {
            read_flags(&mut bits)?
        } else {
            Flags::default()
        };
        let fresh = match flags.structure {
            true => Some(read_templates(&mut bits)?),
            false => None,
        };
        let templates = fresh.as_ref().or(self.templates.as_ref())?;
        let mask_at = bits.at();
        let told = match flags.active {
            // One bit for each target, the last one first.
            true => Some(bits.number(u32::from(templates.targets.count))?),
            false => flags.structure.then(|| templates.targets.all()),
        };
        let places = Places {
            extended: descriptor.len() > 3,
            has_mask: flags.active,
            mask: mask_at,
            end: 0,
        };
        let mut frame = templates.frame(template, number, places)?;
        (frame.starts, frame.ends) = (starts, ends);
        frame.new_structure = flags.structure;
        (frame.generation, frame.active) = (self.generation, self.active);
        templates.read_frame(&mut bits, flags, &mut frame)?;
        frame.places.end = bits.at();
        self.keep(fresh, told, &mut frame);
        Some(frame)
    }

    /// Learns from a packet. Late ones speak of the past; but a structure may come after frames that
    /// were read by the one before.
    fn keep(&mut self, fresh: Option<Templates>, told: Option<u32>, frame: &mut Frame) {
        let late = is_before(self.newest, frame.number);
        if late && (fresh.is_none() || is_before(self.since, frame.number)) {
            frame.active = told.unwrap_or(frame.active);
            return;
        }
        if !late {
            self.newest = Some(frame.number);
        }
        if let Some(fresh) = fresh {
            self.since = Some(frame.number);
            if self.templates.as_ref() != Some(&fresh) {
                self.templates = Some(fresh);
                self.generation = self.generation.wrapping_add(1);
            }
        }
        self.active = told.unwrap_or(self.active);
        (frame.active, frame.generation) = (self.active, self.generation);
    }
}

/// The frame is from before `known`.
fn is_before(known: Option<u16>, number: u16) -> bool {
    matches!(step(known, number, u16::MAX, FRAMES), Step::Late(_))
}

impl Templates {
    fn find(&self, id: u8) -> Option<&Template> {
        let index = (id + 64 - self.offset) % 64;
        self.list.get(usize::from(index))
    }

    /// A frame as its template has it.
    fn frame(&self, template: u8, number: u16, places: Places) -> Option<Frame> {
        let common = self.find(template)?;
        Some(Frame {
            number,
            starts: false,
            ends: false,
            layers: common.layers,
            new_structure: false,
            indications: common.indications,
            references: common.references,
            chains: common.chains,
            targets: self.targets,
            generation: 0,
            active: 0,
            places,
        })
    }

    /// `frame_dependency_definition()`, behind the template's id.
    fn read_frame(&self, bits: &mut Bits<'_>, flags: Flags, frame: &mut Frame) -> Option<()> {
        if flags.indications {
            frame.indications = read_indications(bits, self.targets.count)?;
        }
        if flags.references {
            frame.references = read_frame_references(bits)?;
        }
        if flags.chains {
            for chain in frame.chains.iter_mut().take(self.chain_count) {
                *chain = bits.byte(8)?;
            }
        }
        Some(())
    }
}

fn read_flags(bits: &mut Bits<'_>) -> Option<Flags> {
    Some(Flags {
        structure: bits.flag()?,
        active: bits.flag()?,
        indications: bits.flag()?,
        references: bits.flag()?,
        chains: bits.flag()?,
    })
}

/// `template_dependency_structure()`.
fn read_templates(bits: &mut Bits<'_>) -> Option<Templates> {
    let offset = bits.byte(6)?;
    let count = bits.byte(5)? + 1;
    let mut list = read_template_layers(bits)?;
    for template in &mut list {
        template.indications = read_indications(bits, count)?;
    }
    for template in &mut list {
        template.references = read_template_references(bits)?;
    }
    let mut targets = Targets {
        count,
        ..Targets::default()
    };
    let chain_count = read_template_chains(bits, &mut targets, &mut list)?;
    find_target_layers(&list, &mut targets);
    if bits.flag()? {
        skip_resolutions(bits, &list)?;
    }
    Some(Templates {
        offset,
        list,
        targets,
        chain_count,
    })
}

/// `template_layers()`.
fn read_template_layers(bits: &mut Bits<'_>) -> Option<Vec<Template>> {
    let mut list = Vec::new();
    let mut layers = Layers::default();
    while list.len() < TEMPLATES_MAX {
        list.push(Template {
            layers,
            indications: Indications::default(),
            references: References::default(),
            chains: [0; CHAINS_MAX],
        });
        match bits.number(2)? {
            0 => {}
            1 => layers.temporal += 1,
            2 => {
                layers.temporal = 0;
                layers.spatial += 1;
            }
            _ => return Some(list),
        }
        if !layers.within(Layers::ALL) {
            return None;
        }
    }
    None
}

fn read_indications(bits: &mut Bits<'_>, count: u8) -> Option<Indications> {
    let mut indications = Indications::default();
    for target in 0..u32::from(count) {
        indications.set(target, bits.number(2)?);
    }
    Some(indications)
}

/// `template_fdiffs()`, of one template.
fn read_template_references(bits: &mut Bits<'_>) -> Option<References> {
    let mut references = References::default();
    while bits.flag()? {
        references.push(u16::from(bits.byte(4)?) + 1)?;
    }
    Some(references)
}

/// `frame_fdiffs()`.
fn read_frame_references(bits: &mut Bits<'_>) -> Option<References> {
    let mut references = References::default();
    loop {
        let nibbles = bits.number(2)?;
        if nibbles == 0 {
            return Some(references);
        }
        let difference = u16::try_from(bits.number(4 * nibbles)?).ok()?;
        references.push(difference + 1)?;
    }
}

/// `template_chains()`. Returns how many chains there are.
fn read_template_chains(
    bits: &mut Bits<'_>,
    targets: &mut Targets,
    list: &mut [Template],
) -> Option<usize> {
    let count = bits.below(u32::from(targets.count) + 1)?;
    if count == 0 {
        // No target is protected.
        targets.chains = [u8::MAX; TARGETS_MAX];
        return Some(0);
    }
    let protected = usize::from(targets.count);
    for chain in targets.chains.iter_mut().take(protected) {
        *chain = u8::try_from(bits.below(count)?).ok()?;
    }
    let count = usize::try_from(count).ok()?;
    for template in list {
        for chain in template.chains.iter_mut().take(count) {
            *chain = bits.byte(4)?;
        }
    }
    Some(count)
}

/// `decode_target_layers()`: a target needs the layers of all its templates.
fn find_target_layers(list: &[Template], targets: &mut Targets) {
    let count = usize::from(targets.count);
    for (target, needs) in targets.layers.iter_mut().enumerate().take(count) {
        for template in list {
            if template.indications.present & bit(target) != 0 {
                needs.spatial = needs.spatial.max(template.layers.spatial);
                needs.temporal = needs.temporal.max(template.layers.temporal);
            }
        }
    }
}

/// `render_resolutions()`: two numbers of 16 bits for each spatial layer.
fn skip_resolutions(bits: &mut Bits<'_>, list: &[Template]) -> Option<()> {
    let highest = list.iter().map(|template| template.layers.spatial).max()?;
    for _ in 0..=highest {
        bits.number(32)?;
    }
    Some(())
}
