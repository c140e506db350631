//! All ways of media, each by itself, all at once.

use super::carrier::{Carrier, Way};
use super::guest::Guest;
use super::tls::Trust;
use crate::core::report::{Finding, Hop};
use crate::core::sdp::Transport;
use crate::core::turn::Login;
use crate::core::verdict::join::is_public;
use crate::core::verdict::ways::{Checked, WayFailure, nothing, way};
use std::time::{Duration, Instant};

/// Of the node's addresses, those that are tried through a relay: each takes an allocation.
const RELAYED_MAX: usize = 3;

/// A way that leads to the node.
pub(super) struct Working {
    pub(super) way: Way,
    pub(super) checked: Checked,
}

/// A way that was tried.
pub(super) struct Tried {
    pub(super) hop: Hop,
    pub(super) finding: Finding,
    pub(super) took: Duration,
    pub(super) working: Option<Working>,
}

/// Tries them all; in the order in which clients prefer them.
pub(super) async fn all(
    guest: &Guest,
    trust: &Result<Trust, String>,
    within: Duration,
) -> Vec<Tried> {
    let mut wanted: Vec<(Hop, Vec<Way>, Login)> = Vec::new();
    for (hop, transport) in [(Hop::Udp, Transport::Udp), (Hop::IceTcp, Transport::Tcp)] {
        for node in guest.node.addresses(transport) {
            let turn = None;
            wanted.push((hop, vec![Way { hop, node, turn }], Login::default()));
        }
    }
    for (url, login) in guest.turn_servers() {
        let hop = url.hop;
        let way = |node| Way {
            hop,
            node,
            turn: Some(url.clone()),
        };
        wanted.push((hop, relayed(guest).map(way).collect(), login));
    }
    let tries = wanted
        .iter()
        .map(|(hop, ways, login)| attempt(*hop, ways, login, guest, trust, within));
    let mut tried = futures::future::join_all(tries).await;
    for hop in Hop::ALL.into_iter().filter(|hop| hop.is_way()) {
        if tried.iter().all(|tried| tried.hop != hop) {
            tried.push(Tried {
                hop,
                finding: nothing(hop),
                took: Duration::ZERO,
                working: None,
            });
        }
    }
    tried.sort_by_key(|tried| tried.hop);
    tried
}

/// The node's addresses as a relay may reach them, the likeliest first.
fn relayed(guest: &Guest) -> impl Iterator<Item = std::net::SocketAddr> {
    let mut addresses = guest.node.addresses(Transport::Udp);
    addresses.sort_by_key(|address| !is_public(address.ip()));
    addresses.into_iter().take(RELAYED_MAX)
}

/// One of these is enough.
async fn attempt(
    hop: Hop,
    ways: &[Way],
    login: &Login,
    guest: &Guest,
    trust: &Result<Trust, String>,
    within: Duration,
) -> Tried {
    let began = Instant::now();
    let mut first = None;
    for one in ways {
        let outcome = check(one, login, guest, trust, within).await;
        let finding = way(hop, &one.subject(), one.port(), &outcome);
        let working = outcome.ok().map(|checked| Working {
            way: one.clone(),
            checked,
        });
        let is_working = working.is_some();
        let tried = Tried {
            hop,
            finding,
            took: began.elapsed(),
            working,
        };
        if is_working {
            return tried;
        }
        first.get_or_insert(tried);
    }
    first.unwrap_or_else(|| Tried {
        hop,
        finding: Finding::skipped("the node tells no UDP address to be relayed to"),
        took: began.elapsed(),
        working: None,
    })
}

async fn check(
    way: &Way,
    login: &Login,
    guest: &Guest,
    trust: &Result<Trust, String>,
    within: Duration,
) -> Result<Checked, WayFailure> {
    let mut carrier = Carrier::open(way, login, trust, within).await?;
    carrier.check(&guest.node, &guest.ours, within).await
}
