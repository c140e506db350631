//! What the estimate does on links that are like real ones.

use crate::link::{Conditions, Jitter};
use crate::sender::{AUDIO, LAYERS};
use crate::world::World;

const SEEDS: std::ops::Range<u64> = 1..9;
const TOP: Option<usize> = Some(2);

/// The worst of all seeds, where more is worse.
fn worst(seen: impl Iterator<Item = f64>) -> f64 {
    seen.fold(0.0, |worst, one| {
        if one > worst || one.is_nan() {
            one
        } else {
            worst
        }
    })
}

/// The least of all seeds.
fn least(seen: impl Iterator<Item = f64>) -> f64 {
    seen.fold(f64::INFINITY, f64::min)
}

/// Runs a story with each seed.
fn tell(name: &str, kbps: f64, story: impl Fn(&mut World)) -> Vec<World> {
    let tell = |seed| {
        let mut world = World::new(Conditions::of(kbps), seed);
        story(&mut world);
        world.show(name);
        world
    };
    SEEDS.map(tell).collect()
}

#[test]
fn a_wide_link_is_found_within_seconds() {
    let worlds = tell("5 Mbit/s", 5000.0, |world| world.run(30.0));
    let time = worst(
        worlds
            .iter()
            .map(|world| world.until(0.0, |s| s.estimate > 2100.0)),
    );
    let low = least(worlds.iter().map(|world| world.range(5.0, 30.0).0));
    let padding = worst(worlds.iter().map(World::padding));
    println!(
        "5 Mbit/s: over 2.1 Mbit/s after {time:.1} s, then never below {low:.0} kbit/s, padding {:.2} %",
        padding * 100.0
    );
    assert!(time <= 5.0);
    assert!(low > 2100.0);
    assert!(padding < 0.02);
}

#[test]
fn a_narrow_link_is_found_and_kept_without_a_queue() {
    let worlds = tell("500 kbit/s", 500.0, |world| world.run(120.0));
    let low = least(worlds.iter().map(|world| world.range(5.0, 120.0).0));
    let high = worst(worlds.iter().map(|world| world.range(5.0, 120.0).1));
    let wait = worst(worlds.iter().map(|world| world.wait_p95(5.0, 120.0)));
    let switches = worst(worlds.iter().map(|world| world.switches(5.0, 120.0) as f64));
    let padding = worst(worlds.iter().map(World::padding));
    println!(
        "500 kbit/s: {low:.0}..{high:.0} kbit/s, queue p95 {wait:.0} ms, {switches} switches in 115 s, padding {:.1} %",
        padding * 100.0
    );
    assert!(low >= 350.0 && high <= 520.0);
    assert!(wait < 250.0);
    assert!(switches <= 4.0);
    assert!(padding < 0.1);
}

#[test]
fn a_link_that_gets_narrow_is_left_at_once_and_used_again_when_it_is_wide() {
    // Probes become rare with time: the worst is a rise right after one.
    let fall = 15.0;
    let rise = |world: &World| fall + 12.0 + world.seed as f64;
    let worlds = tell("3 Mbit/s, 500 kbit/s, 3 Mbit/s", 3000.0, |world| {
        world.run(fall);
        world.link.conditions.kbps = 500.0;
        world.run(rise(world) - fall);
        world.link.conditions.kbps = 3000.0;
        world.run(25.0);
    });
    let slow = |s: &crate::world::Sample| s.sent < 550.0;
    let quick = worst(worlds.iter().map(|world| world.until(fall, slow)));
    let estimate = worst(
        worlds
            .iter()
            .map(|world| world.until(fall, |s| s.estimate < 550.0)),
    );
    let again = worlds.iter().map(|world| {
        world
            .between(fall + 1.5, rise(world))
            .filter(|s| s.sent > 800.0)
            .count()
    });
    let again = worst(again.map(|count| count as f64));
    let wait = worst(
        worlds
            .iter()
            .map(|world| world.wait_p95(fall + 3.0, rise(world))),
    );
    let back = worst(
        worlds
            .iter()
            .map(|world| world.until(rise(world), |s| s.layer == TOP)),
    );
    println!(
        "3 -> 0.5 Mbit/s: sent below 550 after {quick:.1} s, estimate after {estimate:.1} s, queue p95 {wait:.0} ms later; -> 3 Mbit/s: top layer after {back:.1} s"
    );
    assert!(quick <= 1.5 && estimate <= 1.5);
    assert!(again <= 2.0, "it stays there");
    assert!(wait < 250.0);
    assert!(back <= 10.0);
}

fn rough(name: &str, jitter: Jitter, loss: f64) -> (f64, f64) {
    let worlds = tell(name, 3000.0, |world| {
        world.run(10.0);
        world.link.conditions.jitter = jitter;
        world.link.conditions.loss = loss;
        world.link.conditions.feedback_loss = loss;
        world.run(60.0);
    });
    let low = least(worlds.iter().map(|world| world.range(10.0, 70.0).0));
    let switches = worst(worlds.iter().map(|world| world.switches(10.0, 70.0) as f64));
    println!("3 Mbit/s, {name}: never below {low:.0} kbit/s, {switches} switches");
    (low, switches)
}

#[test]
fn loss_and_jitter_alone_do_not_lower_it() {
    let mut bad = false;
    for (name, jitter, loss) in [
        ("5 % loss", Jitter::None, 0.05),
        ("jitter 100 ms in order", Jitter::Ordered(100.0), 0.0),
        ("jitter 100 ms, overtaking", Jitter::Unordered(100.0), 0.0),
        (
            "5 % loss, jitter 100 ms in order",
            Jitter::Ordered(100.0),
            0.05,
        ),
        (
            "5 % loss, jitter 100 ms, overtaking",
            Jitter::Unordered(100.0),
            0.05,
        ),
        ("5 % loss, pauses up to 100 ms", Jitter::Pauses(100.0), 0.05),
    ] {
        let (low, switches) = rough(name, jitter, loss);
        bad |= low < 1900.0 || switches > 0.0;
    }
    assert!(!bad);
}

#[test]
fn a_rough_link_is_found_too() {
    for jitter in [Jitter::Ordered(100.0), Jitter::Pauses(100.0)] {
        let worlds = tell("rough from the start", 3000.0, |world| {
            world.link.conditions.jitter = jitter;
            world.link.conditions.loss = 0.05;
            world.run(90.0);
        });
        let time = worst(
            worlds
                .iter()
                .map(|world| world.until(0.0, |s| s.layer == TOP)),
        );
        println!("3 Mbit/s, 5 % loss, {jitter:?} from the start: top layer after {time:.1} s");
        assert!(time < 60.0);
    }
}

#[test]
fn heavy_loss_lowers_it() {
    let worlds = tell("30 % loss", 3000.0, |world| {
        world.run(10.0);
        world.link.conditions.loss = 0.3;
        world.run(30.0);
    });
    let time = worst(
        worlds
            .iter()
            .map(|world| world.until(10.0, |s| s.estimate < 600.0)),
    );
    let high = worst(worlds.iter().map(|world| world.range(30.0, 40.0).1));
    println!("30 % loss: below 600 kbit/s after {time:.1} s, after 20 s below {high:.0} kbit/s");
    assert!(time < 5.0);
    assert!(high < 600.0);
}

#[test]
fn without_feedback_it_goes_down_and_comes_back() {
    let worlds = tell("silence", 3000.0, |world| {
        world.run(10.0);
        world.silent = true;
        world.run(8.0);
        world.silent = false;
        world.run(20.0);
    });
    let time = worst(
        worlds
            .iter()
            .map(|world| world.until(10.0, |s| s.estimate < 500.0)),
    );
    let end = worst(worlds.iter().map(|world| world.range(17.5, 18.0).1));
    let back = worst(
        worlds
            .iter()
            .map(|world| world.until(18.0, |s| s.layer == TOP)),
    );
    println!(
        "8 s without feedback: below 500 kbit/s after {time:.1} s, {end:.0} kbit/s at the end; top layer again after {back:.1} s"
    );
    assert!(time < 6.0);
    assert!(end <= 60.0);
    assert!(back < 15.0);
}

#[test]
fn an_outage_of_a_second_is_survived() {
    let worlds = tell("outage", 3000.0, |world| {
        world.run(10.0);
        world.link.conditions.loss = 1.0;
        world.run(1.0);
        world.link.conditions.loss = 0.0;
        world.run(19.0);
    });
    let low = least(worlds.iter().map(|world| world.range(10.0, 30.0).0));
    let back = worst(
        worlds
            .iter()
            .map(|world| world.until(13.0, |s| s.layer == TOP) + 2.0),
    );
    println!("1 s without any packet: down to {low:.0} kbit/s, top layer after {back:.1} s");
    assert!(back < 10.0);
}

#[test]
fn numbers_wrap_twice_unnoticed() {
    let mut world = World::new(Conditions::of(5000.0), 1);
    while world.packets < 2 * 65_536 + 5000 {
        world.run(10.0);
    }
    let end = world.seconds();
    let (low, high) = world.range(5.0, end);
    println!(
        "{} packets in {end:.0} s: {low:.0}..{high:.0} kbit/s, {} switches",
        world.packets,
        world.switches(5.0, end)
    );
    assert!(low > 2000.0);
    assert_eq!(world.switches(5.0, end), 0);
}

#[test]
fn a_link_that_lets_bursts_pass_makes_it_flap_ever_more_rarely() {
    let worlds = tell("bucket", 700.0, |world| {
        world.link.conditions.bucket = 20_000.0;
        world.run(120.0);
    });
    let switches = worst(worlds.iter().map(|world| world.switches(5.0, 120.0) as f64));
    let wait = worst(worlds.iter().map(|world| world.wait_p95(5.0, 120.0)));
    println!(
        "700 kbit/s with a bucket of 20 kB: {switches} switches in 115 s, queue p95 {wait:.0} ms"
    );
    assert!(switches <= 24.0);
}

#[test]
fn audio_alone_keeps_its_estimate() {
    let worlds = tell("audio", 300.0, |world| {
        world.sender.media = false;
        world.link.conditions.jitter = Jitter::Ordered(60.0);
        world.run(60.0);
    });
    let low = least(worlds.iter().map(|world| world.range(5.0, 60.0).0));
    let padding = worst(worlds.iter().map(World::padding));
    println!(
        "audio alone, 300 kbit/s: never below {low:.0} kbit/s, padding {:.1} %",
        padding * 100.0
    );
    assert!(low > LAYERS[0] + AUDIO);
    assert!(padding < 0.25);
}
