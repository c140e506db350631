//! Plans are sound, whatever they are made of.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The first rule that a plan breaks.
fn fault(settings: &PlanSettings, steps: &[Step]) -> Option<String> {
    let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut muted: BTreeSet<(&str, bool)> = BTreeSet::new();
    let mut ever = BTreeSet::new();
    let mut last = Duration::ZERO;
    for step in steps {
        if step.at < last || step.at > settings.duration {
            return Some(format!("out of time: {step:?}"));
        }
        last = step.at;
        let room = rooms.entry(&step.room).or_default();
        let who = &*step.identity;
        let fits = match &step.action {
            Action::Join { .. } => ever.insert(who) && room.insert(who),
            Action::Leave | Action::Vanish => room.remove(who),
            Action::CutConnection => room.contains(who),
            Action::Focus(other) => {
                room.contains(who) && room.contains(&**other) && **other != *who
            }
            Action::Mute(kind) => room.contains(who) && muted.insert((who, *kind == Kind::Audio)),
            Action::Unmute(kind) => {
                room.contains(who) && muted.remove(&(who, *kind == Kind::Audio))
            }
        };
        if !fits || room.len() > settings.people {
            return Some(format!("cannot be: {step:?}"));
        }
    }
    let left = rooms.values().all(BTreeSet::is_empty) && rooms.len() == settings.rooms;
    (!left).then(|| "somebody stays or a room is never used".to_owned())
}

fn count(steps: &[Step], what: impl Fn(&Action) -> bool) -> usize {
    steps.iter().filter(|step| what(&step.action)).count()
}

fn joins(steps: &[Step]) -> usize {
    count(steps, |action| matches!(action, Action::Join { .. }))
}

#[test]
fn a_meeting_joins_at_its_rate_and_all_publish_until_the_end() {
    let settings = PlanSettings {
        rooms: 20,
        ..PlanSettings::new(Profile::Meeting)
    };
    let steps = settings.plan().unwrap();
    assert_eq!(fault(&settings, &steps), None);
    assert_eq!(
        count(&steps, |action| *action == Action::Join { publish: true }),
        80
    );
    assert_eq!(steps[79].at, Duration::from_millis(7900));
    assert_eq!(
        (&*steps[0].room, &*steps[0].identity),
        ("loadtest-1", "loadtest-1-p1")
    );
    assert!(steps[80..].iter().all(|step| step.at == settings.duration));
    assert_eq!(steps.len(), 160);
}

#[test]
fn in_a_webinar_few_publish() {
    let settings = PlanSettings {
        people: 100,
        publishers: 2,
        ..PlanSettings::new(Profile::Webinar)
    };
    let steps = settings.plan().unwrap();
    assert_eq!(
        count(&steps, |action| *action == Action::Join { publish: true }),
        2
    );
    assert_eq!(joins(&steps), 100);
}

#[test]
fn churn_keeps_its_rate_and_the_rooms_full() {
    let settings = PlanSettings {
        rooms: 3,
        churn_rate: 2.0,
        ..PlanSettings::new(Profile::Churn)
    };
    let steps = settings.plan().unwrap();
    assert_eq!(fault(&settings, &steps), None);
    // From 1.2 s to 58 s, two a second.
    assert_eq!(joins(&steps), 12 + 114);
}

#[test]
fn one_speaks_at_a_time_and_all_others_look() {
    let settings = PlanSettings {
        rooms: 2,
        people: 5,
        ..PlanSettings::new(Profile::Switch)
    };
    let steps = settings.plan().unwrap();
    assert_eq!(fault(&settings, &steps), None);
    let changes = count(&steps, |action| *action == Action::Unmute(Kind::Audio));
    assert_eq!(changes, 2 * 19, "every 3 s from 1 s to 58 s in two rooms");
    assert_eq!(
        count(&steps, |action| matches!(action, Action::Focus(_))),
        changes * 4
    );
}

#[test]
fn torture_has_all_kinds_of_faults() {
    let settings = PlanSettings {
        rooms: 3,
        fault_every: Duration::from_millis(200),
        ..PlanSettings::new(Profile::Torture)
    };
    let steps = settings.plan().unwrap();
    assert_eq!(fault(&settings, &steps), None);
    let kinds: BTreeSet<String> = steps
        .iter()
        .map(|step| {
            format!("{:?}", step.action)
                .split('(')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let expected = [
        "CutConnection",
        "Focus",
        "Join { publish: true }",
        "Leave",
        "Mute",
        "Unmute",
        "Vanish",
    ];
    assert_eq!(
        kinds.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn what_cannot_be_planned_is_refused_with_its_cause() {
    let refused = |change: fn(&mut PlanSettings)| {
        let mut settings = PlanSettings::new(Profile::Webinar);
        change(&mut settings);
        settings.plan().unwrap_err().to_string()
    };
    assert!(refused(|settings| settings.rooms = 0).contains("1 room"));
    assert!(refused(|settings| settings.rooms = 20_000).contains("80000 participants"));
    assert!(refused(|settings| settings.publishers = 5).contains("1 to 4 publishers, not 5"));
    assert!(refused(|settings| settings.join_rate = f64::NAN).contains("join rate"));
    assert!(refused(|settings| settings.join_rate = 0.01).contains("400 s"));
    assert!(refused(|settings| settings.speak = Duration::ZERO).contains("above 0"));
    let mut many = PlanSettings::new(Profile::Torture);
    many.fault_every = Duration::from_nanos(1);
    assert!(many.plan().unwrap_err().to_string().contains("steps"));
}

fn any_settings() -> impl Strategy<Value = PlanSettings> {
    let numbers = (0_usize..5, 1_usize..6, 1_usize..8, 10_u64..60, any::<u64>());
    let rates = (2.0_f64..50.0, 0.1_f64..10.0, 200_u64..5000, 50_u64..3000);
    (numbers, rates).prop_map(|(numbers, rates)| {
        let (profile, rooms, people, seconds, seed) = numbers;
        let (join_rate, churn_rate, speak, fault_every) = rates;
        PlanSettings {
            rooms,
            people,
            duration: Duration::from_secs(seconds + 30),
            join_rate,
            churn_rate,
            speak: Duration::from_millis(speak),
            fault_every: Duration::from_millis(fault_every),
            seed,
            ..PlanSettings::new(Profile::ALL[profile])
        }
    })
}

proptest! {
    #[test]
    fn every_plan_is_sound_and_known_by_its_seed(settings in any_settings()) {
        let steps = settings.plan().unwrap();
        prop_assert_eq!(fault(&settings, &steps), None);
        prop_assert_eq!(settings.plan().unwrap(), steps);
    }

    #[test]
    fn at_the_start_no_more_join_than_the_rate_allows(settings in any_settings()) {
        let ramp = settings.ramp();
        let steps = settings.plan().unwrap();
        let early: Vec<Duration> = steps
            .iter()
            .filter(|step| step.at < ramp && matches!(step.action, Action::Join { .. }))
            .map(|step| step.at)
            .collect();
        for window in early.windows(2) {
            let apart = (window[1] - window[0]).as_secs_f64();
            prop_assert!((apart - 1.0 / settings.join_rate).abs() < 1e-6);
        }
        prop_assert!(early.len() >= settings.rooms * settings.people - 1);
    }
}
