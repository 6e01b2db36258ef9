//! `publish`: a draft whose roles have their signatures becomes what clients see, in one rename.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::authoring::{
    AuthoringError, DraftState, Expiry, OnlineSigner, Part, Publication, Published, SignedRole,
};
use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::Blob;
use countersign_metadata::trusted_root::TARGET;
use jiff::Timestamp;
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::mirror::To;
use crate::repository::{Lock, Repository};
use crate::signer::Signer;
use crate::when::{self, Within};
use crate::{disk, status, tell};

/// Publish a draft that has its signatures
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The draft, by number or name [default: the only one that is complete]
    draft: Option<String>,
    #[command(flatten)]
    online: Online,
    #[command(flatten)]
    to: To,
}

/// How snapshot and timestamp are signed.
#[derive(clap::Args)]
pub(crate) struct Online {
    /// Command that signs: request on standard input, signature on standard output
    #[arg(long, value_name = "COMMAND", default_value = "countersign-keys sign --yes")]
    signer: Signer,
    /// After a rotation of the online key: the command that signs with the old one. Without it clients are shut
    /// out for a moment
    #[arg(long, value_name = "COMMAND")]
    previous_signer: Option<Signer>,
    /// How long the timestamp is good
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    timestamp_expires: Within,
    /// How long a new snapshot is good
    #[arg(long, value_name = "SPAN", default_value = "30d")]
    snapshot_expires: Within,
}

impl Args {
    pub(crate) fn run(mut self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let lock = repository.lock()?;
        let mut published = repository.published()?;
        let dir = self.choose(&repository, published.as_mut())?;
        match dir.draft.state(published.as_ref()) {
            DraftState::Open => {}
            DraftState::Published => {
                out.say(format!("Draft {} is published already.", dir.name()));
                let copied = self.to.copy(&repository, &lock, out)?;
                out.json(&json!({
                    "draft": dir.name(), "published": "before",
                    "copied": copied.as_ref().map(|c| c.files), "guarded": copied.map(|c| c.guarded),
                }));
                return Ok(Exit::Done);
            }
            DraftState::Superseded { role, drafted, published } => {
                let error = AuthoringError::Superseded { role, drafted, published };
                return Err(tell::authoring(format!("cannot publish {}", dir.name()), &error));
            }
        }
        let signed = complete(&dir)
            .map_err(|error| tell::authoring(format!("cannot publish {}", dir.name()), &error))?;
        let progress = Progress::spinner("publishing");
        put_targets(&repository, &dir, &progress)?;
        put_evidence(&repository, &dir)?;
        let state = self.online.publish(&repository, &lock, published.as_ref(), signed)?;
        drop(progress);
        let copied = self.to.copy(&repository, &lock, out)?;

        out.say(format!("Published draft {}: timestamp version {state}.", dir.name()));
        let releasing = dir.draft.parts().iter().filter(|part| !part.releases().is_empty());
        let signed: Vec<_> = releasing
            .map(|part| (part.role(), part.version(), status::signatures(dir.accepted(part))))
            .collect();
        for (role, version, signatures) in &signed {
            out.say(format!("{role} version {version} is signed by"));
            signatures.iter().for_each(|one| out.say(format!("  {}", one.words())));
        }
        let signed: Vec<_> = signed
            .iter()
            .map(|(role, version, s)| json!({ "role": role, "version": version, "signed": s }))
            .collect();
        out.json(&json!({
            "signatures": signed,
            "draft": dir.name(), "published": "now", "timestamp": state,
            "copied": copied.as_ref().map(|c| c.files), "guarded": copied.map(|c| c.guarded),
            "release": dir.release().map(|r| r.target_path()),
        }));
        Ok(Exit::Done)
    }

    fn choose(
        &self,
        repository: &Repository,
        mut published: Option<&mut Published>,
    ) -> Result<DraftDir, Failure> {
        if let Some(wanted) = &self.draft {
            return repository.draft(wanted, published);
        }
        let mut open = repository.drafts(published.as_deref_mut())?;
        let published = published.as_deref();
        open.retain(|d| d.draft.state(published) == DraftState::Open);
        let complete_ones = open.iter().filter(|d| complete(d).is_ok()).count();
        if open.len() > 1 && complete_ones == 1 {
            open.retain(|d| complete(d).is_ok());
        }
        match open.len() {
            // A single one is taken up even where signatures are missing, so that what is missing is told.
            1 => Ok(open.remove(0)),
            0 => Err(Failure::new(Exit::Input, "there is no open draft to publish")
                .hint("`countersign-metadata refresh` re-signs what is published")),
            n => Err(Failure::new(Exit::Input, format!("{n} drafts are open"))
                .hint("say which: `countersign-metadata status` lists them")),
        }
    }
}

fn complete(dir: &DraftDir) -> Result<Vec<SignedRole>, AuthoringError> {
    dir.draft.parts().iter().map(|part| part.complete(dir.accepted(part))).collect()
}

/// Artifact and inputs, each hashed again on its way.
fn put_targets(
    repository: &Repository,
    dir: &DraftDir,
    progress: &Progress,
) -> Result<(), Failure> {
    let public = repository.public();
    let put = |from: PathBuf, to: String, blob: Blob| {
        let to = public.join(to);
        // Content-addressed: what is there with the right bytes need not be copied again.
        if to.exists() && disk::digest(&to, limit::ARTIFACT, progress)? == blob {
            return Ok(());
        }
        disk::copy(&from, &to, blob, progress)
    };
    for release in dir.draft.parts().iter().flat_map(Part::releases) {
        for blob in release.inputs.iter().map(|i| i.blob).chain([release.source]) {
            let path = layout::input(&blob.sha256);
            put(dir.dir.join(&path), path, blob)?;
        }
    }
    for delta in dir.draft.parts().iter().flat_map(Part::deltas) {
        let path = layout::delta(&delta.sha256);
        put(dir.dir.join(&path), path, delta.blob())?;
    }
    for part in dir.draft.parts() {
        for (path, served) in part.served() {
            let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            put(dir.dir.join(name), layout::target(&path, &served.sha256), served)?;
        }
        if let Some(root) = part.trusted_root() {
            put(dir.dir.join(TARGET), layout::target(TARGET, &root.sha256), root)?;
        }
    }
    Ok(())
}

/// Verdicts, provenance, and the signed bytes with their stock signatures.
fn put_evidence(repository: &Repository, dir: &DraftDir) -> Result<(), Failure> {
    let public = repository.public();
    for part in dir.draft.parts() {
        let (role, version) = (part.role(), part.version());
        disk::write(&public.join(layout::signed_bytes(role, version)), part.message())?;
        for accepted in dir.accepted(part) {
            let signature = accepted.signature();
            if let Some(minisig) = &signature.minisig {
                let path = layout::minisig(role, version, &signature.key.id());
                disk::write(&public.join(path), minisig.as_bytes())?;
            }
            // What the signer says about a rebuild travels with the release, for nodes whose policy asks for it.
            let said = [&signature.rebuilt, &signature.vouched, &signature.waiver];
            for envelope in said.into_iter().flatten() {
                let bytes =
                    serde_json::to_vec(envelope).or_fail(Exit::Host, "cannot write a verdict")?;
                for release in part.releases() {
                    repository.attest(&release.artifact.sha256, &bytes)?;
                }
            }
        }
    }
    let provenance = dir.dir.join("provenance.dsse.json");
    if let Some(release) = dir.release()
        && provenance.exists()
    {
        let bytes = disk::read(&provenance, limit::ATTESTATION)?;
        repository.attest(&release.artifact.sha256, &bytes)?;
    }
    Ok(())
}

impl Online {
    /// Signs, writes, reads back as clients will, and renames `timestamp.json` in. Returns its version.
    pub(crate) fn publish(
        &mut self,
        repository: &Repository,
        _lock: &Lock,
        published: Option<&Published>,
        signed: Vec<SignedRole>,
    ) -> Result<u64, Failure> {
        let now = when::now();
        let told = |error: AuthoringError| tell::authoring("cannot publish", &error);
        let expiry = self.expiry(now)?;
        let mut source = repository.source();
        let previous = self.previous_signer.as_mut().map(|s| s as &mut dyn OnlineSigner);
        let signer = &mut self.signer;
        let publication =
            Publication::prepare_rotation(published, signed, expiry, &mut source, signer, previous)
                .map_err(told)?;
        let public = repository.public();
        for (path, bytes) in publication.files() {
            disk::write(&public.join(path), bytes)?;
        }
        publication.check(&mut source, when::now()).map_err(told)?;
        // The commit point.
        disk::write(&public.join(layout::TIMESTAMP), publication.timestamp())?;
        if let Some((path, bytes)) = publication.after() {
            disk::write(&public.join(path), bytes)?;
        }
        Ok(published.map_or(0, |p| p.version("timestamp")) + 1)
    }

    fn expiry(&self, now: Timestamp) -> Result<Expiry, Failure> {
        let snapshot = self.snapshot_expires.after(now)?;
        let timestamp = self.timestamp_expires.after(now)?;
        // A snapshot is signed anew in the second half of its life, or when the timestamp would outlive it.
        let half = now + snapshot.duration_since(now) / 2;
        Ok(Expiry { snapshot, timestamp, renew: half.max(timestamp) })
    }
}
