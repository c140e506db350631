//! Real runs of a few seconds, against a shard and a node in this process.

use crate::world::World;
use loadtest::phases::Phase;
use loadtest::plan::{PlanSettings, Profile};
use loadtest::progress::Progress;
use loadtest::report::{Report, Verdict};
use loadtest::run::{Cause, Ended, Run, RunSettings, Stop};
use loadtest::slo::Slo;
use loadtest::witness::WitnessKind;
use std::path::Path;
use std::time::Duration;

/// Two rooms of three, who are all there after a second and a half.
fn settings(world: &World, profile: Profile, seconds: u64) -> RunSettings {
    let plan = PlanSettings {
        rooms: 2,
        people: 3,
        join_rate: 4.0,
        duration: Duration::from_secs(seconds),
        ..PlanSettings::new(profile)
    };
    RunSettings {
        synthetic: true,
        headers: world.headers(),
        // No metrics of whatever else runs on this machine.
        metrics: vec!["http://127.0.0.1:1/metrics".to_owned()],
        ..RunSettings::new(plan, world.url())
    }
}

/// Runs beside the world, to the end.
async fn run(settings: RunSettings, stop: Stop) -> Ended {
    let nowhere = Path::new("/nowhere");
    let run = Run::prepare(settings, nowhere).expect("a plan");
    let progress = Progress::plain(Box::new(std::io::sink()), run.joins(), Duration::ZERO);
    let running =
        tokio::task::spawn_blocking(move || run.go(&Slo::without_errors(), stop, progress));
    running.await.unwrap().expect("threads")
}

fn assert_clean(report: &Report) {
    assert_eq!(report.error_count, 0, "{:#?}", report.errors);
    assert_eq!(report.joins.failed, 0);
    // A busy machine may make the generator late: that is for it to say.
    let verdicts = [Verdict::Passed, Verdict::Invalid];
    assert!(verdicts.contains(&report.verdict), "{:?}", report.slo);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_is_measured_and_another_implementation_sees_the_same() {
    let world = World::start().await;
    let settings = RunSettings {
        webrtc: 1,
        ..settings(&world, Profile::Meeting, 7)
    };
    let Ended { report, cause } = run(settings, Stop::new()).await;
    assert_eq!(cause, None);
    assert_clean(&report);
    assert_eq!(report.joins.succeeded, 6);
    let phases: Vec<Phase> = report.joins.phases.iter().map(|row| row.phase).collect();
    assert_eq!(phases, Phase::ALL);
    // Each sees two others, and one more sees three.
    assert_eq!(report.media.streams, 6 * 2 * 2 + 3 * 2);
    let latency = report.media.latency.expect("stamps");
    assert!(
        latency.p50_ms > 0.0 && latency.p50_ms < 1000.0,
        "{latency:?}"
    );
    assert!(report.media.frames > 500, "{}", report.media.frames);
    let [witness] = report.witnesses.as_slice() else {
        panic!("{:?}", report.witnesses);
    };
    assert_eq!((witness.kind, &witness.error), (WitnessKind::Webrtc, &None));
    assert!(
        witness.frames > 50 && witness.first_frame_ms.is_some(),
        "{witness:?}"
    );
    assert_eq!(report.servers[0].cpu_cores, None);
    assert!(report.servers[0].failures > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_comes_back_and_mutes_are_no_freezes() {
    let world = World::start().await;
    let mut settings = settings(&world, Profile::Torture, 8);
    settings.plan.fault_every = Duration::from_millis(400);
    let Ended { report, .. } = run(settings, Stop::new()).await;
    assert_clean(&report);
    assert!(report.reconnects.count > 0, "{:?}", report.reconnects);
    assert!(report.reconnects.recovery.is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_has_a_report_of_what_was_until_then() {
    let world = World::start().await;
    let stop = Stop::new();
    let stopping = stop.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        stopping.cancel();
    });
    let settings = RunSettings {
        full_every: Some(2),
        ..settings(&world, Profile::Switch, 600)
    };
    let Ended { report, .. } = run(settings, stop).await;
    timer.await.unwrap();
    assert_clean(&report);
    assert!(report.run.interrupted);
    assert!(report.run.duration_s < 60.0, "{}", report.run.duration_s);
    assert!(
        report.media.packets_received > 500,
        "{}",
        report.media.packets_received
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_everybody_ends_the_run() {
    let world = World::start().await;
    let settings = RunSettings {
        api_secret: "wrong".to_owned(),
        ..settings(&world, Profile::Meeting, 600)
    };
    let Ended { report, cause } = run(settings, Stop::new()).await;
    let Some(Cause::NeverJoined(text)) = cause else {
        panic!("{cause:?}");
    };
    assert!(text.contains("401"), "{text}");
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(report.joins.failed >= 1 && report.joins.succeeded == 0);
    world.stop().await;
}
