//! Which frames of a stream with dependency descriptors one receiver gets (section A.5).

use super::change::Change;
use super::frame::{CHAINS_MAX, FRAMES, Frame, bit};
use crate::edits::Edits;
use crate::order::{Step, step};
use crate::verdict::{Layers, Passage, Verdict};

/// A frame of the chain that has not come so many frames later does not come: about a second of three
/// spatial layers.
const MISSING_MAX: u16 = 90;

/// One bit for each of the last [`FRAMES`] frames.
#[derive(Clone, Debug, Default)]
struct FrameSet([u64; FRAMES as usize / 64]);

impl FrameSet {
    fn set(&mut self, number: u16, is_in: bool) {
        let place = number % FRAMES;
        if let Some(word) = self.0.get_mut(usize::from(place / 64)) {
            let bit = 1 << (place % 64);
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }

    fn has(&self, number: u16) -> bool {
        let place = number % FRAMES;
        let word = self.0.get(usize::from(place / 64));
        word.is_some_and(|word| word >> (place % 64) & 1 != 0)
    }
}

/// Which decode targets are allowed, and by what that was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allowed {
    target: Layers,
    generation: u32,
    active: u32,
    mask: u32,
    best: Option<usize>,
}

/// The decode target of one receiver.
///
/// A frame is sent on if the receiver's decode target has it (not "not present"), and nothing that it
/// refers to was left out on purpose. Another decode target is entered at a frame that says so
/// (switch), or at the beginning of a temporal unit if nothing that it needs was left out since it
/// could last be entered. Decode targets that are not active are not entered, and are left for others.
///
/// The marker is set on the last packet of the decode target's highest spatial layer. Frame numbers are
/// not closed up: references and chains are differences of them.
#[derive(Clone, Debug)]
pub struct Selector {
    target: Layers,
    allowed: Allowed,
    current: Option<usize>,
    /// The highest spatial layer of the current decode target.
    spatial: u8,
    /// Decode targets of which nothing necessary was left out since they could be entered.
    unbroken: u32,
    left_out: FrameSet,
    sent: FrameSet,
    newest: Option<u16>,
    /// The newest frame is sent on, and tells the mask of active targets.
    sending: bool,
    telling: bool,
    /// The mask that the receiver was told.
    told: u32,
    /// The spatial layer of the newest frame.
    layer: u8,
    /// The last packet ended its temporal unit.
    ended: bool,
    /// The frame with which the current decode target was entered.
    since: u16,
    /// A frame of the chain that has not come yet.
    missing: Option<u16>,
    broken: bool,
    out_of_reach: bool,
    /// What is added to frame numbers.
    shift: u16,
    last: Option<u16>,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            target: Layers::ALL,
            allowed: Allowed::default(),
            current: None,
            spatial: 0,
            unbroken: 0,
            left_out: FrameSet([u64::MAX; FRAMES as usize / 64]),
            sent: FrameSet::default(),
            newest: None,
            sending: false,
            telling: false,
            told: 0,
            layer: 0,
            ended: true,
            since: 0,
            missing: None,
            broken: false,
            out_of_reach: false,
            shift: 0,
            last: None,
        }
    }
}

impl Selector {
    /// The layers that the receiver shall get, as soon as they can be decoded.
    pub fn set_target(&mut self, target: Layers) {
        self.target = target;
    }

    /// Packets of another source follow, this one first. Its frame numbers continue the old ones.
    pub fn switch(&mut self, first: &Frame) {
        let shift = self
            .last
            .map_or(0, |last| last.wrapping_add(1).wrapping_sub(first.number));
        *self = Self {
            target: self.target,
            shift,
            last: self.last,
            ..Self::default()
        };
    }

    /// The layers of the current decode target; `None` before the first.
    #[must_use]
    pub fn current(&self, frame: &Frame) -> Option<Layers> {
        self.current.map(|target| frame.targets.layers(target))
    }

    /// Only a key frame brings the receiver to its target, or its chain is broken (section A.8.3.3).
    /// As of the last frame.
    #[must_use]
    pub fn needs_keyframe(&self) -> bool {
        self.current.is_none() || self.broken || self.out_of_reach
    }

    /// Decides about a packet. `marker` as it came.
    pub fn take(&mut self, frame: &Frame, marker: bool) -> Verdict {
        match step(self.newest, frame.number, u16::MAX, FRAMES) {
            Step::Late(_) => return self.take_late(frame, marker),
            Step::New(ahead) => self.open(frame, ahead),
            Step::Same => {}
        }
        self.ended = marker;
        if !self.sending {
            return Verdict::Drop;
        }
        self.last = Some(frame.number.wrapping_add(self.shift));
        self.pass(frame, marker)
    }

    /// A packet of an older frame shares the frame's fate.
    fn take_late(&mut self, frame: &Frame, marker: bool) -> Verdict {
        let number = frame.number;
        if !self.sent.has(number) {
            let wanted = self.is_present(frame) && frame.generation == self.allowed.generation;
            if self.left_out.has(number) || !wanted || !self.is_decodable(frame) {
                return Verdict::Drop;
            }
            self.sent.set(number, true);
        }
        self.pass(frame, marker)
    }

    fn pass(&self, frame: &Frame, marker: bool) -> Verdict {
        let newest = self.newest == Some(frame.number);
        let speaks = frame.places.has_mask || frame.new_structure;
        let contradicts = speaks && frame.active != self.told;
        let tells = contradicts || (newest && self.telling && !speaks);
        let active = tells.then_some(self.told);
        let change = Change {
            number: frame.number.wrapping_add(self.shift),
            active,
        };
        let differs = self.shift != 0 || active.is_some();
        Verdict::Forward(Passage {
            marker: marker || (frame.ends && frame.layers.spatial == self.spatial),
            edits: Edits::default(),
            descriptor: differs.then_some(change),
        })
    }

    /// A new frame, whose packets share what is decided here.
    fn open(&mut self, frame: &Frame, ahead: u16) {
        let skipped = ahead.min(FRAMES);
        for back in 0..skipped {
            let number = frame.number.wrapping_sub(back);
            self.left_out.set(number, self.current.is_none());
            self.sent.set(number, false);
        }
        self.newest = Some(frame.number);
        let begins_unit = self.ended || frame.layers.spatial <= self.layer;
        self.layer = frame.layers.spatial;
        if self.allowed.generation != frame.generation {
            (self.current, self.unbroken, self.told) = (None, 0, frame.targets.all());
        }
        self.allow(frame);
        let decodable = self.is_decodable(frame);
        self.choose(frame, decodable, begins_unit);
        self.sending = decodable && self.is_present(frame);
        self.note(frame);
        self.tell(frame);
        self.follow_chain(frame);
    }

    /// Which decode targets the receiver may have, if that changed.
    fn allow(&mut self, frame: &Frame) {
        let mut allowed = Allowed {
            target: self.target,
            generation: frame.generation,
            active: frame.active,
            ..self.allowed
        };
        if allowed == self.allowed {
            return;
        }
        let targets = &frame.targets;
        allowed.mask = targets.within(self.target) & frame.active;
        if allowed.mask == 0 {
            // Nothing is as small as the receiver wants it.
            allowed.mask = targets.least(frame.active).map_or(0, bit);
        }
        allowed.best = targets.best(allowed.mask);
        self.allowed = allowed;
    }

    fn choose(&mut self, frame: &Frame, decodable: bool, begins_unit: bool) {
        if self.current == self.allowed.best {
            self.out_of_reach = false;
            return;
        }
        let may_start = self.current.is_some() || frame.starts;
        let mut reachable = 0;
        if decodable && may_start {
            reachable |= frame.indications.switching;
        }
        if begins_unit {
            reachable |= self.unbroken;
        }
        let targets = &frame.targets;
        if let Some(next) = targets.best(reachable & self.allowed.mask)
            && self.is_better(frame, next)
        {
            self.enter(frame, next);
        }
        let best = self.allowed.best;
        let can_follow = best.is_some_and(|it| self.unbroken & bit(it) != 0);
        let wanted = best.map(|it| targets.layers(it).spatial);
        self.out_of_reach = wanted.is_some_and(|it| it != self.spatial) && !can_follow;
    }

    /// Better than the current decode target; of those that are too large for the receiver, only the
    /// frame rate is given up at once: a lower resolution than wanted would be hard to leave.
    fn is_better(&self, frame: &Frame, next: usize) -> bool {
        let Some(current) = self.current else {
            return true;
        };
        let (from, to) = (frame.targets.layers(current), frame.targets.layers(next));
        if self.allowed.mask & bit(current) != 0 {
            return from < to;
        }
        self.allowed.best == Some(next) || to.spatial >= from.spatial
    }

    fn enter(&mut self, frame: &Frame, target: usize) {
        self.current = Some(target);
        self.spatial = frame.targets.layers(target).spatial;
        self.since = frame.number;
        self.missing = None;
    }

    fn is_present(&self, frame: &Frame) -> bool {
        let current = self.current.map_or(0, bit);
        frame.indications.present & current != 0
    }

    /// Nothing that the frame refers to was left out.
    fn is_decodable(&self, frame: &Frame) -> bool {
        frame
            .references
            .iter()
            .all(|back| back < FRAMES && !self.left_out.has(frame.number.wrapping_sub(back)))
    }

    fn note(&mut self, frame: &Frame) {
        self.left_out.set(frame.number, !self.sending);
        self.sent.set(frame.number, self.sending);
        let indications = &frame.indications;
        if self.sending {
            self.unbroken |= indications.switching;
        } else {
            let needed_by = indications.present & !indications.discardable;
            self.unbroken &= !needed_by;
            self.broken |= self.current.is_some_and(|it| needed_by & bit(it) != 0);
        }
        if self.sending && frame.stands_alone() {
            self.broken = false;
        }
    }

    /// The receiver must learn which decode targets it gets, with the first frame after a change.
    fn tell(&mut self, frame: &Frame) {
        self.telling = false;
        let Some(current) = self.current.filter(|_| self.sending) else {
            return;
        };
        if frame.new_structure {
            self.told = frame.targets.all();
        }
        let mask = frame.active & frame.targets.within(frame.targets.layers(current));
        if mask != self.told {
            (self.told, self.telling) = (mask, true);
        }
    }

    /// The frame's predecessor in the chain of the current decode target must have been sent on.
    fn follow_chain(&mut self, frame: &Frame) {
        let number = frame.number;
        self.missing = self.missing.filter(|missing| !self.sent.has(*missing));
        let late_by = self
            .missing
            .map_or(0, |missing| number.wrapping_sub(missing));
        self.broken |= late_by > MISSING_MAX;
        let protection = self.current.and_then(|it| frame.targets.chains.get(it));
        let chain = protection.map(|chain| usize::from(*chain));
        let Some(back) = chain
            .filter(|it| *it < CHAINS_MAX)
            .and_then(|it| frame.chains.get(it))
        else {
            return;
        };
        if *back == 0 {
            (self.missing, self.broken) = (None, self.broken && !self.sending);
            return;
        }
        let before = number.wrapping_sub(u16::from(*back));
        let watched = u16::from(*back) <= number.wrapping_sub(self.since);
        if watched && self.missing.is_none() && !self.sent.has(before) {
            self.missing = Some(before);
        }
    }
}
