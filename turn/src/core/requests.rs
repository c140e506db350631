//! The requests that need credentials: Allocate, Refresh, CreatePermission, ChannelBind
//! (RFC 8656 sections 7, 8, 10 and 12; credentials: RFC 8489 section 9.2).

use super::allocation::{Allocation, BindError, Owner, Relayed};
use super::limits::{LIFETIME_DEFAULT, LIFETIME_MAX};
use super::wire::{Answer, Ask, Family, Key, Request, UDP};
use super::{AllocationId, Client, Now, Output, Relay, rate};
use std::net::SocketAddr;
use std::time::Duration;

/// Error codes (RFC 8489 section 14.8, RFC 8656 section 19).
mod code {
    pub(super) const BAD_REQUEST: u16 = 400;
    pub(super) const UNAUTHENTICATED: u16 = 401;
    pub(super) const FORBIDDEN: u16 = 403;
    pub(super) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(super) const ALLOCATION_MISMATCH: u16 = 437;
    pub(super) const STALE_NONCE: u16 = 438;
    pub(super) const ADDRESS_FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(super) const WRONG_CREDENTIALS: u16 = 441;
    pub(super) const UNSUPPORTED_TRANSPORT_PROTOCOL: u16 = 442;
    pub(super) const PEER_ADDRESS_FAMILY_MISMATCH: u16 = 443;
    pub(super) const ALLOCATION_QUOTA_REACHED: u16 = 486;
    pub(super) const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// Why a request is not answered with success: an error code.
type Refusal = u16;

impl Relay {
    pub(super) fn handle_request(&mut self, client: Client, request: &Request<'_>, now: Now) {
        if !self.is_admitted(client, now.at) {
            return;
        }
        let owner = match self.authenticate(client, request, now) {
            Ok(owner) => owner,
            Err(code) => {
                self.figures.unauthorized += 1;
                let bytes = self.challenge(client, request, code, now);
                self.push(Output::ToClient { client, bytes });
                return;
            }
        };
        let key = owner.key.clone();
        let answer = match request.ask {
            Ask::Allocate => self.allocate(client, request, owner, now),
            Ask::Refresh => self.refresh(client, request, &owner, now).map(Some),
            Ask::CreatePermission => self.permit(client, request, &owner, now).map(Some),
            Ask::ChannelBind => self.bind(client, request, &owner, now).map(Some),
        };
        let bytes = match answer {
            Ok(None) => return,
            Ok(Some(answer)) => answer.signed(&key),
            Err(code) => refusal(request, code).signed(&key),
        };
        self.push(Output::ToClient { client, bytes });
    }

    /// Who sends it.
    fn authenticate(
        &self,
        client: Client,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Owner, Refusal> {
        if !request.is_signed {
            return Err(code::UNAUTHENTICATED);
        }
        let named = request.username.as_deref().zip(request.nonce.as_deref());
        let Some((username, nonce)) = named.filter(|_| request.has_realm) else {
            return Err(code::BAD_REQUEST);
        };
        let user = self.secret.check(username, now.unix_s);
        let user = user.map_err(|_| code::UNAUTHENTICATED)?;
        let key = Key::new(username, user.password, &self.realm);
        if !request.is_of(&key) {
            return Err(code::UNAUTHENTICATED);
        }
        if !self.nonces.check(nonce, client.remote(), now.unix_s) {
            return Err(code::STALE_NONCE);
        }
        Ok(Owner {
            username: username.to_owned(),
            participant: user.participant.to_owned(),
            expires_s: user.expires_s,
            key,
        })
    }

    /// The answer to a stranger. Not signed: there is no key that both know.
    fn challenge(&self, client: Client, request: &Request<'_>, code: Refusal, now: Now) -> Vec<u8> {
        let answer = Answer::error(request.head(), code);
        match code {
            code::BAD_REQUEST => answer.unsigned(),
            _ => {
                let nonce = self.nonces.make(client.remote(), now.unix_s);
                answer.challenge(&self.realm, &nonce).unsigned()
            }
        }
    }

    /// `None`: the answer comes when the socket is open.
    fn allocate(
        &mut self,
        client: Client,
        request: &Request<'_>,
        owner: Owner,
        now: Now,
    ) -> Result<Option<Answer>, Refusal> {
        if let Some(id) = self.by_client.get(&client).copied() {
            return self.allocate_again(id, request, now);
        }
        check_attributes(request)?;
        match request.transport {
            None => return Err(code::BAD_REQUEST),
            Some(UDP) => {}
            Some(_) => return Err(code::UNSUPPORTED_TRANSPORT_PROTOCOL),
        }
        let family = request.family.unwrap_or(Family::V4);
        let mut addresses = self.addresses.iter();
        let address = addresses.find(|address| address.base.is_ipv4() == (family == Family::V4));
        let ip = address.ok_or(code::ADDRESS_FAMILY_NOT_SUPPORTED)?.base;
        self.check_quota(client, &owner)
            .inspect_err(|_| self.figures.over_quota += 1)?;

        let head = request.head();
        let mut allocation = Allocation::new(client, owner, family, head, &self.limits, now);
        allocation.prolong(wanted_lifetime(request), now);
        let id = AllocationId(self.next_allocation);
        self.next_allocation += 1;
        let participant = allocation.owner.participant.clone();
        *self.per_user.entry(participant).or_default() += 1;
        let source = rate::source(client.remote().ip());
        *self.per_source.entry(source).or_default() += 1;
        self.by_client.insert(client, id);
        self.allocations.insert(id, allocation);
        // Never dropped: the allocation would wait for its socket until it expires.
        self.outputs.push_back(Output::Open { allocation: id, ip });
        Ok(None)
    }

    /// The same request once more gets the same answer, since the first may be lost; another one is a
    /// mistake (RFC 8656 section 7.2).
    fn allocate_again(
        &self,
        id: AllocationId,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Option<Answer>, Refusal> {
        let allocation = self.allocations.get(&id).ok_or(code::ALLOCATION_MISMATCH)?;
        if allocation.request != request.head() {
            return Err(code::ALLOCATION_MISMATCH);
        }
        match allocation.relayed {
            Relayed::Opening => Ok(None),
            Relayed::At(relayed) => Ok(Some(allocated(allocation, relayed, now))),
        }
    }

    /// The socket is open: the client hears of it.
    pub(super) fn confirm_allocation(&mut self, id: AllocationId, now: Now) {
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        let Relayed::At(relayed) = allocation.relayed else {
            return;
        };
        let client = allocation.client;
        let bytes = allocated(allocation, relayed, now).signed(&allocation.owner.key);
        self.push(Output::ToClient { client, bytes });
    }

    /// No port is free.
    pub(super) fn refuse_allocation(&mut self, id: AllocationId) {
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        let client = allocation.client;
        let answer = Answer::error(allocation.request, code::INSUFFICIENT_CAPACITY);
        let bytes = answer.signed(&allocation.owner.key);
        self.figures.over_quota += 1;
        self.remove(id);
        self.push(Output::ToClient { client, bytes });
    }

    fn check_quota(&self, client: Client, owner: &Owner) -> Result<(), Refusal> {
        let limits = &self.limits;
        let all = u32::try_from(self.allocations.len()).unwrap_or(u32::MAX);
        if all >= limits.allocations {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        let of_user = self.per_user.get(&owner.participant).copied();
        let source = rate::source(client.remote().ip());
        let of_source = self.per_source.get(&source).copied();
        let is_over = of_user.unwrap_or(0) >= limits.allocations_per_user
            || of_source.unwrap_or(0) >= limits.allocations_per_ip;
        if is_over {
            return Err(code::ALLOCATION_QUOTA_REACHED);
        }
        Ok(())
    }

    fn refresh(
        &mut self,
        client: Client,
        request: &Request<'_>,
        owner: &Owner,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let (id, allocation) = self.owned(client, owner, now)?;
        check_attributes(request)?;
        if request
            .family
            .is_some_and(|family| family != allocation.family)
        {
            return Err(code::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        if request.lifetime == Some(0) {
            self.remove(id);
            return Ok(Answer::success(request.head()).lifetime(0));
        }
        let seconds = allocation.prolong(wanted_lifetime(request), now);
        Ok(Answer::success(request.head()).lifetime(seconds))
    }

    fn permit(
        &mut self,
        client: Client,
        request: &Request<'_>,
        owner: &Owner,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let mut peers = request.peers.iter();
        let is_allowed = peers.all(|peer| self.peers.permits(peer.ip()));
        let (_, allocation) = self.owned(client, owner, now)?;
        check_attributes(request)?;
        if request.peers.is_empty() {
            return Err(code::BAD_REQUEST);
        }
        let family = allocation.family;
        if request.peers.iter().any(|peer| Family::of(*peer) != family) {
            return Err(code::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        if !is_allowed {
            self.figures.denied += 1;
            return Err(code::FORBIDDEN);
        }
        allocation
            .permit(&request.peers, now.at)
            .map_err(bind_code)?;
        Ok(Answer::success(request.head()))
    }

    fn bind(
        &mut self,
        client: Client,
        request: &Request<'_>,
        owner: &Owner,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let first = request.peers.first().copied();
        let is_allowed = first.is_some_and(|peer| self.peers.allows(peer));
        let (_, allocation) = self.owned(client, owner, now)?;
        check_attributes(request)?;
        let (Some(peer), Some(number)) = (first, request.channel) else {
            return Err(code::BAD_REQUEST);
        };
        if Family::of(peer) != allocation.family {
            return Err(code::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        if !is_allowed {
            self.figures.denied += 1;
            return Err(code::FORBIDDEN);
        }
        allocation.bind(number, peer, now.at).map_err(bind_code)?;
        Ok(Answer::success(request.head()))
    }

    /// The client's allocation, if it is open and this user's.
    fn owned(
        &mut self,
        client: Client,
        owner: &Owner,
        now: Now,
    ) -> Result<(AllocationId, &mut Allocation), Refusal> {
        let id = self.by_client.get(&client).copied();
        let id = id.ok_or(code::ALLOCATION_MISMATCH)?;
        let allocation = self.allocations.get_mut(&id);
        let allocation = allocation.ok_or(code::ALLOCATION_MISMATCH)?;
        if allocation.expires <= now.at || matches!(allocation.relayed, Relayed::Opening) {
            return Err(code::ALLOCATION_MISMATCH);
        }
        if allocation.owner.username != owner.username {
            return Err(code::WRONG_CREDENTIALS);
        }
        Ok((id, allocation))
    }
}

/// Success of an Allocate request.
fn allocated(allocation: &Allocation, relayed: SocketAddr, now: Now) -> Answer {
    let left = allocation.expires.saturating_duration_since(now.at);
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
    let answer = Answer::success(allocation.request);
    answer
        .addresses(relayed, allocation.client.remote())
        .lifetime(seconds)
}

/// What must be understood before anything is done.
fn check_attributes(request: &Request<'_>) -> Result<(), Refusal> {
    if !request.unknown.is_empty() {
        return Err(code::UNKNOWN_ATTRIBUTE);
    }
    if request.is_malformed {
        return Err(code::BAD_REQUEST);
    }
    Ok(())
}

/// RFC 8656 section 7.2: not below the default, not above the maximum.
fn wanted_lifetime(request: &Request<'_>) -> Duration {
    let wanted = request.lifetime.map_or(LIFETIME_DEFAULT, |seconds| {
        Duration::from_secs(u64::from(seconds))
    });
    wanted.clamp(LIFETIME_DEFAULT, LIFETIME_MAX)
}

fn bind_code(error: BindError) -> Refusal {
    match error {
        BindError::Mismatch => code::BAD_REQUEST,
        BindError::Full => code::INSUFFICIENT_CAPACITY,
    }
}

fn refusal(request: &Request<'_>, code: Refusal) -> Answer {
    let answer = Answer::error(request.head(), code);
    match code {
        code::UNKNOWN_ATTRIBUTE => answer.unknown(&request.unknown),
        _ => answer,
    }
}
