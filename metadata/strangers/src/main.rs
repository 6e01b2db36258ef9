//! `tough` at our repositories: `countersign-metadata-strangers lookup DIR [PATH…]` as a client, `add DIR` as its editor
//! does it (not written). Each run prints the CPU seconds and the peak memory of its process.

use std::error::Error;
use std::num::NonZeroU64;
use std::path::Path;
use std::{env, fs};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::Ed25519KeyPair;
use nix::time::ClockId;
use tough::editor::signed::SignedRole;
use tough::editor::targets::TargetsEditor;
use tough::key_source::KeySource;
use tough::schema::{
    DelegatedRole, KeyHolder, Metafile, PathSet, Root, Signed, Snapshot, Targets, Timestamp,
};
use tough::sign::Sign;
use tough::{FilesystemTransport, Limits, RepositoryLoader, TargetName, async_trait};
use url::Url;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let words: Vec<_> = env::args().skip(1).collect();
    let [what, dir, paths @ ..] = &words[..] else {
        return Err("usage: lookup DIR [PATH…] | add DIR".into());
    };
    let dir = fs::canonicalize(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let done = match what.as_str() {
        "lookup" => runtime.block_on(lookup(&dir, paths))?,
        "add" => runtime.block_on(add(&dir))?,
        other => return Err(format!("{other}: neither lookup nor add").into()),
    };
    let cpu = ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?;
    let cpu = cpu.tv_sec() as f64 + cpu.tv_nsec() as f64 / 1e9;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("tough {what} {done}: {cpu:.3} s CPU, {:.1} MiB", kib / 1024.0);
    Ok(())
}

/// A client that begins from the first root; it loads every delegated role there is.
async fn lookup(dir: &Path, paths: &[String]) -> Outcome<String> {
    let root = fs::read(dir.join("metadata/1.root.json"))?;
    let url =
        |name: &str| Url::from_directory_path(dir.join(name)).map_err(|()| "no absolute path");
    let kept = tempfile::tempdir()?;
    // Its limit for a snapshot is smaller than ours.
    let limits = Limits { max_snapshot_size: 32 << 20, ..Limits::default() };
    let loader = RepositoryLoader::new(&root, url("metadata")?, url("targets")?);
    let loader = loader.transport(FilesystemTransport).limits(limits).datastore(kept.path());
    let repository = loader.load().await?;
    let wanted = match paths {
        [] => vec!["demo/99.99.0/demo-99.99.0-linux-x86_64.tar.zst".to_owned()],
        paths => paths.to_vec(),
    };
    for path in &wanted {
        let target = repository.targets().signed.find_target(&TargetName::new(path)?, false)?;
        // It would ask for `HASH.DIR/NAME` where TUF 1.0 says `DIR/HASH.NAME`, so the file is read here.
        let (above, name) = path.rsplit_once('/').ok_or("no path of ours")?;
        let sha256: Vec<u8> = target.hashes.sha256.to_vec();
        let file = dir.join("targets").join(above).join(format!("{}.{name}", hex(&sha256)));
        if !file.exists() && paths.is_empty() {
            continue; // The benchmark's repository is metadata alone.
        }
        let bytes = fs::read(&file)?;
        if bytes.len() as u64 != target.length || digest(&SHA256, &bytes).as_ref() != sha256 {
            return Err(format!("{path} is not what tough verified").into());
        }
    }
    Ok(wanted.join(" "))
}

/// A key of the benchmark, always the same for the same seed.
#[derive(Debug)]
struct Seed(u8);

#[async_trait]
impl KeySource for Seed {
    async fn as_sign(&self) -> Outcome<Box<dyn Sign>> {
        Ok(Box::new(Ed25519KeyPair::from_seed_unchecked(&[self.0; 32]).map_err(|e| e.to_string())?))
    }

    async fn write(&self, _: &str, _: &str) -> Outcome {
        Err("a seed is not written".into())
    }
}

fn seeds(seeds: &[u8]) -> Vec<Box<dyn KeySource>> {
    seeds.iter().map(|seed| Box::new(Seed(*seed)) as Box<dyn KeySource>).collect()
}

/// The newest published version of a role's file.
fn newest(dir: &Path, role: &str) -> Outcome<(u64, Vec<u8>)> {
    let mut version = 0;
    for entry in fs::read_dir(dir.join("metadata"))? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if let Some((number, rest)) = name.split_once('.')
            && rest.strip_suffix(".json") == Some(role)
        {
            version = version.max(number.parse()?);
        }
    }
    Ok((version, fs::read(dir.join(format!("metadata/{version}.{role}.json")))?))
}

/// One target more in its bin: the bin, the index, snapshot and timestamp are read, changed and signed.
async fn add(dir: &Path) -> Outcome<String> {
    let version = 1_000_000 + u64::from(std::process::id());
    let path = format!("demo/{version}.0.0/demo-{version}.0.0-linux-x86_64.tar.zst");
    let above: Signed<Targets> = serde_json::from_slice(&newest(dir, "demo")?.1)?;
    let delegations = above.signed.delegations.ok_or("a product without bins")?;
    let hashed = hex(digest(&SHA256, path.as_bytes()).as_ref());
    let of = |role: &&DelegatedRole| match &role.paths {
        PathSet::PathHashPrefixes(all) => all.iter().any(|p| hashed.starts_with(p.value())),
        PathSet::Paths(_) => false,
    };
    let bin = delegations.roles.iter().find(of).ok_or("no bin")?.name.clone();
    let mut snapshot: Signed<Snapshot> = serde_json::from_slice(&newest(dir, "snapshot")?.1)?;
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
    for role in [bin.as_str(), "demo.index"] {
        let (version, bytes) = newest(dir, role)?;
        let file: Signed<Targets> = serde_json::from_slice(&bytes)?;
        let example = file.signed.targets.values().next().cloned();
        let holder = KeyHolder::Delegations(delegations.clone());
        let mut editor = TargetsEditor::from_targets(role, file.signed, holder);
        if let Some(example) = example {
            editor.add_target(path.as_str(), example)?;
        }
        let next = NonZeroU64::new(version + 1).ok_or("version")?;
        let signed = editor.version(next).expires(expires).sign(&seeds(&[1, 2])).await?;
        let role_file = signed.roles().pop().ok_or("nothing was signed")?;
        let meta = snapshot.signed.meta.get_mut(&format!("{role}.json")).ok_or("not listed")?;
        renew(meta, next, role_file.buffer());
    }
    let root: Signed<Root> = serde_json::from_slice(&newest(dir, "root")?.1)?;
    let (root, rng) = (KeyHolder::Root(root.signed), aws_lc_rs::rand::SystemRandom::new());
    snapshot.signed.version = snapshot.signed.version.saturating_add(1);
    let version = snapshot.signed.version;
    let snapshot = SignedRole::new(snapshot.signed, &root, &seeds(&[9]), &rng).await?;
    let timestamp = fs::read(dir.join("metadata/timestamp.json"))?;
    let mut timestamp: Signed<Timestamp> = serde_json::from_slice(&timestamp)?;
    let meta = timestamp.signed.meta.get_mut("snapshot.json").ok_or("no snapshot")?;
    renew(meta, version, snapshot.buffer());
    timestamp.signed.version = timestamp.signed.version.saturating_add(1);
    SignedRole::new(timestamp.signed, &root, &seeds(&[9]), &rng).await?;
    Ok(path)
}

fn renew(meta: &mut Metafile, version: NonZeroU64, bytes: &[u8]) {
    meta.version = version;
    meta.length = Some(bytes.len() as u64);
    if let Some(hashes) = &mut meta.hashes {
        hashes.sha256 = digest(&SHA256, bytes).as_ref().to_vec().into();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
