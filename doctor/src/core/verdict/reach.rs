//! Name, TCP and TLS.

use crate::core::report::Finding;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A certificate that ends sooner is worth a warning, seconds.
const EXPIRY_WARNING_S: i64 = 14 * 86_400;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// Somebody answered that nobody listens there.
    Refused,
    /// Nobody answered in this time.
    Late(Duration),
    /// What the system said.
    Other(String),
}

impl DialFailure {
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Refused => "the connection was refused".to_owned(),
            Self::Late(after) => format!("no answer within {} s", after.as_secs_f32()),
            Self::Other(cause) => cause.clone(),
        }
    }
}

/// What the name stands for.
pub(crate) fn name(host: &str, found: &Result<Vec<IpAddr>, String>) -> Finding {
    match found {
        Ok(addresses) if addresses.is_empty() => no_address(host, "it has no address"),
        Ok(addresses) => {
            let list: Vec<String> = addresses.iter().map(|ip| told(*ip)).collect();
            Finding::ok(list.join(", "))
        }
        Err(cause) => no_address(host, cause),
    }
}

fn no_address(host: &str, cause: &str) -> Finding {
    Finding::failed(
        format!("{host} cannot be resolved: {cause}"),
        "check the URL, this machine's DNS server, and the name's A and AAAA records: they must be \
         the gateway's addresses",
    )
}

fn told(ip: IpAddr) -> String {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    format!("{ip} ({family})")
}

/// Each address, and what came of it.
pub(crate) type Dials = Vec<(SocketAddr, Result<Duration, DialFailure>)>;

/// Whether one of the addresses takes connections.
pub(crate) fn tcp(dials: &Dials) -> Finding {
    let reached: Vec<String> = dials
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(address, _)| address.to_string())
        .collect();
    let failures: Vec<(SocketAddr, &DialFailure)> = dials
        .iter()
        .filter_map(|(address, outcome)| Some((*address, outcome.as_ref().err()?)))
        .collect();
    let Some((first, failure)) = failures.first() else {
        return Finding::ok(reached.join(", "));
    };
    if reached.is_empty() {
        let list: Vec<String> = failures
            .iter()
            .map(|(address, failure)| format!("{address}: {}", failure.cause()))
            .collect();
        return Finding::failed(list.join("; "), tcp_cure(first.port(), failure));
    }
    let mut finding = Finding::ok(reached.join(", "));
    for (address, failure) in failures {
        finding = finding.warn(format!(
            "{address} takes no connections ({}): people lose time there before they try another \
             address; open it, or take it out of the name's records",
            failure.cause()
        ));
    }
    finding
}

fn tcp_cure(port: u16, failure: &DialFailure) -> String {
    match failure {
        DialFailure::Refused => format!(
            "nothing listens on TCP port {port}: start the gateway, and check `gateway.listen` and \
             whatever forwards to it"
        ),
        DialFailure::Late(_) => format!(
            "a firewall drops what is sent there, or the machine is down: let TCP port {port} in to \
             the gateway"
        ),
        DialFailure::Other(_) => {
            format!("check this machine's network, and the way to TCP port {port}")
        }
    }
}

/// What the server has shown of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// `notAfter`, seconds since 1970.
    pub(crate) not_after: Option<i64>,
    pub(crate) issuer: String,
    /// Certificates that came, its own included.
    pub(crate) chain: usize,
    /// It has signed itself.
    pub(crate) is_self_signed: bool,
}

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The certificate has other names.
    Name(Vec<String>),
    /// It ended, seconds since 1970.
    Expired(i64),
    /// It begins later.
    NotYet,
    /// Nobody that is trusted has signed it.
    UnknownIssuer,
    /// What came is no TLS.
    NoTls,
    /// Nothing came in this time.
    Late(Duration),
    /// What the library said.
    Other(String),
}

/// Whether TLS comes about, and for how long it will.
pub(crate) fn tls(
    host: &str,
    shown: &Shown,
    outcome: &Result<(), TlsFailure>,
    now_s: i64,
) -> Finding {
    match outcome {
        Ok(()) => valid(shown, now_s),
        Err(failure) => {
            let (cause, cure) = tls_words(host, shown, failure, now_s);
            Finding::failed(cause, cure)
        }
    }
}

fn valid(shown: &Shown, now_s: i64) -> Finding {
    let Some(not_after) = shown.not_after else {
        return Finding::ok("the certificate is trusted");
    };
    let left_s = not_after - now_s;
    let left = in_days(left_s);
    let finding = Finding::ok(format!(
        "the certificate of {} is valid for {left}",
        shown.issuer
    ));
    if left_s < EXPIRY_WARNING_S {
        return finding.warn(format!(
            "the certificate ends in {left}: renew it; the gateway reads it again by itself"
        ));
    }
    finding
}

fn in_days(seconds: i64) -> String {
    match seconds / 86_400 {
        ..=0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

fn tls_words(
    host: &str,
    shown: &Shown,
    failure: &TlsFailure,
    now_s: i64,
) -> (String, &'static str) {
    match failure {
        TlsFailure::Name(names) => (
            format!(
                "the certificate is not for {host} but for {}",
                names.join(", ")
            ),
            "use the name that the certificate has, or give the gateway one for this name: \
             `gateway.listen[].tls.certificates`",
        ),
        TlsFailure::Expired(at) => (
            format!("the certificate ended {} ago", in_days(now_s - at)),
            "renew it; the gateway reads it again by itself. If it is new: check this machine's clock",
        ),
        TlsFailure::NotYet => (
            "the certificate is not valid yet".to_owned(),
            "check this machine's clock",
        ),
        TlsFailure::UnknownIssuer => unknown_issuer(shown),
        TlsFailure::NoTls => (
            "what answers there does not speak TLS".to_owned(),
            "use http:// here, or set `gateway.listen[].tls`; behind a proxy TLS belongs there",
        ),
        TlsFailure::Late(after) => (
            format!("no TLS within {} s", after.as_secs_f32()),
            "something between here and the gateway takes connections and does not answer: look at \
             proxies and load balancers",
        ),
        TlsFailure::Other(cause) => (
            cause.clone(),
            "look at the certificate and the key: `gateway.listen[].tls.certificates`",
        ),
    }
}

fn unknown_issuer(shown: &Shown) -> (String, &'static str) {
    if shown.is_self_signed {
        let cause = "the certificate has signed itself: nobody trusts it";
        return (
            cause.to_owned(),
            "use one of an authority that browsers trust, or have every client trust this one",
        );
    }
    if shown.chain <= 1 {
        return (
            format!(
                "the chain is incomplete: nothing was sent between the certificate and its issuer, {}",
                shown.issuer
            ),
            "give the gateway the file with the intermediate certificates (fullchain.pem); an \
             authority of your own must be trusted by every client",
        );
    }
    (
        format!("nobody here trusts the issuer, {}", shown.issuer),
        "have every client trust it, or use a certificate of an authority that browsers trust; \
         something in between that reads TLS shows a certificate of its own, too",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Status;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_has_addresses_of_both_families_or_is_broken() {
        let both = Ok(vec![at("192.0.2.1:0").ip(), at("[2001:db8::1]:0").ip()]);
        let finding = name("host", &both);
        assert_eq!(finding.says, "192.0.2.1 (IPv4), 2001:db8::1 (IPv6)");
        for found in [Ok(Vec::new()), Err("no such name".to_owned())] {
            let finding = name("host", &found);
            assert_eq!(finding.status, Status::Failed);
            assert!(
                finding.says.contains("host cannot be resolved"),
                "{}",
                finding.says
            );
            assert!(finding.fix.contains("AAAA"));
        }
    }

    #[test]
    fn one_address_is_enough_and_a_dead_one_is_worth_a_warning() {
        let (good, bad) = (at("192.0.2.1:443"), at("[2001:db8::1]:443"));
        let took = Ok(Duration::from_millis(3));
        let late = Err(DialFailure::Late(Duration::from_secs(5)));
        let finding = tcp(&vec![(good, took.clone()), (bad, late.clone())]);
        assert_eq!(
            (finding.status, finding.says.as_str()),
            (Status::Ok, "192.0.2.1:443")
        );
        assert!(finding.warnings[0].contains("[2001:db8::1]:443 takes no connections"));
        assert_eq!(tcp(&vec![(good, took)]).warnings.len(), 0);
        let finding = tcp(&vec![(bad, late)]);
        assert!(finding.fix.contains("firewall") && finding.fix.contains("443"));
        let finding = tcp(&vec![(good, Err(DialFailure::Refused))]);
        assert_eq!(finding.status, Status::Failed);
        assert!(finding.fix.contains("gateway.listen"), "{}", finding.fix);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_worth_a_warning() {
        let now = 1_000_000_000;
        let shown = |days: i64| Shown {
            not_after: Some(now + days * 86_400),
            issuer: "R3".to_owned(),
            chain: 2,
            is_self_signed: false,
        };
        let finding = tls("host", &shown(13), &Ok(()), now);
        assert!(finding.warnings[0].contains("ends in 13 days"));
        let finding = tls("host", &shown(0), &Ok(()), now);
        assert!(finding.warnings[0].contains("ends in less than a day"));
        let finding = tls("host", &shown(15), &Ok(()), now);
        assert!(finding.warnings.is_empty() && finding.says.contains("R3 is valid for 15 days"));
    }

    #[test]
    fn every_fault_of_tls_has_its_words() {
        let words = |shown: &Shown, failure: TlsFailure| {
            let finding = tls("host", shown, &Err(failure), 10 * 86_400);
            assert_eq!(finding.status, Status::Failed);
            assert!(!finding.fix.is_empty());
            finding.says
        };
        let none = Shown::default();
        let names = TlsFailure::Name(vec!["other.example".to_owned()]);
        assert!(words(&none, names).contains("not for host but for other.example"));
        assert!(words(&none, TlsFailure::Expired(7 * 86_400)).contains("3 days ago"));
        assert!(words(&none, TlsFailure::NoTls).contains("does not speak TLS"));
        assert!(words(&none, TlsFailure::UnknownIssuer).contains("chain is incomplete"));
        let own = Shown {
            is_self_signed: true,
            chain: 1,
            ..Shown::default()
        };
        assert!(words(&own, TlsFailure::UnknownIssuer).contains("signed itself"));
        let long = Shown {
            chain: 3,
            ..Shown::default()
        };
        assert!(words(&long, TlsFailure::UnknownIssuer).contains("nobody here trusts"));
        assert!(words(&none, TlsFailure::NotYet).contains("not valid yet"));
        assert!(words(&none, TlsFailure::Late(Duration::from_secs(5))).contains("within 5 s"));
    }
}
