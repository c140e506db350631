//! A client: joins, stays, leaves, and tries again as livekit-client does.

use crate::checker::Kind;
use crate::message::{Answer, Attempt, Body, Node, Timer};
use crate::random::Random;
use crate::world::World;

/// Gaps between the tries of one join, milliseconds; all but the first vary by a half.
const GAPS_MS: [u64; 10] = [
    0, 300, 1_200, 2_700, 4_800, 7_000, 7_000, 7_000, 7_000, 7_000,
];
/// A try without an answer is over after this.
const TRY_US: u64 = 5_000_000;
/// In calm weather nobody waits for longer, milliseconds.
const CALM_WAIT_MS: u64 = 40_000;

#[derive(Clone, Debug)]
enum State {
    Away,
    /// A try is on its way.
    Trying {
        gateway: usize,
    },
    /// Between two tries.
    Pausing,
    Inside {
        gateway: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct ClientNode {
    /// For what it wants: the same in every run of a seed.
    wishes: Random,
    state: State,
    room: usize,
    join: u64,
    number: u64,
    tries: usize,
    /// Since when it wants in, true time.
    wants_us: Option<u64>,
    version: u64,
}

impl ClientNode {
    pub(crate) fn new(wishes: Random) -> Self {
        Self {
            wishes,
            state: State::Away,
            room: 0,
            join: 0,
            number: 0,
            tries: 0,
            wants_us: None,
            version: 0,
        }
    }
}

impl World {
    pub(crate) fn client_timer(&mut self, client: usize, timer: Timer) {
        if let Timer::Next { version } = timer
            && self.clients[client].version == version
        {
            self.client_next(client);
        }
    }

    fn next_in(&mut self, client: usize, in_us: u64) {
        self.clients[client].version += 1;
        let version = self.clients[client].version;
        self.timer(Node::Client(client), in_us, Timer::Next { version });
    }

    pub(crate) fn client_next(&mut self, client: usize) {
        match self.clients[client].state {
            State::Away => {
                let rooms = self.rooms.len();
                let node = &mut self.clients[client];
                node.room = node.wishes.index(rooms);
                self.wish(client);
            }
            State::Pausing => self.attempt(client),
            State::Trying { gateway } => {
                self.hang_up(client, gateway);
                self.failed(client);
            }
            State::Inside { gateway } => {
                self.hang_up(client, gateway);
                self.clients[client].state = State::Away;
                let away = self.clients[client]
                    .wishes
                    .below(self.params.stay_ms * 1_000);
                self.next_in(client, away);
            }
        }
    }

    fn attempt_of(&self, client: usize) -> Attempt {
        let node = &self.clients[client];
        Attempt {
            client,
            number: node.number,
            join: node.join,
            room: node.room,
        }
    }

    fn hang_up(&mut self, client: usize, gateway: usize) {
        let attempt = self.attempt_of(client);
        self.send(
            Node::Client(client),
            Node::Gateway(gateway),
            None,
            Body::Close { attempt },
        );
    }

    /// A new join.
    fn wish(&mut self, client: usize) {
        let now = self.now;
        let node = &mut self.clients[client];
        node.wants_us.get_or_insert(now);
        node.number += 1;
        node.join = ((client as u64) << 32) | node.number;
        self.try_from_start(client, 500_000);
    }

    fn try_from_start(&mut self, client: usize, jitter_us: u64) {
        let node = &mut self.clients[client];
        node.tries = 0;
        node.state = State::Pausing;
        let pause = self.random.below(jitter_us);
        self.next_in(client, pause);
    }

    fn attempt(&mut self, client: usize) {
        let gateway = self.random.index(self.gateways.len());
        self.clients[client].number += 1;
        if !self.gateways[gateway].up {
            return self.failed(client);
        }
        self.clients[client].state = State::Trying { gateway };
        let attempt = self.attempt_of(client);
        self.send(
            Node::Client(client),
            Node::Gateway(gateway),
            None,
            Body::Connect { attempt },
        );
        self.next_in(client, TRY_US);
    }

    fn failed(&mut self, client: usize) {
        let node = &mut self.clients[client];
        node.tries += 1;
        node.state = State::Pausing;
        let Some(gap) = GAPS_MS.get(node.tries) else {
            // The app is told, and somebody presses the button again.
            return self.wish(client);
        };
        let pause = gap * 500 + self.random.below(gap * 1_000);
        self.next_in(client, pause);
    }

    pub(crate) fn client_message(&mut self, client: usize, body: Body) {
        match body {
            Body::Connected { attempt, answer } => {
                let State::Trying { gateway } = self.clients[client].state else {
                    return;
                };
                if attempt != self.attempt_of(client) {
                    return;
                }
                match answer {
                    Answer::Accepted => self.inside(client, gateway),
                    _ => self.failed(client),
                }
            }
            Body::Closed { attempt, moved } if attempt == self.attempt_of(client) => {
                match self.clients[client].state {
                    // As the same one, at once.
                    State::Inside { .. } if moved => {
                        let now = self.now;
                        self.clients[client].wants_us.get_or_insert(now);
                        self.try_from_start(client, 100_000);
                    }
                    State::Inside { .. } => self.wish(client),
                    State::Trying { .. } => self.failed(client),
                    State::Away | State::Pausing => {}
                }
            }
            _ => {}
        }
    }

    fn inside(&mut self, client: usize, gateway: usize) {
        let node = &mut self.clients[client];
        node.state = State::Inside { gateway };
        if let Some(since) = node.wants_us.take() {
            let took = (self.now - since) / 1_000;
            self.counts.slowest_join_ms = self.counts.slowest_join_ms.max(took);
        }
        let longest = 2 * self.params.stay_ms;
        let stay = self.clients[client].wishes.between(200, longest) * 1_000;
        self.next_in(client, stay);
    }

    /// At the end of a calm time nobody is still waiting.
    pub(crate) fn check_clients(&mut self) {
        for client in 0..self.clients.len() {
            let Some(since) = self.clients[client].wants_us else {
                continue;
            };
            let calm_since = self.params.chaos_ms * 1_000;
            let waits_ms = (self.now - since.max(calm_since)) / 1_000;
            if waits_ms > CALM_WAIT_MS {
                let room = self.clients[client].room;
                let text = format!("client {client} waits for room {room} since {waits_ms} ms");
                self.checker.report(Kind::Starved, self.now, text);
            }
        }
    }
}
