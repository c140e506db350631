//! The sum: which failure is the one to tell, and what works and is wrong all the same.

use super::ways;
use crate::core::report::{Hop, Status, Step};

/// The first broken link and a line about it. A way of media is broken only if all are.
pub(crate) fn broken(steps: &[Step]) -> Option<(Hop, String)> {
    let failed = |step: &&Step| step.status == Status::Failed;
    let straight = steps.iter().filter(|step| !step.hop.is_way());
    let before = straight
        .clone()
        .filter(failed)
        .find(|step| step.hop < Hop::Udp);
    if let Some(step) = before {
        return Some((step.hop, line(step)));
    }
    if let Some(broken) = no_way(steps) {
        return Some(broken);
    }
    let after = straight.filter(failed).find(|step| step.hop > Hop::Udp)?;
    Some((after.hop, line(after)))
}

fn line(step: &Step) -> String {
    format!("{}: {}", step.hop.title(), step.says)
}

/// No way leads to the node: the one that most people would take is told, and what was tried.
fn no_way(steps: &[Step]) -> Option<(Hop, String)> {
    let ways = steps.iter().filter(|step| step.hop.is_way());
    if ways.clone().any(|step| step.status == Status::Ok) {
        return None;
    }
    let mut failed = ways.filter(|step| step.status == Status::Failed);
    let first = failed.next()?;
    let mut others: Vec<&str> = failed
        .map(|step| step.hop.title())
        .filter(|title| *title != first.hop.title())
        .collect();
    others.dedup();
    let rest = match others.as_slice() {
        [] => "there is no other way".to_owned(),
        others => format!("neither by {}", others.join(" nor by ")),
    };
    Some((first.hop, format!("{}; {rest}", line(first))))
}

/// What works and should be looked at all the same.
pub(crate) fn warnings(steps: &[Step]) -> Vec<String> {
    let own = steps.iter().flat_map(|step| step.warnings.iter().cloned());
    own.chain(way_warnings(steps)).collect()
}

/// Somebody else's network may need the way that is broken.
fn way_warnings(steps: &[Step]) -> Vec<String> {
    let working = steps
        .iter()
        .find(|step| step.hop.is_way() && step.status == Status::Ok);
    let Some(working) = working else {
        return Vec::new();
    };
    let is_dead = |hop: Hop| {
        let mut of_it = steps.iter().filter(|step| step.hop == hop).peekable();
        of_it.peek().is_some() && of_it.all(|step| step.status == Status::Failed)
    };
    let dead = Hop::ALL
        .into_iter()
        .filter(|hop| hop.is_way() && is_dead(*hop));
    dead.map(|hop| warning(hop, working.hop)).collect()
}

fn warning(dead: Hop, working: Hop) -> String {
    let (setting, protocol) = ways::setting(dead);
    let title = dead.title();
    match dead {
        Hop::Udp => format!(
            "UDP is blocked, {} carries media in its place: pictures and sound suffer on a poor line; \
             open `{setting}`",
            working.title()
        ),
        _ => format!(
            "{title} does not work, and people whose network lets nothing else out need it: open \
             `{setting}` ({protocol})"
        ),
    }
}

/// The links that were not reached, because `broken` is.
pub(crate) fn unreached(steps: &[Step], broken: Hop) -> Vec<(Hop, String)> {
    let is_told = |hop: Hop| steps.iter().any(|step| step.hop == hop);
    Hop::ALL
        .into_iter()
        .filter(|hop| *hop > broken && !is_told(*hop))
        .map(|hop| (hop, format!("{} is broken", broken.title())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Finding;
    use std::time::Duration;

    fn step(hop: Hop, finding: Finding) -> Step {
        Step::new(hop, finding, Duration::ZERO)
    }

    fn ok(hop: Hop) -> Step {
        step(hop, Finding::ok("here"))
    }

    fn failed(hop: Hop) -> Step {
        step(hop, Finding::failed("not here", "do something"))
    }

    #[test]
    fn the_first_broken_link_is_told() {
        let steps = [ok(Hop::Name), failed(Hop::Tcp), failed(Hop::Join)];
        let (hop, text) = broken(&steps).unwrap();
        assert_eq!((hop, text.as_str()), (Hop::Tcp, "TCP: not here"));
        assert_eq!(broken(&[ok(Hop::Name), ok(Hop::Udp), ok(Hop::Media)]), None);
        let (hop, _) = broken(&[ok(Hop::Udp), ok(Hop::Dtls), failed(Hop::Media)]).unwrap();
        assert_eq!(hop, Hop::Media);
    }

    #[test]
    fn one_way_of_media_is_enough() {
        let steps = [
            failed(Hop::Udp),
            failed(Hop::Udp),
            ok(Hop::IceTcp),
            failed(Hop::TurnTls),
        ];
        assert_eq!(broken(&steps), None);
        let warnings = warnings(&steps);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("UDP is blocked, ICE-TCP carries media"));
        assert!(warnings[1].contains("TURN/TLS does not work"));
    }

    #[test]
    fn one_of_several_addresses_is_enough() {
        let steps = [failed(Hop::Udp), ok(Hop::Udp), ok(Hop::IceTcp)];
        assert_eq!((broken(&steps), warnings(&steps)), (None, Vec::new()));
    }

    #[test]
    fn without_any_way_all_that_were_tried_are_told() {
        let skipped = step(Hop::TurnUdp, Finding::skipped("off"));
        let steps = [
            failed(Hop::Udp),
            failed(Hop::IceTcp),
            failed(Hop::IceTcp),
            skipped,
        ];
        let (hop, text) = broken(&steps).unwrap();
        assert_eq!(hop, Hop::Udp);
        assert_eq!(text, "UDP: not here; neither by ICE-TCP");
        let (_, text) = broken(&[failed(Hop::Udp)]).unwrap();
        assert_eq!(text, "UDP: not here; there is no other way");
        assert_eq!(warnings(&steps), Vec::<String>::new());
    }

    #[test]
    fn what_comes_behind_a_broken_link_is_skipped() {
        let steps = [ok(Hop::Name), failed(Hop::Media)];
        assert_eq!(unreached(&steps, Hop::Tcp).len(), Hop::ALL.len() - 3);
        let (hop, why) = unreached(&steps, Hop::Tcp).remove(0);
        assert_eq!((hop, why.as_str()), (Hop::Tls, "TCP is broken"));
    }
}
