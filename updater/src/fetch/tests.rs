//! Downloads from real servers on loopback, which cut, flip, stall and lie.

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fixture::mirror::{self, Mischief};
use crate::fixture::{self, PRODUCT};
use crate::policy::{self, Facts};

struct Bench {
    repository: fixture::Repository,
    approved: Approved,
    home: Home,
    _dir: TempDir,
}

fn bench() -> Bench {
    let mut repository = fixture::Repository::new();
    // Bytes that do not compress, so that the served file is long enough to be cut.
    let noise: String = (0..2000u32).map(|n| Sha256::of(&n.to_be_bytes()).to_string()).collect();
    repository.add("1.0.0", &[("bin/node*", &noise)], json!({}));
    repository.publish(2);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    let facts = Facts {
        running: None,
        known_bad: &BTreeMap::new(),
        reproduced: &BTreeMap::new(),
        only: None,
    };
    let choice = policy::choose(&config(&["file:///r"], ""), &repository.releases(), facts);
    Bench { approved: choice.approved.unwrap(), repository, home, _dir: dir }
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
    assert_eq!(bench.partials(), 1);
    let good = bench.mirror(Mischief::None);
    bench.fetch(&[&good.url]).unwrap();
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
