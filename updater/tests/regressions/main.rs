//! Regressions planted in the example node, each tried in a real shadow beside the release before it; and releases without one.
//!
//! Minutes long, so ignored: `.ci/full regressions` runs it. `PLANTED_FOR` is the window, 20 seconds by default;
//! `PLANTED_ONLY` is the one regression to try.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests whose main() is ours")]

#[path = "../../src/fixture/mod.rs"]
mod fixture;
mod nodes;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use countersign_updater::fetch::fetch;
use countersign_updater::generation::{Generation, Launch};
use countersign_updater::policy::{self, Facts};
use countersign_updater::shadow::{self, Pair, Reason, Report, Stands, Verdict, What};
use countersign_updater::stage::{StagedVersion, stage};
use countersign_updater::{Config, Home, doctor};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};

use fixture::{PRODUCT, Repository};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let tests: [(&str, fn()); 2] = [
        ("each_planted_regression_is_refused_for_what_it_is", planted),
        ("ten_clean_releases_in_a_row_are_cleared", clean),
    ];
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(true)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Tries version 6.0.0 with this regression beside version `old`, which has served and left its state.
fn tried(old: &str, regression: &str) -> Report {
    let mut repository = Repository::new();
    let mut spec = nodes::spec("regressions");
    if !regression.is_empty() {
        spec["environment"] = json!({ "PLANTED": regression });
    }
    let files = nodes::binary("regressions");
    let tar = fixture::tar_of(&[("bin/examplenode*", files.as_slice())]);
    let release = fixture::release("6.0.0", &tar, json!({ "node": spec, "protocol": [1, 2] }));
    repository.add_tar(&release, &tar);
    repository.publish(2);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(&dir.path().join("node")).unwrap();
    let memory = if doctor::memory_limit_missing().is_some() { "none" } else { "512MiB" };
    let window = std::env::var("PLANTED_FOR").unwrap_or_else(|_| "20s".to_owned());
    let text = format!(
        "product = \"{PRODUCT}\"\nrepositories = [\"{}\"]\n[shadow]\nfor = \"{window}\"\nmemory = \"{memory}\"",
        repository.url()
    );
    home.finish(&text).unwrap();
    let config = Config::load(&home).unwrap();
    let (known_bad, reproduced) = (BTreeMap::new(), BTreeMap::new());
    let (ages, held) = (BTreeMap::new(), BTreeMap::new());
    let facts = Facts {
        running: None,
        known_bad: &known_bad,
        reproduced: &reproduced,
        ages: &ages,
        held: &held,
        only: None,
    };
    let choice = policy::choose(&config, &repository.releases(), facts);
    let fetched = fetch(&home, &config, choice.approved.unwrap(), &mut |_| {}).unwrap();
    let staged = stage(&home, fetched).unwrap();
    let generation = installed(&home, &staged, old);
    let copy = dir.path().join("copy");
    nodes::fill(&nodes::path(old), &copy);
    let report = shadow::run(&home, &config, &staged, &copy, Some(&generation)).unwrap();
    report.report().clone()
}

/// The release that ran before, in the store.
fn installed(home: &Home, staged: &StagedVersion, version: &str) -> Generation {
    let spec = nodes::spec(version);
    let spec = serde_json::from_value(spec).unwrap();
    let schema = if version == "1.0.0" { 1 } else { 2 };
    let generation = Generation {
        number: 1,
        product: PRODUCT.parse().unwrap(),
        version: version.parse().unwrap(),
        binary: countersign_metadata::Sha256::of(version.as_bytes()),
        state: 1,
        areas: BTreeMap::from([
            ("values".parse().unwrap(), schema),
            ("counters".parse().unwrap(), 1),
        ]),
        held: BTreeMap::new(),
        protocol: Some((1, 1)),
        launch: Launch::new(&spec, &BTreeMap::new()),
    };
    let bin = generation.tree(home).join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(nodes::path(version), bin.join("examplenode")).unwrap();
    // It declares the same exchange as the new one.
    let release = fs::read(home.stored(staged.identity()).join("release.json")).unwrap();
    let mut release: Value = serde_json::from_slice(&release).unwrap();
    release["artifact"]["sha256"] = json!(generation.binary.to_string());
    fs::write(home.stored(&generation.binary).join("release.json"), release.to_string()).unwrap();
    generation
}

fn reasons(report: &Report) -> Vec<Reason> {
    match &report.verdict {
        Verdict::Cleared => Vec::new(),
        Verdict::Refused { reasons } => reasons.clone(),
    }
}

fn over(reason: &Reason, what: What) -> bool {
    matches!(reason, Reason::TakesMore { figure } if figure.what == what && figure.verdict == Stands::Over)
}

fn tell(name: &str, report: &Report) {
    let said: Vec<_> = reasons(report).iter().map(ToString::to_string).collect();
    let said = if said.is_empty() { "cleared".to_owned() } else { said.join("; ") };
    let asked = report.measures.as_ref().and_then(|m| m.answers.as_ref()).map_or(0, |a| a.asked);
    println!("| {name} | {asked} | {said} |");
}

fn planted() {
    println!("| planted | requests | verdict |\n|---|---|---|");
    type Expected = fn(&Reason) -> bool;
    let cases: [(&str, &str, Expected); 7] = [
        ("2.0.0", "slow", |r| over(r, What::Latency)),
        ("2.0.0", "leaking", |r| over(r, What::Growth)),
        ("2.0.0", "wrong", |r| matches!(r, Reason::OtherAnswers { .. })),
        ("2.0.0", "disk", |r| over(r, What::Written)),
        ("2.0.0", "noisy", |r| over(r, What::Errors)),
        ("2.0.0", "protocol", |r| matches!(r, Reason::NotUnderstood { .. })),
        ("1.0.0", "migration", |r| matches!(r, Reason::OtherAnswers { .. })),
    ];
    let only = std::env::var("PLANTED_ONLY").ok();
    for (old, regression, expected) in cases {
        if only.as_ref().is_some_and(|only| only != regression) {
            continue;
        }
        let report = tried(old, regression);
        tell(regression, &report);
        assert!(reasons(&report).iter().any(expected), "{regression}: {report:#?}");
    }
}

fn clean() {
    println!("| clean, after | requests | verdict |\n|---|---|---|");
    for round in 0..10 {
        let old = if round % 2 == 0 { "2.0.0" } else { "1.0.0" };
        let report = tried(old, "");
        tell(old, &report);
        assert_eq!(report.verdict, Verdict::Cleared, "{report:#?}");
        let measures = report.measures.unwrap();
        assert!(measures.is_beside() && measures.calls.is_some(), "{measures:#?}");
        let meeting = report.meeting.unwrap();
        assert!(
            meeting.pairs.len() == 2 && meeting.pairs.iter().all(Pair::succeeded),
            "{meeting:#?}"
        );
        assert!(measures.figures.iter().all(|f| f.verdict == Stands::Within), "{measures:#?}");
    }
}

/// A `[node]` section as the recipe has it, for this product.
pub(crate) fn own(mut spec: Value) -> Value {
    // The example's own name is another than the fixture's, and its probe would say so.
    spec["health"] = json!({ "listen": "http", "path": "/stats" });
    spec
}
