//! Clients that talk over the reliable channel as LiveKit's do: they number what they send, hold it
//! back while they resume, repeat what the server says it has not got, and drop what they have got
//! twice.

use super::World;
use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
struct DataPacket {
    #[prost(message, optional, tag = "2")]
    user: Option<UserPacket>,
    #[prost(uint32, tag = "16")]
    sequence: u32,
    #[prost(string, tag = "17")]
    participant_sid: String,
}

#[derive(Clone, PartialEq, Message)]
struct UserPacket {
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// What a client has said and heard.
#[derive(Default)]
struct Talker {
    said: u32,
    /// In the buffer for repeats.
    sent: Vec<u32>,
    /// Held back.
    unsent: Vec<u32>,
    resuming: bool,
    /// By sender, in their order, without what it had already.
    heard: BTreeMap<String, Vec<u32>>,
    /// Packets without a number.
    loose: usize,
    /// Packets dropped because it had them.
    repeated: usize,
}

/// Everybody's talk.
pub(super) struct Chat {
    talkers: BTreeMap<&'static str, Talker>,
    /// Clients keep what they have sent; else only what has not left them yet.
    keep_sent: bool,
}

impl Chat {
    pub(super) fn new(names: &[&'static str], keep_sent: bool) -> Self {
        Self {
            talkers: names
                .iter()
                .map(|name| (*name, Talker::default()))
                .collect(),
            keep_sent,
        }
    }

    /// Everybody says one more thing and hears what there is.
    pub(super) fn turn(&mut self, world: &mut World) {
        let names: Vec<_> = self.talkers.keys().copied().collect();
        for name in &names {
            self.say(world, name);
        }
        world.settle();
        for name in names {
            self.listen(world, name);
        }
    }

    pub(super) fn say(&mut self, world: &mut World, name: &'static str) {
        let talker = self.talkers.get_mut(name).unwrap();
        talker.said += 1;
        if talker.resuming {
            talker.unsent.push(talker.said);
            return;
        }
        let said = talker.said;
        put(world, name, said);
        if self.keep_sent {
            talker.sent.push(said);
        }
    }

    /// The signal connection is gone.
    pub(super) fn begin_resume(&mut self, name: &'static str) {
        self.talkers.get_mut(name).unwrap().resuming = true;
    }

    /// The fresh connection is there, and the server took what came up to `last`.
    pub(super) fn end_resume(&mut self, world: &mut World, name: &'static str, last: u32) {
        let Some(talker) = self.talkers.get_mut(name) else {
            return;
        };
        talker.resuming = false;
        let unsent = std::mem::take(&mut talker.unsent);
        talker.sent.retain(|sequence| *sequence > last);
        for sequence in talker.sent.iter().chain(&unsent) {
            put(world, name, *sequence);
        }
        if self.keep_sent {
            talker.sent.extend(unsent);
        }
        world.settle();
    }

    fn listen(&mut self, world: &mut World, name: &'static str) {
        let talker = self.talkers.get_mut(name).unwrap();
        for (label, packet) in super::take_data(world, name) {
            if label != "_reliable" {
                continue;
            }
            let packet = DataPacket::decode(packet.as_slice()).unwrap();
            if packet.sequence == 0 {
                talker.loose += 1;
                continue;
            }
            let heard = talker.heard.entry(packet.participant_sid).or_default();
            if heard.last().is_some_and(|last| packet.sequence <= *last) {
                talker.repeated += 1;
            } else {
                heard.push(packet.sequence);
            }
        }
    }

    /// Everybody has heard everything that the others said, in order and once.
    pub(super) fn assert_complete(&self) {
        for (name, talker) in &self.talkers {
            for (other, said) in &self.talkers {
                if other == name {
                    continue;
                }
                let all: Vec<u32> = (1..=said.said).collect();
                let heard = talker.heard.get(&format!("PA_{other}"));
                assert_eq!(heard, Some(&all), "{name} of {other}");
            }
        }
    }

    pub(super) fn heard(&self, name: &str, from: &str) -> Vec<u32> {
        let heard = self.talkers[name].heard.get(&format!("PA_{from}"));
        heard.cloned().unwrap_or_default()
    }

    pub(super) fn loose(&self, name: &str) -> usize {
        self.talkers[name].loose
    }

    /// How much was sent to a client again without need.
    pub(super) fn repeated(&self, name: &str) -> usize {
        self.talkers[name].repeated
    }
}

fn put(world: &mut World, name: &str, sequence: u32) {
    let packet = DataPacket {
        user: Some(UserPacket {
            payload: format!("{name} says {sequence}").into_bytes(),
        }),
        sequence,
        participant_sid: String::new(),
    };
    let client = world.clients.get_mut(name).unwrap();
    let packet = packet.encode_to_vec();
    assert!(client.publisher.send_data("_reliable", &packet), "{name}");
}
