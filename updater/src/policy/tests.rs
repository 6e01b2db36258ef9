//! The policy, one rule at a time.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{PRODUCT, Person, Repository};
use crate::generation::Launch;
use countersign_metadata::PublicKey;

const NODE: [(&str, &str); 1] = [("bin/node*", "x")];

fn config(more: &str) -> Config {
    let text = format!("product = \"{PRODUCT}\"\nrepositories = [\"file:///r\"]\n{more}");
    Config::from_text(&text, "n.toml".into()).unwrap()
}

fn running(version: &str, areas: &[(&str, u32)], protocol: Option<(u32, u32)>) -> Generation {
    let node = serde_json::from_value(json!({ "command": ["bin/node"] })).unwrap();
    Generation {
        number: 1,
        product: PRODUCT.parse().unwrap(),
        version: version.parse().unwrap(),
        binary: Sha256::of(b"running"),
        state: 1,
        areas: areas.iter().map(|(area, schema)| (area.parse().unwrap(), *schema)).collect(),
        held: BTreeMap::new(),
        protocol,
        launch: Launch::new(&node, &BTreeMap::new()),
    }
}

/// Decides about releases (version and further fields) with 1.0.0 running.
fn decide(config: &Config, releases: &[(&str, Value)]) -> Choice {
    let mut repository = Repository::new();
    for (version, more) in releases {
        repository.add(version, &[("bin/node*", version)], more.clone());
    }
    repository.publish(2);
    let running = running("1.0.0", &[("values", 1)], Some((1, 2)));
    let (known_bad, reproduced) = (BTreeMap::new(), BTreeMap::new());
    let facts = Facts {
        running: Some(&running),
        known_bad: &known_bad,
        reproduced: &reproduced,
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    choose(config, &repository.releases(), facts)
}

fn refusals(more: &str, release: (&str, Value)) -> Vec<Reason> {
    let choice = decide(&config(more), &[release]);
    match &choice.decisions[0].verdict {
        Verdict::Refused(reasons) => reasons.clone(),
        _ => Vec::new(),
    }
}

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

#[test]
fn the_newest_is_taken_and_every_other_has_its_reason() {
    let none = json!({});
    let releases = [("0.9.0", &none), ("1.0.0", &none), ("1.2.0", &none), ("1.10.0", &none)];
    let releases: Vec<_> = releases.iter().map(|(v, more)| (*v, (*more).clone())).collect();
    let choice = decide(&config(""), &releases);
    assert_eq!(choice.approved.unwrap().release().version, v("1.10.0"));
    let verdicts: Vec<_> = choice.decisions.iter().map(|d| d.verdict.clone()).collect();
    let old = || Verdict::Refused(vec![Reason::NotNewer { running: v("1.0.0") }]);
    assert_eq!(verdicts, [Verdict::Chosen, Verdict::Eligible, old(), old()]);
}

#[test]
fn each_rule_refuses_by_its_name() {
    let area = |migrate: Value| json!({ "node": { "command": ["bin/n"], "areas": { "values": migrate } } });
    for (more, release, wanted) in [
        (
            "",
            ("2.0.0", json!({ "platform": "plan9-vax" })),
            Some(Reason::OtherPlatform { platform: "plan9-vax".parse().unwrap() }),
        ),
        ("", ("2.0.0", json!({ "node": null })), Some(Reason::NotANode)),
        ("", ("2.0.0-rc.1", json!({})), Some(Reason::Prerelease)),
        ("[policy]\nallow-prerelease = true", ("2.0.0-rc.1", json!({})), None),
        ("[policy]\nskip = [\"2.0.0\"]", ("2.0.0", json!({})), Some(Reason::Skipped)),
        (
            "",
            ("2.0.0", json!({ "follows": "1.0.1" })),
            Some(Reason::Barrier { follows: v("1.0.1"), running: v("1.0.0") }),
        ),
        ("", ("2.0.0", json!({ "follows": "1.0.0" })), None),
        (
            "",
            ("2.0.0", area(json!({ "schema": 2 }))),
            Some(Reason::NoMigration { area: "values".parse().unwrap(), from: 1, to: 2 }),
        ),
        ("", ("2.0.0", area(json!({ "schema": 2, "migrate": ["bin/n"] }))), None),
        ("", ("2.0.0", area(json!({ "schema": 1 }))), None),
        (
            "[listen]\nhttp = \"127.0.0.1:1\"",
            (
                "2.0.0",
                json!({ "node": { "command": ["bin/n"], "listen": { "web": "0.0.0.0:80" } } }),
            ),
            Some(Reason::NoSocket { name: "http".to_owned() }),
        ),
        ("", ("2.0.0", json!({ "protocol": [2, 3] })), None),
        (
            "",
            ("2.0.0", json!({ "protocol": [3, 3] })),
            Some(Reason::ProtocolGone { running: 2, oldest: 3, newest: 3 }),
        ),
        (
            "",
            ("2.0.0", json!({ "protocol": [1, 1] })),
            Some(Reason::ProtocolGone { running: 2, oldest: 1, newest: 1 }),
        ),
        (
            "",
            ("2.0.0", json!({ "protocol": [2, 4] })),
            Some(Reason::ProtocolTooFar { running: 2, newest: 4 }),
        ),
        (
            "[policy]\nreproducers = 1",
            ("2.0.0", json!({})),
            Some(Reason::NotReproduced { found: 0, needed: 1, counting: 2 }),
        ),
        ("[policy]\npin = \"2.*\"", ("2.0.0", json!({})), None),
        (
            "[policy]\npin = \"1.*\"",
            ("2.0.0", json!({})),
            Some(Reason::NotPinned { pin: "1.*".to_owned() }),
        ),
        ("[policy]\nurgency = \"normal\"", ("2.0.0", json!({})), None),
        (
            "[policy]\nurgency = \"urgent\"",
            ("2.0.0", json!({})),
            Some(Reason::NotUrgent { urgency: Urgency::Normal, wanted: Urgency::Urgent }),
        ),
        (
            "[policy]\nmin-age = \"3d\"",
            ("2.0.0", json!({})),
            Some(Reason::TooYoung { known: "0 s".to_owned(), wanted: "3 d 0 h".to_owned() }),
        ),
    ] {
        let found = refusals(more, release.clone());
        assert_eq!(found, Vec::from_iter(wanted), "{more} {release:?}");
        assert!(found.iter().all(|reason| !reason.to_string().is_empty()));
    }
}

#[test]
fn what_a_release_revokes_is_left_and_never_taken() {
    let releases = [("1.1.0", json!({})), ("1.2.0", json!({ "revokes": ["1.1.0", "1.0.0"] }))];
    let choice = decide(&config("[policy]\nskip = [\"1.2.0\"]"), &releases);
    assert!(choice.approved.is_none());
    assert!(choice.running_revoked);
    let revoked = Verdict::Refused(vec![Reason::Revoked]);
    assert_eq!(choice.decisions[1].verdict, revoked);
}

#[test]
fn a_release_of_a_newer_format_is_refused_alone() {
    let mut repository = Repository::new();
    repository.add("1.1.0", &NODE, json!({}));
    repository.add("1.2.0", &NODE, json!({ "format": 2 }));
    repository.publish(2);
    let running = running("1.0.0", &[], None);
    let empty = BTreeMap::new();
    let none = BTreeMap::new();
    let facts = Facts {
        running: Some(&running),
        known_bad: &empty,
        reproduced: &none,
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = choose(&config(""), &repository.releases(), facts);
    assert_eq!(choice.approved.unwrap().release().version, v("1.1.0"));
    let Verdict::Refused(reasons) = &choice.decisions[1].verdict else { panic!() };
    assert!(reasons[0].to_string().contains("format 2 is newer"), "{}", reasons[0]);
}

#[test]
fn known_bad_and_not_asked_for_are_refused_and_approve_agrees_with_choose() {
    let mut repository = Repository::new();
    let bad = repository.add("2.0.0", &[("bin/node*", "bad")], json!({})).artifact.sha256;
    let good = repository.add("1.1.0", &[("bin/node*", "good")], json!({})).artifact.sha256;
    repository.publish(2);
    let releases = repository.releases();
    let running = running("1.0.0", &[], None);
    let known_bad = BTreeMap::from([(bad, "it crashed".to_owned())]);
    let facts = Facts {
        running: Some(&running),
        known_bad: &known_bad,
        reproduced: &BTreeMap::new(),
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = choose(&config(""), &releases, facts);
    assert_eq!(choice.approved.unwrap().release().artifact.sha256, good);
    assert!(approve(&config(""), &releases, facts, &good).is_ok());
    let decision = approve(&config(""), &releases, facts, &bad).unwrap_err().unwrap();
    let why = Reason::KnownBad { why: "it crashed".to_owned() };
    assert_eq!(decision.verdict, Verdict::Refused(vec![why]));
    assert!(approve(&config(""), &releases, facts, &Sha256::of(b"other")).unwrap_err().is_none());
    let other = v("3.0.0");
    let choice = choose(&config(""), &releases, Facts { only: Some(&other), ..facts });
    assert!(choice.approved.is_none());
}

#[test]
fn strangers_keys_do_not_count_as_rebuilders() {
    let mut repository = Repository::new();
    let artifact = repository.add("2.0.0", &NODE, json!({})).artifact.sha256;
    repository.publish(2);
    let releases = repository.releases();
    let (alice, stranger) = (Person::new(2, "alice").key, Person::new(9, "stranger").key);
    let reproduced = BTreeMap::from([(
        artifact,
        Reproduced { by: BTreeSet::from([alice.into(), stranger.into()]), ..Reproduced::default() },
    )]);
    let facts = Facts {
        running: None,
        known_bad: &BTreeMap::new(),
        reproduced: &reproduced,
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let two = config("[policy]\nreproducers = 2");
    assert!(choose(&two, &releases, facts).approved.is_none());
    let listed = config(&format!("[policy]\nreproducers = 2\nrebuilders = [\"{stranger}\"]"));
    assert!(choose(&listed, &releases, facts).approved.is_some());
}

#[test]
fn a_policy_may_ask_that_signatures_rest_on_rebuilds() {
    let mut repository = Repository::new();
    let artifact = repository.add("2.0.0", &NODE, json!({})).artifact.sha256;
    repository.publish(2);
    let releases = repository.releases();
    let alice = Person::new(2, "alice").key;
    let taken = |policy: &str, keyholders: &[PublicKey]| {
        let by = BTreeSet::from([alice.into(), Person::new(9, "stranger").key.into()]);
        let keyholders = keyholders.iter().copied().collect();
        let reproduced = BTreeMap::from([(artifact, Reproduced { by, keyholders })]);
        let known_bad = BTreeMap::new();
        let facts = Facts {
            running: None,
            known_bad: &known_bad,
            reproduced: &reproduced,
            ages: &BTreeMap::new(),
            held: &BTreeMap::new(),
            only: None,
        };
        let choice = choose(&config(&format!("[policy]\nrebuilt = {policy}")), &releases, facts);
        let why = match &choice.decisions[0].verdict {
            Verdict::Refused(reasons) => reasons[0].to_string(),
            _ => String::new(),
        };
        (choice.approved.is_some(), why)
    };
    assert!(taken("false", &[]).0 && taken("0", &[]).0 && taken("1", &[alice]).0);
    let (is_taken, why) = taken("true", &[alice]);
    assert!(!is_taken, "the threshold is 2");
    assert_eq!(why, "1 of the 2 signatures that must rest on a rebuild do (policy.rebuilt)");
    assert!(taken("true", &[alice, Person::new(3, "bob").key]).0);
    assert!(!taken("3", &[alice, Person::new(3, "bob").key]).0);
}

/// Decides with facts of its own about a repository that was changed after these versions were added to it.
fn with(
    more: &str,
    versions: &[(&str, Value)],
    change: impl FnOnce(&mut Repository),
    decide: impl FnOnce(&Config, &Releases, Facts<'_>),
) {
    let mut repository = Repository::new();
    for (version, more) in versions {
        repository.add(version, &[("bin/node*", version)], more.clone());
    }
    change(&mut repository);
    repository.publish(2);
    let facts = Facts {
        running: Some(&running("1.0.0", &[], None)),
        known_bad: &BTreeMap::new(),
        reproduced: &BTreeMap::new(),
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    decide(&config(more), &repository.releases(), facts);
}

fn chosen(config: &Config, releases: &Releases, facts: Facts<'_>) -> Option<String> {
    let approved = choose(config, releases, facts).approved;
    approved.map(|approved| approved.release().version.to_string())
}

#[test]
fn a_release_is_old_enough_once_this_node_has_known_it_for_so_long() {
    with(
        "[policy]\nmin-age = \"3d\"",
        &[("2.0.0", json!({}))],
        |_| {},
        |config, releases, facts| {
            let artifact = releases.verified[0].release().artifact.sha256;
            for (hours, taken) in [(71, None), (72, Some("2.0.0".to_owned()))] {
                let ages = BTreeMap::from([(artifact, Duration::from_hours(hours))]);
                assert_eq!(chosen(config, releases, Facts { ages: &ages, ..facts }), taken);
            }
            // Whoever installs a node has chosen already.
            assert!(chosen(config, releases, Facts { running: None, ..facts }).is_some());
        },
    );
}

#[test]
fn barriers_are_passed_one_after_the_other() {
    let follows = |version: &str| json!({ "follows": version });
    let versions = [
        ("2.0.0", follows("1.0.0")),
        ("3.0.0", follows("2.0.0")),
        ("3.1.0", follows("2.0.0")),
        ("4.0.0", follows("3.1.0")),
    ];
    with(
        "",
        &versions,
        |_| {},
        |config, releases, facts| {
            let mut at = "1.0.0".to_owned();
            let mut way = Vec::new();
            while let Some(next) = {
                let running = running(&at, &[], None);
                chosen(config, releases, Facts { running: Some(&running), ..facts })
            } {
                way.push(next.clone());
                at = next;
            }
            assert_eq!(way, ["2.0.0", "3.1.0", "4.0.0"]);
        },
    );
}

#[test]
fn what_is_cancelled_or_held_is_not_taken_and_an_older_one_is() {
    let versions = [("1.1.0", json!({})), ("1.2.0", json!({})), ("1.3.0", json!({}))];
    let cancel = |repository: &mut Repository| {
        let said = json!({ "cancelled": "it leaks" });
        repository.rollouts.insert("1.3.0".to_owned(), said);
    };
    with("", &versions, cancel, |config, releases, facts| {
        assert_eq!(chosen(config, releases, facts).as_deref(), Some("1.2.0"));
        let held = BTreeMap::from([(v("1.2.0"), "the operator holds it".to_owned())]);
        let facts = Facts { held: &held, ..facts };
        assert_eq!(chosen(config, releases, facts).as_deref(), Some("1.1.0"));
        let decisions = choose(config, releases, facts).decisions;
        let cancelled = Reason::Cancelled { why: "it leaks".to_owned() };
        assert_eq!(decisions[0].verdict, Verdict::Refused(vec![cancelled]));
        let held = Reason::Held { why: "the operator holds it".to_owned() };
        assert_eq!(decisions[1].verdict, Verdict::Refused(vec![held]));
    });
}

#[test]
fn what_runs_and_is_revoked_is_left_whatever_the_urgency() {
    let versions = [("1.1.0", json!({ "revokes": ["1.0.0"] }))];
    with(
        "[policy]\nurgency = \"urgent\"",
        &versions,
        |_| {},
        |config, releases, facts| {
            assert_eq!(chosen(config, releases, facts).as_deref(), Some("1.1.0"));
            let other = running("1.0.5", &[], None);
            assert_eq!(chosen(config, releases, Facts { running: Some(&other), ..facts }), None);
        },
    );
}

#[test]
fn a_roster_asks_for_more_than_half_of_those_who_count() {
    let people: Vec<_> = [(7, "erin"), (8, "frank"), (9, "grace")]
        .map(|(seed, label)| Person::new(seed, label).key)
        .to_vec();
    let [erin, frank, grace] = people.as_slice() else { panic!() };
    let more = format!("[policy]\nrebuilders = [\"{erin}\", \"{frank}\", \"{grace}\"]");
    with(
        &more,
        &[("2.0.0", json!({}))],
        |_| {},
        |config, releases, facts| {
            let artifact = releases.verified[0].release().artifact.sha256;
            let (alice, bob) = (Person::new(2, "alice").key, Person::new(3, "bob").key);
            // Two keyholders signed: five count.
            for (who, taken) in [
                (vec![alice, bob], false),
                (vec![alice, *erin, *frank], true),
                (vec![*erin, *frank, *grace], true),
            ] {
                let by = Reproduced {
                    by: who.into_iter().map(Into::into).collect(),
                    ..Reproduced::default()
                };
                let reproduced = BTreeMap::from([(artifact, by)]);
                let facts = Facts { reproduced: &reproduced, ..facts };
                assert_eq!(chosen(config, releases, facts).is_some(), taken);
            }
            let Verdict::Refused(reasons) = &choose(config, releases, facts).decisions[0].verdict
            else {
                panic!("nobody reproduced it")
            };
            assert_eq!(reasons[0], Reason::NotReproduced { found: 0, needed: 3, counting: 5 });
        },
    );
}
