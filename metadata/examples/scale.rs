//! What very many releases cost: `scale make DIR RELEASES BINS`, then `scale lookup DIR` and `scale add DIR`.
//!
//! Each run prints the CPU seconds and the peak memory of its own process. `benches/scale.sh` runs it beside
//! python-tuf and tough. BINS 0 makes a plain product role, which no node reads beyond 32 MiB.
#![expect(clippy::print_stdout, reason = "an example for people")]
#![expect(clippy::disallowed_methods, reason = "examples meet disk and clock")]

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/common/key.rs"]
mod key;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use countersign_metadata::authoring::{
    Draft, Expiry, Holder, OnlineSigner, Plan, Publication, Published,
};
use countersign_metadata::release::{Blob, Environment, EnvironmentKind, Input, Urgency};
use countersign_metadata::request::{Signature, SigningRequest};
use countersign_metadata::trust::{
    Bins, INDEX, Indexed, Source, SourceError, Trust, worth_listing,
};
use countersign_metadata::{Release, Sha256, canonical, layout};
use jiff::{Timestamp, ToSpan};
use key::TestKey;
use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Alice and Bob of three keyholders sign; 9 is the online key.
const SIGNERS: [u8; 2] = [1, 2];

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["make", dir, releases, bins] => make(Path::new(dir), releases.parse()?, bins.parse()?),
        ["lookup", dir] => lookup(Path::new(dir)),
        ["add", dir] => add(Path::new(dir)),
        _ => Err("usage: scale make DIR RELEASES BINS | lookup DIR | add DIR".into()),
    }
}

struct Disk(PathBuf);

impl Source for Disk {
    fn fetch(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(fs::read(self.0.join(path)).ok())
    }
}

struct Online;

impl OnlineSigner for Online {
    fn sign(&mut self, request: &SigningRequest) -> Outcome<Signature> {
        Ok(TestKey::new(9).answer(request, "online"))
    }
}

fn release(version: &str) -> Outcome<Release> {
    let blob = |what: &str| {
        let bytes = format!("{what} of {version}");
        Blob { sha256: Sha256::of(bytes.as_bytes()), length: bytes.len() as u64 }
    };
    let input = |n: usize| Input { name: format!("crates:input-{n}@1.{n}.0"), blob: blob("input") };
    Ok(Release {
        format: 1,
        product: "demo".parse()?,
        version: version.parse()?,
        platform: "linux-x86_64".parse()?,
        artifact: blob("artifact"),
        source: blob("source"),
        recipe: Sha256::of(b"recipe"),
        lock: Sha256::of(b"lock"),
        environment: Environment { kind: EnvironmentKind::Host, sha256: Sha256::of(b"env") },
        inputs: (0..4).map(input).collect(),
        node: None,
        follows: None,
        protocol: None,
        urgency: Urgency::Normal,
        revokes: Default::default(),
        actions: Default::default(),
        notes: String::new(),
    })
}

fn file(signed: &Value, seeds: &[u8]) -> Outcome<Vec<u8>> {
    let payload = canonical::to_bytes(signed)?;
    let one = |seed: &u8| {
        let key = TestKey::new(*seed);
        json!({ "keyid": key.public.id(), "sig": hex::encode(key.sign(&payload)) })
    };
    let signatures: Vec<_> = seeds.iter().map(one).collect();
    let mut out = format!("{{\"signatures\":{},\"signed\":", json!(signatures)).into_bytes();
    out.extend(payload);
    out.push(b'}');
    Ok(out)
}

fn make(dir: &Path, releases: u32, bins: u32) -> Outcome {
    let bins = if bins == 0 { None } else { Some(Bins::try_from(bins)?) };
    let expires = Timestamp::now() + (24 * 365).hours();
    let holder = |seed| Holder { label: format!("key {seed}"), key: TestKey::new(seed).public };
    let plan = Plan {
        products: vec!["demo".parse()?],
        keyholders: [1, 2, 3].map(holder).into(),
        threshold: 2,
        online: holder(9),
        expires,
    };
    let mut roles = BTreeMap::new();
    for part in Draft::init_with_bins(&plan, bins)?.parts() {
        roles.insert(part.role().to_owned(), serde_json::from_slice::<Value>(part.message())?);
    }
    let mut empty = roles.get("demo.index").or(roles.get("demo")).cloned().unwrap_or_default();
    if let Some(empty) = empty.as_object_mut() {
        empty.remove(INDEX);
    }
    let mut listed = Vec::new();
    for number in 0..releases {
        let release = release(&format!("{}.{}.0", number / 1000, number % 1000))?;
        let path = release.target_path();
        let role = bins.map_or("demo".to_owned(), |bins| bins.of(&release.product, &path));
        let role = roles.entry(role).or_insert_with(|| empty.clone());
        let hashes = json!({ "sha256": release.artifact.sha256 });
        role["targets"][path] =
            json!({ "length": 7, "hashes": hashes, "custom": release.to_custom()? });
        listed.push(Indexed { version: release.version, follows: None });
    }
    if let Some(index) = roles.get_mut("demo.index") {
        index[INDEX] = json!({ "linux-x86_64": worth_listing(listed) });
    }
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, bytes)
    };
    let common = |kind: &str, meta: Value| {
        json!({
            "_type": kind, "spec_version": "1.0.31", "version": 1, "meta": meta,
            "expires": countersign_metadata::authoring::seconds(expires),
        })
    };
    let pin = |bytes: &[u8]| {
        json!({
            "version": 1, "length": bytes.len(), "hashes": { "sha256": Sha256::of(bytes) },
        })
    };
    let mut meta = json!({});
    for (role, signed) in &roles {
        let bytes = file(signed, &SIGNERS)?;
        if role != "root" {
            meta[format!("{role}.json")] = pin(&bytes);
        }
        write(&layout::metadata(role, 1), &bytes)?;
    }
    let snapshot = file(&common("snapshot", meta), &[9])?;
    write(&layout::metadata("snapshot", 1), &snapshot)?;
    let timestamp = common("timestamp", json!({ "snapshot.json": pin(&snapshot) }));
    write(layout::TIMESTAMP, &file(&timestamp, &[9])?)?;
    Ok(())
}

/// A node's refresh and one lookup, from nothing but the pinned root.
fn lookup(dir: &Path) -> Outcome {
    let root = fs::read(dir.join("metadata/1.root.json"))?;
    let (mut source, now) = (Disk(dir.to_owned()), Timestamp::now());
    let mut trust = Trust::from_root(&root)?;
    trust.refresh(now, &mut source)?;
    let found = trust.newest(&"demo".parse()?, &"linux-x86_64".parse()?, now, &mut source)?;
    let found = found.ok_or("no release")?;
    report("lookup", found.path())
}

/// A repository manager's whole day: read, draft, take two signatures in, publish, check as clients.
fn add(dir: &Path) -> Outcome {
    let (mut source, now) = (Disk(dir.to_owned()), Timestamp::now());
    let mut published = Published::read(&mut source)?.ok_or("nothing is published")?;
    let release = release(&format!("999.{}.0", published.version("timestamp")))?;
    published.load_bin_of(&release, &mut source)?;
    let draft = Draft::release(&published, &release, release.artifact, now + (24 * 365).hours())?;
    let mut signed = Vec::new();
    for part in draft.parts() {
        let answers =
            SIGNERS.map(|seed| part.accept(TestKey::new(seed).answer(&part.request(), "")));
        signed.push(part.complete(&answers.into_iter().collect::<Result<Vec<_>, _>>()?)?);
    }
    let later = |days: i64| now + (24 * days).hours();
    let expiry = Expiry { snapshot: later(30), timestamp: later(7), renew: later(7) };
    let publication =
        Publication::prepare(Some(&published), signed, expiry, &mut source, &mut Online)?;
    for (path, bytes) in publication.files() {
        fs::write(dir.join(path), bytes)?;
    }
    publication.check(&mut source, now)?;
    fs::write(dir.join(layout::TIMESTAMP), publication.timestamp())?;
    report("add", &release.target_path())
}

/// CPU and peak memory of this process, as Linux counts them.
fn report(what: &str, path: &str) -> Outcome {
    let cpu = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?;
    let cpu = cpu.tv_sec() as f64 + cpu.tv_nsec() as f64 / 1e9;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("{what} {path}: {cpu:.3} s CPU, {:.1} MiB", kib / 1024.0);
    Ok(())
}
