//! `draft`: propose a release, frozen while its signatures are gathered.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::attestation::{self, VerifiedAttestation};
use countersign_metadata::authoring::Draft;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::Blob;
use countersign_metadata::{Release, Version};
use serde_json::json;

use crate::deltas::{self, From};
use crate::draft_dir::{self, DraftDir, MAX_RELEASE};
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{disk, tell};

/// Propose what countersign-builder made as a release
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// Output directory of `countersign-builder build`
    #[arg(long, value_name = "OUT_DIR")]
    release: PathBuf,
    /// Name of the draft [default: NAME-VERSION-PLATFORM of the release]
    #[arg(long)]
    name: Option<String>,
    /// Publish the difference to this version too, for nodes that have it (may be given again) [default: the newest
    /// version before it, if that makes downloads shorter]
    #[arg(long, value_name = "VERSION")]
    delta_from: Vec<Version>,
    /// Publish no difference to any version
    #[arg(long, conflicts_with = "delta_from")]
    no_deltas: bool,
    /// How long the product's role is good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.must_be_published()?;
        let path = self.release.join("release.json");
        let release: Release =
            serde_json::from_slice(&disk::read(&path, MAX_RELEASE).map_err(|f| {
                f.hint("--release takes the directory that `countersign-builder build -o` wrote")
            })?)
            .or_fail(Exit::Input, format!("{} is no release", path.display()))?;

        let progress = Progress::spinner("checking the artifact");
        let artifact = self.release.join(release.file_name());
        let served = check_artifact(&artifact, &release, &progress)?;
        let expires = self.expires.after(when::now())?;
        published
            .load_bin_of(&release, &mut repository.source())
            .map_err(|error| tell::authoring("cannot read the release's bin", &error))?;
        let from = match (self.no_deltas, self.delta_from.as_slice()) {
            (true, _) => From::Nothing,
            (false, []) => From::Newest,
            (false, versions) => From::These(versions),
        };
        let made = deltas::make(
            &repository,
            &mut published,
            (&release, served),
            &artifact,
            from,
            &progress,
        )?;
        let listed: Vec<_> = made.iter().map(|made| made.delta).collect();
        let draft = Draft::release_with_deltas(&published, &release, (served, &listed), expires)
            .map_err(|error| tell::authoring("cannot draft this release", &error))?;
        let name = match self.name {
            Some(name) => draft_dir::plain(name)?,
            None => release.file_name().trim_end_matches(".tar.zst").to_owned(),
        };
        let dir = DraftDir::create(&repository, &name, &draft, |to| {
            deltas::stage(to, &made)?;
            stage(&self.release, to, &release, served, &progress)
        })?;
        drop(progress);

        let draft = DraftDir::open(&repository, &dir, Some(&mut published))?;
        let requests = draft.request_paths();
        let Release { product, version, platform, .. } = &release;
        out.say(format!("{product} {version} for {platform} is drafted in {}", dir.display()));
        let has = |name: &str| dir.join(name).exists();
        let provenance = match (has("provenance.dsse.json"), has("provenance.json")) {
            (true, _) => "signed",
            (false, true) => "unsigned",
            (false, false) => "none",
        };
        if provenance == "unsigned" {
            out.say("Its provenance is not signed: it stays in the draft and is not published.");
        }
        for made in &made {
            let (length, served) = (made.delta.length, served.length);
            out.say(format!(
                "Nodes that have {} fetch {length} bytes instead of {served}.",
                made.from
            ));
        }
        for path in &requests {
            out.say(format!("Keyholders rebuild it from there and sign {}", path.display()));
        }
        out.json(&json!({
            "draft": draft.name(), "dir": dir, "requests": requests,
            "provenance": provenance,
            "artifact": release.artifact.sha256, "served": served.sha256, "deltas": listed,
        }));
        Ok(Exit::Done)
    }
}

/// The served file is the release's canonical tar, compressed. Unpacking stops at the length that it should have.
fn check_artifact(path: &Path, release: &Release, progress: &Progress) -> Result<Blob, Failure> {
    let wrong = |what: &str| {
        Failure::new(Exit::Untrusted, format!("{} {what}", path.display()))
            .hint("the artifact and release.json are not of the same build: build again")
    };
    let served = disk::digest(path, limit::ARTIFACT, progress)?;
    if served.length > limit::ARTIFACT || release.artifact.length > limit::ARTIFACT {
        return Err(wrong("is longer than an artifact may be"));
    }
    let what = || format!("cannot unpack {}", path.display());
    let file = File::open(path).or_fail(Exit::Input, what())?;
    let unpacked = zstd::stream::read::Decoder::new(file).or_fail(Exit::Input, what())?;
    let mut capped = unpacked.take(release.artifact.length + 1);
    let tar = disk::digest_stream(&mut capped, progress).or_fail(Exit::Input, what())?;
    if tar != release.artifact {
        return Err(wrong("does not unpack to the tar that release.json names"));
    }
    Ok(served)
}

/// Copies everything that belongs to the release, each file checked against its digest.
fn stage(
    from: &Path,
    to: &Path,
    release: &Release,
    served: Blob,
    progress: &Progress,
) -> Result<(), Failure> {
    progress.now("copying");
    disk::copy(&from.join(release.file_name()), &to.join(release.file_name()), served, progress)?;
    for blob in release.inputs.iter().map(|i| i.blob).chain([release.source]) {
        let path = layout::input(&blob.sha256);
        disk::copy(&from.join(&path), &to.join(&path), blob, progress)?;
    }
    for name in ["provenance.dsse.json", "provenance.json"] {
        let path = from.join(name);
        if path.exists() {
            let bytes = disk::read(&path, limit::ATTESTATION)?;
            if name == "provenance.dsse.json" {
                let what = || format!("{} is no provenance of this release", path.display());
                match attestation::verify(&bytes, release).or_fail(Exit::Untrusted, what())? {
                    VerifiedAttestation::Provenance(..) => {}
                    VerifiedAttestation::Verdict(_) => {
                        return Err(Failure::new(Exit::Untrusted, what()));
                    }
                }
            }
            disk::write(&to.join(name), &bytes)?;
        }
    }
    let bytes =
        serde_json::to_vec_pretty(release).or_fail(Exit::Host, "cannot write release.json")?;
    disk::write(&to.join("release.json"), &bytes)
}
