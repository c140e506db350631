//! `anteroom token create`.

use crate::cli::TokenArgs;
use crate::commands::up::{DEV_API_KEY, DEV_API_SECRET};
use crate::{config, process};
use anyhow::Context as _;
use proto::token::{ApiKeys, Claims, VideoGrant};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Signs and prints a token.
pub(crate) fn create(args: TokenArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        !args.room.is_empty(),
        "--room is empty: name the room to join"
    );
    anyhow::ensure!(
        !args.identity.is_empty(),
        "--identity is empty: name the participant"
    );
    let now = process::unix_now_s();
    let lifetime_max = proto::token::LIFETIME_MAX_S;
    anyhow::ensure!(
        args.ttl <= lifetime_max,
        "--ttl is longer than {} h",
        lifetime_max / 3_600
    );
    let (key, keys) = signing_key(&args)?;
    let claims = Claims {
        iss: key,
        sub: args.identity,
        name: args.name.unwrap_or_default(),
        nbf: now,
        exp: now.saturating_add(args.ttl),
        video: VideoGrant {
            room: args.room,
            room_join: true,
            can_publish: args.no_publish.then_some(false),
            hidden: args.hidden,
            ..VideoGrant::default()
        },
        ..Claims::default()
    };
    println!("{}", keys.mint(&claims)?);
    Ok(ExitCode::SUCCESS)
}

fn signing_key(args: &TokenArgs) -> anyhow::Result<(String, ApiKeys)> {
    if let Some(path) = &args.config {
        let keys = config::load(path)?.api_keys()?;
        let first = keys
            .names()
            .next()
            .context("the file has no API keys")?
            .to_owned();
        return Ok((first, keys));
    }
    let key = args
        .api_key
        .clone()
        .unwrap_or_else(|| DEV_API_KEY.to_owned());
    let secret = args
        .api_secret
        .clone()
        .unwrap_or_else(|| DEV_API_SECRET.to_owned());
    let keys = ApiKeys::new(BTreeMap::from([(key.clone(), secret)]))?;
    Ok((key, keys))
}
