//! A gateway's business with the directory: it looks, witnesses, announces, and passes orders on.

use crate::gateway::POLL_US;
use crate::message::{Body, GatewayCall, Node, Timer};
use crate::variant::Variant;
use crate::world::World;
use affinity::directory::{Reply, Request, View};

impl World {
    /// The configuration file is read again.
    pub(crate) fn reload(&mut self, gateway: usize) {
        if self.gateways[gateway].up {
            self.announce(gateway);
        }
    }

    /// An operator's word, to be passed on to the directory.
    pub(crate) fn order(&mut self, gateway: usize, request: Request) {
        self.gateways[gateway].orders.push(request);
    }

    pub(crate) fn announce(&mut self, gateway: usize) {
        self.gateways[gateway].to_announce = true;
        let (name, topology) = (format!("g{gateway}"), self.config.clone());
        let request = Request::Announce {
            gateway: name,
            topology,
        };
        self.gateway_asks(gateway, GatewayCall::Said, request);
    }

    pub(crate) fn gateway_asks(&mut self, gateway: usize, what: GatewayCall, request: Request) {
        let node = &mut self.gateways[gateway];
        node.next += 1;
        let call = node.next;
        node.calls.insert(call, what);
        self.send(
            Node::Gateway(gateway),
            Node::Directory,
            None,
            Body::Ask { call, request },
        );
        let patience = self.params.patience_ms * 1_000;
        let in_us = match what {
            GatewayCall::Watch => 900_000,
            GatewayCall::Said | GatewayCall::Join { .. } => patience,
        };
        self.timer(Node::Gateway(gateway), in_us, Timer::CallOver { call });
    }

    pub(crate) fn poll(&mut self, gateway: usize) {
        self.gateway_asks(gateway, GatewayCall::Watch, Request::Watch);
        let orders = std::mem::take(&mut self.gateways[gateway].orders);
        for request in orders {
            self.gateway_asks(gateway, GatewayCall::Said, request);
        }
        if self.gateways[gateway].to_announce {
            self.announce(gateway);
        }
        let now = self.local(Node::Gateway(gateway));
        if let Some(memory) = self.directory.memory.as_mut() {
            memory.expire(now);
        }
        self.try_again(gateway);
        self.drop_dead(gateway);
    }

    pub(crate) fn gateway_reply(&mut self, gateway: usize, what: GatewayCall, reply: Reply) {
        match (what, reply) {
            (GatewayCall::Watch, Reply::View(view)) => self.see(gateway, view),
            (GatewayCall::Watch, _) => {}
            (_, Reply::Announced { .. }) => self.gateways[gateway].to_announce = false,
            _ => {}
        }
    }

    pub(crate) fn see(&mut self, gateway: usize, view: View) {
        let now = self.local(Node::Gateway(gateway));
        let now_us = self.micros(now);
        let variant = self.params.variant;
        if view.topology.is_empty() {
            self.gateways[gateway].to_announce = true;
        }
        let node = &mut self.gateways[gateway];
        let mut shown = view.clone();
        match variant {
            Some(Variant::WitnessIgnoresRenewals) => {
                shown.leases.iter_mut().for_each(|lease| lease.seq = 1);
            }
            Some(Variant::GraceWaitsForNobody) => shown.hold = false,
            Some(Variant::WitnessCountsGaps) => {
                if let Some(before) = node.view.clone() {
                    let mut at_us = node.seen_us;
                    while at_us + 900_000 < now_us {
                        at_us += 900_000;
                        let at = now - std::time::Duration::from_micros(now_us - at_us);
                        node.witness.handle_view(&before, at);
                    }
                }
            }
            _ => {}
        }
        node.witness.handle_view(&shown, now);
        let mut requests = node.witness.requests(now);
        if variant == Some(Variant::WitnessIgnoresRenewals) {
            for request in &mut requests {
                if let Request::Lapse { shard, seq, .. } = request
                    && let Some(lease) = view.leases.iter().find(|lease| lease.shard == *shard)
                {
                    *seq = lease.seq;
                }
            }
        }
        (node.view, node.seen_us) = (Some(view), now_us);
        // The directory in memory has a witness of its own.
        if !self.directory.is_in_gateway() {
            for request in requests {
                self.gateway_asks(gateway, GatewayCall::Said, request);
            }
        }
        self.timer(Node::Gateway(gateway), POLL_US, Timer::Poll);
    }
}
