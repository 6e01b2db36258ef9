//! What an update costs: a repository of given trees, and a node's way from its metadata to the synced store.
//!
//! ```text
//! cost repository DIR OLD_TREE [NEW_TREE]   as 1.0.0 and 2.0.0, with the delta between them
//! cost update NODE ROOT URL VERSION         verify, fetch, stage, sync; NODE is made where it is missing
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, run by people")]

#[path = "../src/fixture/mod.rs"]
mod fixture;

use std::fs;
use std::path::Path;
use std::time::Instant;

use countersign_metadata::Sha256;
use countersign_updater::fetch::fetch;
use countersign_updater::policy::{self, Facts};
use countersign_updater::stage::stage;
use countersign_updater::{Config, Home, durable, trust_store};
use jiff::Timestamp;
use serde_json::json;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["repository", dir, trees @ ..] if !trees.is_empty() => repository(Path::new(dir), trees),
        ["update", node, root, url, version] => update(Path::new(node), root, url, version),
        _ => println!("cost repository DIR OLD [NEW] | cost update NODE ROOT URL VERSION"),
    }
}

fn repository(dir: &Path, trees: &[&str]) {
    let mut repository = fixture::Repository::new();
    let mut before: Option<Vec<u8>> = None;
    for (tree, version) in trees.iter().zip(["1.0.0", "2.0.0"]) {
        let tar = pack(Path::new(tree));
        let release = fixture::release(version, &tar, json!({}));
        repository.add_tar(&release, &tar);
        let served = fs::metadata(repository.served(&release)).unwrap().len();
        println!("{version}: tar {} bytes, served {served} bytes", tar.len());
        if let Some(old) = &before {
            let began = Instant::now();
            let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
            encoder.window_log(countersign_metadata::delta::WINDOW_LOG).unwrap();
            bidiff::simple_diff(old, &tar, &mut encoder).unwrap();
            let delta = encoder.finish().unwrap();
            repository.add_delta(&release, Sha256::of(old), &delta);
            let (share, seconds) = (delta.len() as u64 * 100 / served, began.elapsed().as_secs());
            let bytes = delta.len();
            println!(
                "delta: {bytes} bytes, {share} % of the whole; made in {seconds} s, {}",
                peak()
            );
        }
        before = Some(tar);
    }
    repository.publish(2);
    fs::create_dir_all(dir).unwrap();
    fs::rename(repository.dir.keep(), dir.join("public")).unwrap();
}

/// Regular files and directories, in the order of a canonical tar.
fn pack(tree: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut open = vec![tree.to_owned()];
    let mut paths = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let (path, kind) = entry.map(|e| (e.path(), e.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                open.push(path.clone());
            }
            if kind.is_dir() || kind.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(tree).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            fixture::append(&mut builder, &name, tar::EntryType::Directory, 0o755, b"", "");
        } else {
            let bytes = fs::read(&path).unwrap();
            fixture::append(&mut builder, &name, tar::EntryType::Regular, 0o755, &bytes, "");
        }
    }
    builder.into_inner().unwrap()
}

fn update(node: &Path, root: &str, url: &str, version: &str) {
    let config = format!("product = \"{}\"\nrepositories = [\"{url}\"]\n", fixture::PRODUCT);
    if !node.exists() {
        let home = Home::create(node).unwrap();
        durable::write(&home.pinned_root(), &fs::read(root).unwrap()).unwrap();
        home.finish(&config).unwrap();
    }
    let home = Home::open_to_write(node).unwrap();
    let config = Config::load(&home).unwrap();
    let began = Instant::now();
    let refreshed = trust_store::refresh(&home, &config, Timestamp::now()).unwrap();
    let version = version.parse().unwrap();
    let facts = Facts::of_new(&refreshed.reproduced, Some(&version));
    let approved = policy::choose(&config, &refreshed.releases, facts).approved.unwrap();
    let verified = began.elapsed();
    let mut bytes = 0;
    let fetched = fetch(&home, &config, approved, &mut |read| bytes += read).unwrap();
    let (got, how) = (began.elapsed(), if fetched.base().is_some() { "delta" } else { "whole" });
    stage(&home, fetched).unwrap();
    println!(
        "{version} by {how}: {bytes} bytes; verified {:.3} s, fetched {:.3} s, staged {:.3} s; {}",
        verified.as_secs_f64(),
        got.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        peak()
    );
}

/// The most memory that this process had.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    format!("{} MiB of memory", kib.div_ceil(1024))
}
