//! Downloads from real servers on loopback, which cut, flip, stall, refuse and lie.

mod deltas;
mod proxy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fixture::mirror::{self, Mischief};
use crate::fixture::{self, PRODUCT};
use crate::mirrors::{Fault, Trouble};
use crate::policy::{self, Facts};

struct Bench {
    repository: fixture::Repository,
    approved: Approved,
    home: Home,
    _dir: TempDir,
}

fn bench() -> Bench {
    let mut repository = fixture::Repository::new();
    repository.add("1.0.0", &[("bin/node*", &noise(0..2000))], json!({}));
    repository.publish(2);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    Bench { approved: approved(&repository), repository, home, _dir: dir }
}

/// Bytes that do not compress, so that the served file is long enough to be cut.
fn noise(range: std::ops::Range<u32>) -> String {
    range.map(|n| Sha256::of(&n.to_be_bytes()).to_string()).collect()
}

/// The newest release.
fn approved(repository: &fixture::Repository) -> Approved {
    let facts = Facts {
        running: None,
        known_bad: &BTreeMap::new(),
        reproduced: &BTreeMap::new(),
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = policy::choose(&config(&["file:///r"], ""), &repository.releases(), facts);
    choice.approved.unwrap()
}

fn config(urls: &[&str], more: &str) -> Config {
    let text = format!("product = \"{PRODUCT}\"\nrepositories = {urls:?}\n{more}");
    Config::from_text(&text, "n.toml".into()).unwrap()
}

impl Bench {
    fn mirror(&self, mischief: Mischief) -> mirror::Mirror {
        mirror::Mirror::serve(self.repository.dir.path(), mischief)
    }

    fn fetch(&self, urls: &[&str]) -> Result<Fetched, FetchError> {
        fetch(&self.home, &config(urls, ""), self.approved.clone(), &mut |_| {})
    }

    /// What is known of a mirror.
    fn trouble(&self, url: &str) -> Option<Trouble> {
        Mirrors::read(&self.home).trouble(&url.parse().unwrap(), For::Artifact).cloned()
    }

    /// A download that broke off after 5000 bytes.
    fn begun(&self) {
        self.fetch(&[&self.mirror(Mischief::CutAfter(1000)).url]).unwrap_err();
    }

    fn partials(&self) -> usize {
        fs::read_dir(self.home.store()).unwrap().count()
    }
}

#[test]
fn a_flipped_byte_is_refused_with_both_digests_and_nothing_is_kept() {
    let bench = bench();
    let error = bench.fetch(&[&bench.mirror(Mischief::FlipLast).url]).unwrap_err();
    assert!(error.is_untrusted());
    let text = error.to_string();
    assert!(text.contains("digest mismatch: wanted "), "{text}");
    assert!(text.contains(&bench.approved.target().sha256().to_string()), "{text}");
    assert_eq!(bench.partials(), 0);
}

#[test]
fn the_next_mirror_is_tried_after_a_lie_and_after_silence() {
    let bench = bench();
    let (flips, gone) = (bench.mirror(Mischief::FlipLast), bench.mirror(Mischief::Unavailable));
    let endless = bench.mirror(Mischief::Endless);
    let good = bench.mirror(Mischief::None);
    let urls = [flips.url.as_str(), &gone.url, &endless.url, "http://127.0.0.1:1/", &good.url];
    let fetched = bench.fetch(&urls).unwrap();
    assert_eq!(fetched.target().path(), bench.approved.target().path());
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_was_also_on_another_mirror() {
    let bench = bench();
    let cut = bench.mirror(Mischief::CutAfter(1000));
    let error = bench.fetch(&[&cut.url]).unwrap_err();
    assert!(error.retry() && !error.is_untrusted(), "{error}");
    assert_eq!(bench.partials(), 2, "the bytes, and who gave them");
    let good = bench.mirror(Mischief::None);
    bench.fetch(&[&good.url]).unwrap();
    assert_eq!(bench.partials(), 1, "who gave it matters no more");
    let asked = good.asked.lock().unwrap().clone();
    assert!(asked.len() == 1 && asked[0].ends_with("@5000"), "{asked:?}");
    // Complete from before: nobody is asked.
    bench.fetch(&["http://127.0.0.1:1/"]).unwrap();
}

#[test]
fn wrong_bytes_from_before_do_not_condemn_the_mirror_that_completes_them() {
    let bench = bench();
    let path = bench.home.store().join(format!(".partial-{}", bench.approved.target().sha256()));
    fs::write(&path, "these are not the bytes").unwrap();
    let good = bench.mirror(Mischief::None);
    bench.fetch(&[&good.url]).unwrap();
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    bench.fetch(&[&good.url]).unwrap();
}

#[test]
fn space_is_checked_before_anything_is_fetched() {
    let bench = bench();
    let good = bench.mirror(Mischief::None);
    let config = config(&[&good.url], "free-space = \"8000TiB\"");
    let error = fetch(&bench.home, &config, bench.approved.clone(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, FetchError::Space { .. }) && !error.retry());
    assert!(good.asked.lock().unwrap().is_empty());
}

#[test]
fn only_this_platforms_artifact_is_asked_for() {
    let mut repository = fixture::Repository::new();
    let files: [(&str, &str); 1] = [("bin/node*", "x")];
    for platform in ["linux-riscv64", "linux-s390x"] {
        repository.add("2.0.0", &files, json!({ "platform": platform }));
    }
    let ours = repository.add("1.0.0", &files, json!({}));
    repository.publish(2);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    let mirror = mirror::Mirror::serve(repository.dir.path(), Mischief::None);
    let config = config(&[&mirror.url], "");
    fetch(&home, &config, approved(&repository), &mut |_| {}).unwrap();
    let asked = mirror.artifacts();
    assert!(asked.len() == 1 && asked[0].contains(&ours.file_name()), "{asked:?}");
}

#[test]
fn a_mirror_that_lies_is_named_and_asked_last_and_the_others_are_not_blamed() {
    let bench = bench();
    let (lies, good) = (bench.mirror(Mischief::Zeros), bench.mirror(Mischief::None));
    let urls = [lies.url.as_str(), &good.url];
    bench.fetch(&urls).unwrap();
    let named = bench.trouble(&lies.url).unwrap();
    assert_eq!((named.fault, named.not_before), (Fault::Untrusted, None));
    assert!(named.reason.contains("digest mismatch"), "{}", named.reason);
    assert!(bench.trouble(&good.url).is_none());
    fs::remove_file(partial::path(&bench.home, bench.approved.target().sha256())).unwrap();
    bench.fetch(&urls).unwrap();
    assert_eq!((lies.artifacts().len(), good.artifacts().len()), (1, 2));
    // If nobody else has it, it may have become honest.
    bench.fetch(&[&lies.url]).unwrap();
}

#[test]
fn who_began_with_wrong_bytes_is_named_when_another_mirror_completes_them() {
    let bench = bench();
    let lies = bench.mirror(Mischief::FlipFirstAndCut(1000));
    bench.fetch(&[&lies.url]).unwrap_err();
    assert_eq!(bench.trouble(&lies.url).unwrap().fault, Fault::Away, "nobody can know yet");
    let good = bench.mirror(Mischief::None);
    // A later life: the one that began is still known.
    bench.fetch(&[&good.url, &lies.url]).unwrap();
    assert!(bench.trouble(&good.url).is_none());
    assert_eq!(bench.trouble(&lies.url).unwrap().fault, Fault::Untrusted);
    let asked = good.artifacts();
    assert!(asked[0].ends_with("@5000") && asked[1].ends_with("@0"), "{asked:?}");
}

#[test]
fn a_mirror_that_refuses_is_left_alone_as_long_as_it_says_and_others_are_asked() {
    for (status, retry_after) in [(429, Some(600)), (503, None), (403, None), (500, Some(5000))] {
        let bench = bench();
        let refuses = bench.mirror(Mischief::Refuse { status, retry_after, all: false });
        let text = bench.fetch(&[&refuses.url]).unwrap_err().to_string();
        assert!(text.contains(&format!("answered {status}")), "{text}");
        let told = bench.trouble(&refuses.url).unwrap();
        let wait = told.since.until(told.not_before.as_ref().unwrap());
        match retry_after {
            Some(600) => assert!(wait >= Duration::from_secs(600), "{wait:?}"),
            Some(_) => assert!(wait <= Duration::from_secs(3601), "capped: {wait:?}"),
            None => assert!((30..=46).contains(&wait.as_secs()), "{wait:?}"),
        }
        // A later life: it is not asked, and says why.
        let text = bench.fetch(&[&refuses.url]).unwrap_err().to_string();
        assert!(text.contains("not asked again before"), "{text}");
        assert_eq!(refuses.artifacts().len(), 1);
        let good = bench.mirror(Mischief::None);
        bench.fetch(&[&refuses.url, &good.url]).unwrap();
        assert_eq!((refuses.artifacts().len(), good.artifacts().len()), (1, 1));
    }
}

#[test]
fn garbled_ranges_cost_a_mirror_its_turn_and_no_bytes_are_mixed() {
    for (mischief, requests) in
        [(Mischief::OtherRange, 1), (Mischief::Truncate(5500), 2), (Mischief::Truncate(100), 1)]
    {
        // A file that is shorter than what is there takes nothing away from it.
        let from = if mischief == Mischief::Truncate(5500) { "@5500" } else { "@5000" };
        let bench = bench();
        bench.begun();
        let (odd, good) = (bench.mirror(mischief), bench.mirror(Mischief::None));
        bench.fetch(&[&odd.url, &good.url]).unwrap();
        assert_eq!(odd.artifacts().len(), requests, "{mischief:?}: {:?}", odd.artifacts());
        let asked = good.artifacts();
        assert!(asked.len() == 1 && asked[0].ends_with(from), "{mischief:?}: {asked:?}");
    }
}

#[test]
fn servers_without_ranges_or_with_short_ones_serve_all_the_same() {
    for mischief in [Mischief::NoRanges, Mischief::ShortRanges(40_000)] {
        let bench = bench();
        bench.begun();
        let server = bench.mirror(mischief);
        bench.fetch(&[&server.url]).unwrap();
        let asked = server.artifacts();
        assert!(asked[0].ends_with("@5000"), "{mischief:?}: {asked:?}");
    }
}

#[test]
fn a_range_is_asked_for_on_the_condition_that_the_same_mirror_still_has_the_same_file() {
    let bench = bench();
    let tagged = bench.mirror(Mischief::Tagged("\"one\"", 1000));
    bench.fetch(&[&tagged.url]).unwrap_err();
    let asked = tagged.artifacts();
    assert!(asked[0].ends_with("@0") && asked[1].ends_with("@1000?\"one\""), "{asked:?}");
    // Another mirror calls it by another name, or by none: the digest in the address is the condition.
    let other = bench.mirror(Mischief::None);
    bench.fetch(&[&other.url]).unwrap();
    assert!(other.artifacts()[0].ends_with("@5000"), "{:?}", other.artifacts());
}

#[test]
fn a_file_that_changed_on_the_mirror_is_fetched_from_its_beginning() {
    let bench = bench();
    let digest = bench.approved.target().sha256();
    let path = partial::path(&bench.home, digest);
    let changed = bench.mirror(Mischief::Tagged("\"two\"", usize::MAX));
    fs::write(&path, "older bytes of another file").unwrap();
    let from = json!([{ "mirror": changed.url, "etag": "\"one\"" }]);
    fs::write(path.with_added_extension("from.json"), from.to_string()).unwrap();
    bench.fetch(&[&changed.url]).unwrap();
    let asked = changed.artifacts();
    assert!(asked.len() == 1 && asked[0].ends_with("@27?\"one\""), "{asked:?}");
}

#[test]
fn a_directory_that_comes_and_goes_is_used_while_it_is_there() {
    let bench = bench();
    let stick = tempfile::tempdir().unwrap();
    let mount = stick.path().join("usb");
    let url = format!("file://{}", mount.display());
    // Not plugged in; plugged in, but empty; pulled out midway; there.
    let error = bench.fetch(&[&url]).unwrap_err();
    assert!(error.retry() && !error.is_untrusted(), "{error}");
    fs::create_dir(&mount).unwrap();
    assert!(bench.fetch(&[&url]).unwrap_err().to_string().contains("it has no targets/"));
    fs::remove_dir(&mount).unwrap();
    copy(bench.repository.dir.path(), &mount);
    let artifact = mount.join(bench.approved.target().served_at());
    let whole = fs::read(&artifact).unwrap();
    fs::write(&artifact, &whole[..3000]).unwrap();
    assert!(bench.fetch(&[&url]).unwrap_err().to_string().contains("after 3000 of"));
    fs::write(&artifact, &whole).unwrap();
    let (good, mut seen) = (bench.mirror(Mischief::None), 0);
    let config = config(&[&url, &good.url], "");
    fetch(&bench.home, &config, bench.approved.clone(), &mut |n| seen += n).unwrap();
    assert_eq!((seen, good.artifacts().len()), (whole.len() as u64, 0));
    assert!(bench.trouble(&url).is_none());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        match from.is_dir() {
            true => copy(&from, &to.join(name)),
            false => drop(fs::copy(&from, to.join(name)).unwrap()),
        }
    }
}

#[test]
fn a_slow_mirror_is_left_for_a_quick_one_and_taken_where_there_is_no_other() {
    let bench = bench();
    let wanted = Wanted {
        at: "targets/long".to_owned(),
        blob: Blob { sha256: Sha256::of(&[7; 60]), length: 60 },
        what: For::Artifact,
    };
    fs::write(bench.repository.dir.path().join("targets/long"), [7; 60]).unwrap();
    let (slow, quick) = (bench.mirror(Mischief::Trickle), bench.mirror(Mischief::None));
    let patience = crate::net::Patience { trickle: Some(Duration::from_millis(100)), ..PATIENCE };
    let run = |urls: &[&str]| {
        let partial = Partial::open(&bench.home, &wanted.blob.sha256, 60, &mut |_| {}).unwrap();
        let (mut mirrors, mut pace) = (Mirrors::read(&bench.home), Pace::new(None));
        let config = config(urls, "");
        let (mirrors, pace, progress) = (&mut mirrors, &mut pace, &mut |_| {});
        let mut download = Download { config: &config, mirrors, pace, progress, patience };
        let (_, path) = download.run(&wanted, partial).unwrap().unwrap();
        fs::remove_file(path).unwrap();
    };
    run(&[&slow.url, &quick.url]);
    assert_eq!(quick.artifacts().len(), 1);
    run(&[&slow.url]);
}

#[test]
fn a_download_takes_no_more_of_the_line_than_it_may() {
    let bench = bench();
    let good = bench.mirror(Mischief::None);
    let config = config(&[&good.url], "[fetch]\nrate = \"100KiB/s\"");
    let (began, mut seen) = (Instant::now(), Vec::new());
    let mut progress = |bytes| seen.push(bytes);
    fetch(&bench.home, &config, bench.approved.clone(), &mut progress).unwrap();
    let length = bench.approved.target().length();
    let least = Duration::from_secs_f64(length as f64 / f64::from(100 << 10));
    assert!(began.elapsed() >= least, "{length} bytes in {:?}", began.elapsed());
    assert!(seen.iter().all(|bytes| *bytes <= (100 << 10) / 8), "in bursts: {seen:?}");
}
