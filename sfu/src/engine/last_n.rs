//! Whose pictures a room sees: those who spoke last. A policy: no clock, no transport.

/// The people of a room, those who spoke last first. Who never spoke stands behind, in order of coming.
#[derive(Debug)]
pub(super) struct LastN<K> {
    /// How many pictures everybody gets.
    limit: usize,
    order: Vec<K>,
}

impl<K: Copy + PartialEq> LastN<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            order: Vec::new(),
        }
    }

    /// Somebody has come.
    pub(super) fn add(&mut self, who: K) {
        self.order.push(who);
    }

    /// Somebody is gone.
    pub(super) fn forget(&mut self, who: K) {
        self.order.retain(|other| *other != who);
    }

    /// Somebody begins to speak. True: others may be seen now than before. Who is seen by all keeps the
    /// place, so that two who talk to each other change nothing.
    pub(super) fn spoke(&mut self, who: K) -> bool {
        let Some(place) = self.order.iter().position(|other| *other == who) else {
            return false;
        };
        if place < self.limit {
            return false;
        }
        self.order.remove(place);
        self.order.insert(0, who);
        true
    }

    /// Those whom `viewer` sees. `has_picture`: others take no place.
    pub(super) fn seen_by(
        &self,
        viewer: K,
        has_picture: impl Fn(K) -> bool,
    ) -> impl Iterator<Item = K> {
        let others = self.order.iter().copied().filter(move |who| *who != viewer);
        others.filter(move |who| has_picture(*who)).take(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(room: &LastN<u32>, viewer: u32) -> Vec<u32> {
        room.seen_by(viewer, |_| true).collect()
    }

    fn room(limit: usize, people: u32) -> LastN<u32> {
        let mut room = LastN::new(limit);
        (1..=people).for_each(|who| room.add(who));
        room
    }

    #[test]
    fn the_first_to_come_are_seen_until_somebody_speaks() {
        let mut room = room(2, 5);
        assert_eq!(seen(&room, 5), [1, 2]);
        assert_eq!(seen(&room, 1), [2, 3], "nobody sees himself");
        assert!(room.spoke(4));
        assert_eq!(seen(&room, 5), [4, 1]);
        assert!(room.spoke(5));
        assert_eq!(seen(&room, 1), [5, 4]);
    }

    #[test]
    fn a_dialogue_changes_nothing() {
        let mut room = room(2, 4);
        assert!(room.spoke(3));
        assert!(!room.spoke(1) && !room.spoke(3) && !room.spoke(9));
        assert_eq!(seen(&room, 4), [3, 1]);
    }

    #[test]
    fn whoever_has_no_picture_takes_no_place() {
        let room = room(2, 5);
        let seen: Vec<u32> = room.seen_by(5, |who| who != 1).collect();
        assert_eq!(seen, [2, 3]);
    }

    #[test]
    fn places_of_those_who_leave_go_to_the_next() {
        let mut room = room(2, 4);
        room.forget(1);
        assert_eq!(seen(&room, 4), [2, 3]);
    }
}
