//! Makes a failing run smaller: fewer faults, fewer machines, as long as it fails in the same way.

use crate::checker::Kind;
use crate::params::Params;
use crate::world::World;

fn fails(params: &Params, kind: Kind) -> bool {
    let found = World::new(params.clone()).run().violation;
    found.is_some_and(|violation| violation.kind == kind)
}

/// A smaller run that fails in the same way.
pub fn shrink(mut params: Params, kind: Kind) -> Params {
    loop {
        let before = params.plan.len();
        let mut at = 0;
        while at < params.plan.len() {
            let mut less = params.clone();
            less.plan.remove(at);
            if fails(&less, kind) {
                params = less;
            } else {
                at += 1;
            }
        }
        let simpler: [fn(&mut Params); 8] = [
            |params| params.loss = 0,
            |params| params.slow = 0,
            |params| params.late = 0,
            |params| params.delay_ms = 5,
            |params| params.clocks.iter_mut().for_each(|rate| *rate = 1_000),
            |params| params.rooms = 1,
            |params| params.gateways = 1,
            |params| params.clients = params.clients.saturating_sub(1).max(1),
        ];
        for simplify in simpler {
            let mut less = params.clone();
            simplify(&mut less);
            let valid = less.gateways == params.gateways || fits(&less);
            if valid && fails(&less, kind) {
                params = less;
            }
        }
        if params.plan.len() == before {
            return params;
        }
    }
}

/// No fault names a gateway that is not there.
fn fits(params: &Params) -> bool {
    use crate::fault::{Fault, Link};
    params.plan.iter().all(|(_, fault)| match fault {
        Fault::KillGateway { gateway, .. }
        | Fault::PauseGateway { gateway, .. }
        | Fault::FreezeGateway { gateway, .. }
        | Fault::Cut {
            link: Link::GatewayDirectory(gateway) | Link::GatewayShard(gateway, _),
            ..
        } => *gateway < params.gateways,
        _ => true,
    })
}
