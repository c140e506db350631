//! `anteroom shards`: which there are, and emptying one.

mod client;
mod text;

use crate::cli::{AdminArgs, DrainArgs, ShardsCommand, UndrainArgs};
use crate::process;
use anyhow::Context as _;
use client::{AdminClient, ShardEntry};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// How often a shard is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A shard that says for so many looks that it has no rooms is empty: a room that was opened a moment
/// ago is counted with its next renewal.
const EMPTY_LOOKS: u32 = 3;

/// Asks the gateway and prints what it says.
pub(crate) fn run(command: &ShardsCommand) -> anyhow::Result<ExitCode> {
    process::runtime()?.block_on(async {
        match command {
            ShardsCommand::Ls(args) => list(args).await,
            ShardsCommand::Drain(args) => drain(args).await,
            ShardsCommand::Undrain(args) => undrain(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let client = AdminClient::new(&args.admin);
    if args.json {
        println!("{}", client.list().await?);
        return Ok(());
    }
    let (shards, differs) = client.shards().await?;
    print!("{}", text::table(&shards, now_ms()));
    if let Some(differs) = differs {
        eprintln!("warning: another gateway has announced other shards than this one: {differs}");
    }
    Ok(())
}

async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let client = AdminClient::new(&args.admin.admin);
    let body = match args.deadline {
        Some(seconds) => serde_json::json!({ "deadline_s": seconds }).to_string(),
        None => String::new(),
    };
    let shard = client.order(&args.id, "drain", body).await?;
    if !args.admin.json {
        print!("{}", text::outlook(&entry(shard.clone())?, now_ms()));
    }
    let shard = if args.wait {
        wait_until_empty(&client, &args.id, args.admin.json).await?
    } else {
        shard
    };
    if args.admin.json {
        println!("{shard}");
    }
    Ok(())
}

async fn undrain(args: &UndrainArgs) -> anyhow::Result<()> {
    let client = AdminClient::new(&args.admin.admin);
    let shard = client.order(&args.id, "undrain", String::new()).await?;
    if args.admin.json {
        println!("{shard}");
    } else {
        let shard = entry(shard)?;
        println!("{} is {} and takes new rooms.", shard.id, shard.state);
    }
    Ok(())
}

/// Looks until the shard has no rooms or is gone, and says how it goes on. Returns its last state.
async fn wait_until_empty(client: &AdminClient, id: &str, quiet: bool) -> anyhow::Result<Value> {
    let mut told = None;
    let mut empty = 0;
    loop {
        let list = client.list().await?;
        let shards = list["shards"].as_array().into_iter().flatten();
        let found = shards.into_iter().find(|shard| shard["id"] == id).cloned();
        let Some(found) = found else {
            if !quiet {
                println!("{id} is not in the gateway's list any more.");
            }
            return Ok(Value::Null);
        };
        let shard = entry(found.clone())?;
        if shard.state == "active" {
            anyhow::bail!("somebody has taken the order back: {id} is active again");
        }
        if !quiet && told != Some(shard.rooms) {
            println!("{id}: {} rooms left", shard.rooms);
            told = Some(shard.rooms);
        }
        empty = if shard.rooms == 0 { empty + 1 } else { 0 };
        if empty >= EMPTY_LOOKS || !shard.lease.alive {
            if !quiet {
                println!("{id} is empty.");
            }
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn entry(shard: Value) -> anyhow::Result<ShardEntry> {
    serde_json::from_value(shard).context("the gateway is of another version")
}

fn now_ms() -> u64 {
    process::unix_now_s().saturating_mul(1_000)
}
