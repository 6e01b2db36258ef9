//! `verify`: which release a file is, who signed it, who reproduced it, and how to check that without us.

use std::collections::BTreeMap;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::layout::{self, limit};
use countersign_metadata::sigstore::TrustedRoot;
use countersign_metadata::statement::Outcome;
use countersign_metadata::trust::{Releases, Signer, Trust, TrustError, VerifiedTarget};
use countersign_metadata::word::Word;
use countersign_metadata::{Platform, Product, PublicKey, Version};
use countersign_updater::durable;
use countersign_updater::net::{Mirror, Repository};
use countersign_updater::rebuilder::Rebuilder;
use countersign_updater::trust_store::signed_trusted_root;
use countersign_updater::verify::{Digests, Match, Verdicts, digests, find, namesake, verdicts};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::tell;

/// Say which signed release a file is, who signed it and who reproduced it
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file: an artifact as served, or its tar
    file: PathBuf,
    /// Address of the repository (http, https or file)
    #[arg(long, value_name = "URL")]
    repository: Repository,
    /// The repository's root file, from a person you trust
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The product; by default every product of the repository is looked through
    #[arg(long)]
    product: Option<Product>,
}

/// What was found out about the file.
struct Found {
    target: VerifiedTarget,
    how: Match,
    digests: Digests,
    verdicts: Verdicts,
    labels: BTreeMap<PublicKey, Signer>,
    /// Signers whose signature the mirror has as a `.minisig` file.
    minisigs: Vec<Signer>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let (digests, name) = self.hash()?;
        let mirror = Mirror::new(&self.repository).map_err(|error| tell::net(&error))?;
        let (mut trust, releases) = self.releases(&mirror)?;
        let Some((target, how)) = find(&releases.verified, &digests) else {
            return Err(not_signed(&self.file.display().to_string(), &name, &digests, &releases));
        };
        let target = target.clone();
        let mut source = &mirror;
        let root = signed_trusted_root(&mut trust, Timestamp::now(), &mut source, None)
            .map_err(|error| refused(&error))?
            .and_then(|bytes| TrustedRoot::parse(&bytes).ok());
        let verdicts = verdicts(&mirror, target.release(), root.as_ref())
            .map_err(|error| tell::net(&error))?;
        let labels = trust.keys();
        let minisigs = minisigs(&mirror, &target);
        let found = Found { target, how, digests, verdicts, labels, minisigs };
        self.say(out, &found);
        out.json(&found.to_json(&self.repository));
        Ok(if found.target.revoked() { Exit::Verdict } else { Exit::Done })
    }

    fn hash(&self) -> Result<(Digests, String), Failure> {
        let what = format!("{} cannot be read", self.file.display());
        let length = self.file.metadata().or_fail(Exit::Input, &what)?.len();
        let bar = Progress::bytes("hashing", length);
        let digests =
            digests(&self.file, &mut |bytes| bar.add(bytes)).or_fail(Exit::Input, what)?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((digests, name))
    }

    fn releases(&self, mirror: &Mirror) -> Result<(Trust, Releases), Failure> {
        let root = durable::read(&self.root, limit::ROOT)
            .or_fail(Exit::Input, "the root file cannot be used")?
            .ok_or_else(|| {
                Failure::new(Exit::Input, format!("there is no root file {}", self.root.display()))
                    .hint("get it from a person you trust, not from the mirror")
            })?;
        let spinner = Progress::spinner("verifying the repository");
        let mut trust = Trust::from_root(&root).map_err(|error| refused(&error))?;
        let mut source = mirror;
        let now = Timestamp::now();
        trust.refresh(now, &mut source).map_err(|error| refused(&error))?;
        let products = match &self.product {
            Some(product) => vec![product.clone()],
            None => trust.products(),
        };
        let mut all = Releases::default();
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        for product in &products {
            match trust.releases(product, now, &mut source) {
                Ok(Releases { verified, refused, .. }) => {
                    all.verified.extend(verified);
                    all.refused.extend(refused);
                }
                // A broken role ends only its own branch, unless it is the one that was asked for.
                Err(error) if self.product.is_some() || products.len() == 1 => {
                    return Err(refused(&error));
                }
                Err(_) => {}
            }
        }
        // An old release of a product with hash bins is in no index: its bin is looked into by the file's name.
        for (product, version, platform) in products.iter().flat_map(|p| named(p, &name)) {
            if let Ok(Some(target)) = trust.release(product, &version, &platform, now, &mut source)
                && all.verified.iter().all(|known| known.path() != target.path())
            {
                all.verified.push(target);
            }
        }
        drop(spinner);
        Ok((trust, all))
    }

    fn say(&self, out: Out, found: &Found) {
        let release = found.target.release();
        let name = self.file.display();
        out.say(format!(
            "{name}\nis {} {} for {}.",
            release.product, release.version, release.platform
        ));
        if found.target.revoked() {
            out.say("ITS KEYHOLDERS HAVE REVOKED IT: do not run it.");
        }
        match found.how {
            Match::AsServed => out.say("Every byte is as it was signed."),
            Match::SameTar => {
                out.say("Its content is what was signed; the file was compressed otherwise.");
            }
        }
        if !release.notes.is_empty() {
            out.say(format!("\n  {}", release.notes.replace('\n', "\n  ")));
        }
        out.say(format!(
            "\n  file      {}  {} bytes",
            found.digests.file.sha256, found.digests.file.length
        ));
        out.say(format!(
            "  identity  {}  (its tar: what rebuilders compare)",
            release.artifact.sha256
        ));
        out.say(format!("  source    {}", release.source.sha256));

        let signers = found.target.signers();
        let needed = found.target.threshold();
        out.say(format!("\nSigned by {} ({needed} needed):", keyholders(signers.len())));
        for signer in signers {
            let grounds = found.grounds(signer.key());
            out.say(format!("  {:<16} {}  {grounds}", label(signer), signer.key()));
        }
        found.say_verdicts(out);
        out.say("\nCheck the same with stock tools:");
        for command in found.commands(&self.repository, &name.to_string()) {
            out.say(format!("  {command}"));
        }
    }
}

impl Found {
    /// What a signature rests on, by what its keyholder has published.
    fn grounds(&self, key: &PublicKey) -> &'static str {
        let signers = self.target.signers().iter().map(|signer| *signer.key()).collect();
        if self.verdicts.reproduced(&signers).keyholders.contains(key) {
            "rebuilt it"
        } else if self.verdicts.words.contains(&Word::Waived { keyholder: *key }) {
            "did NOT rebuild it, and says so"
        } else {
            "says nothing about a rebuild"
        }
    }

    /// What people call a key; strangers have no name here.
    fn whose(&self, by: &Rebuilder) -> Option<String> {
        let Rebuilder::Key(key) = by else { return None };
        let signer = self.target.signers().iter().find(|s| s.key() == key);
        signer.or_else(|| self.labels.get(key)).map(label)
    }

    fn say_verdicts(&self, out: Out) {
        let verdicts = &self.verdicts.verdicts;
        if verdicts.is_empty() {
            out.say("\nNobody has published a rebuild of it.");
        } else {
            let reproduced = verdicts.iter().filter(|v| v.reproduced()).count();
            let all = verdicts.len();
            out.say(format!("\nRebuilt by {all}, with the same bytes by {reproduced}:"));
        }
        for verdict in verdicts {
            let by = verdict.by();
            let who = match (self.whose(by), by) {
                (Some(label), _) => format!("{label} (keyholder)"),
                (None, Rebuilder::Key(_)) => "a stranger".to_owned(),
                (None, Rebuilder::Identity { .. }) => "an identity".to_owned(),
            };
            let day = verdict.at().strftime("%Y-%m-%d");
            let (word, more) = match verdict.outcome() {
                Outcome::Reproduced => ("reproduced", String::new()),
                Outcome::Divergence { sha256 } => ("DIFFERS", format!("  got {sha256}")),
                Outcome::DidNotBuild { reason } => {
                    ("DID NOT BUILD", format!("  {}", reason.lines().next().unwrap_or_default()))
                }
            };
            out.say(format!("  {word:<13} {day}  {who:<24} {by}{more}"));
        }
        if self.verdicts.unbelieved > 0 {
            let n = self.verdicts.unbelieved;
            out.say(format!(
                "  ({n} attestations on the mirror do not verify and were not counted)"
            ));
        }
        if self.verdicts.unjudged > 0 {
            let n = self.verdicts.unjudged;
            out.say(format!(
                "  ({n} keyless statements cannot be judged: the repository has no trusted_root.json that can be used)"
            ));
        }
    }

    /// Commands of curl, minisign and coreutils which check the same chain by hand.
    fn commands(&self, repository: &Repository, file: &str) -> Vec<String> {
        let (role, version) = (self.target.release().product.as_str(), self.target.role_version());
        let signed = layout::signed_bytes(role, version);
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut commands = vec![format!("curl -fsSO {}", quoted(&repository.address(&signed)))];
        for signer in &self.minisigs {
            let path = layout::minisig(role, version, &signer.key().id());
            commands.push(format!("curl -fsSO {}", quoted(&repository.address(&path))));
            commands.push(format!(
                "minisign -V -P {} -m {} -x {}",
                signer.key(),
                base(&signed),
                base(&path)
            ));
        }
        let (digest, artifact) = (self.target.sha256(), self.target.release().artifact.sha256);
        let hash = match self.how {
            Match::AsServed => {
                commands.push(format!("grep -o {digest} {}", base(&signed)));
                format!("echo {} | sha256sum -c", quoted(&format!("{digest}  {file}")))
            }
            Match::SameTar => {
                commands.push(format!("grep -o {artifact} {}", base(&signed)));
                format!("zstd -dcf {} | sha256sum | grep {artifact}", quoted(file))
            }
        };
        commands.push(hash);
        commands
    }

    fn to_json(&self, repository: &Repository) -> Value {
        let release = self.target.release();
        let signers = self.target.signers().iter();
        let verdicts = self.verdicts.verdicts.iter().map(|verdict| {
            json!({
                "rebuilder": verdict.by(),
                "label": self.whose(verdict.by()),
                "keyholder": self.whose(verdict.by()).is_some(),
                "at": verdict.at(),
                "outcome": verdict.outcome(),
            })
        });
        json!({
            "product": release.product,
            "version": release.version,
            "platform": release.platform,
            "as-served": self.how == Match::AsServed,
            "file": self.digests.file,
            "artifact": release.artifact,
            "role-version": self.target.role_version(),
            "threshold": self.target.threshold(),
            "signers": signers
                .map(|s| json!({
                    "key": s.key(), "label": s.label(), "grounds": self.grounds(s.key()),
                }))
                .collect::<Vec<_>>(),
            "verdicts": verdicts.collect::<Vec<_>>(),
            "builders": self.verdicts.builders,
            "unbelieved": self.verdicts.unbelieved,
            "unjudged": self.verdicts.unjudged,
            "commands": self.commands(repository, "FILE"),
        })
    }
}

fn minisigs(mirror: &Mirror, target: &VerifiedTarget) -> Vec<Signer> {
    let (role, version) = (target.release().product.as_str(), target.role_version());
    let there = |signer: &&Signer| {
        let path = layout::minisig(role, version, &signer.key().id());
        matches!(mirror.get(&path, limit::TIMESTAMP), Ok(Some(_)))
    };
    target.signers().iter().filter(there).cloned().collect()
}

/// What a file `PRODUCT-VERSION-PLATFORM.tar…` may be; both of the latter may have hyphens.
fn named<'a>(product: &'a Product, name: &str) -> Vec<(&'a Product, Version, Platform)> {
    let rest = name.strip_prefix(&format!("{product}-")).unwrap_or_default();
    let rest = rest.split(".tar").next().unwrap_or_default();
    let split = rest.match_indices('-').filter_map(|(at, _)| {
        let (version, platform) = (rest.get(..at)?, rest.get(at + 1..)?);
        Some((product, version.parse().ok()?, platform.parse().ok()?))
    });
    split.take(4).collect()
}

fn keyholders(count: usize) -> String {
    if count == 1 { "1 keyholder".to_owned() } else { format!("{count} keyholders") }
}

fn label(signer: &Signer) -> String {
    // Labels come from the repository: nothing in them may move the cursor.
    signer.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Quoted for a shell, where that is needed.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn refused(error: &TrustError) -> Failure {
    if let TrustError::Unreachable { .. } = error {
        return Failure::caused(Exit::Network, "the mirror did not answer", error)
            .hint("check the address and that the mirror is up");
    }
    Failure::caused(Exit::Untrusted, "the repository is not trusted", error)
        .hint("either the mirror lies or is stale, or the root file is not this repository's")
}

fn not_signed(file: &str, name: &str, digests: &Digests, releases: &Releases) -> Failure {
    let found = digests.file.sha256;
    match namesake(&releases.verified, name) {
        Some(target) => {
            let wanted = target.sha256();
            let version = &target.release().version;
            Failure::new(
                Exit::Untrusted,
                format!(
                    "{file} is not the signed release {version}: wanted {wanted}, found {found}"
                ),
            )
            .hint("do not run it; download it again, from another mirror")
        }
        None => Failure::new(
            Exit::Untrusted,
            format!("{file} is not a release that this repository signs (sha256 {found})"),
        )
        .hint("do not run it; if it was withdrawn, the repository no longer vouches for it"),
    }
}
