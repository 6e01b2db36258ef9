//! `/node/version`: what a node says that it runs, and what that is worth to one who verified the releases itself.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use countersign_metadata::release::target_path;
use countersign_metadata::trust::{Releases, VerifiedTarget};
use countersign_metadata::{Platform, Product, Sha256, Version};
use reqwest::StatusCode;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};

use crate::generation::Generation;

/// Where a node answers.
pub const PATH: &str = "/node/version";

/// What a node says that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Its product.
    pub product: Product,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the canonical tar: the identity that keyholders signed.
    pub digest: Sha256,
    /// The signed release's TUF target path.
    pub path: String,
    /// The state generation.
    pub generation: u64,
}

impl Running {
    /// What a generation says.
    pub fn new(generation: &Generation, platform: &Platform) -> Self {
        let Generation { product, version, binary, number, .. } = generation;
        Self {
            product: product.clone(),
            version: version.clone(),
            digest: *binary,
            path: target_path(product, version, platform),
            generation: *number,
        }
    }
}

/// A stranger's claim: nothing of it is known to be true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which product.
    pub product: Product,
    /// Which version.
    pub version: Version,
    /// Which bytes; a node that was not told its own digest leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sha256>,
}

/// What a claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is a registered release, not revoked, and not older than what runs here.
    Registered,
    /// It is a registered release, not revoked, and older than what runs here.
    Older,
    /// It was registered and must not be run any more.
    Revoked,
    /// No verified release is this one.
    Unknown,
}

/// A standing with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In short.
    pub standing: Standing,
    /// To a person.
    pub reason: String,
}

/// Judges a claim by verified releases. `here` is the version that runs here.
///
/// A claim is believed only as far as this: a peer that lies says what it likes, and one that tells the truth is known
/// to run what keyholders registered.
pub fn judge(claim: &Claim, product: &Product, releases: &Releases, here: &Version) -> Verdict {
    let verdict = |standing, reason: String| Verdict { standing, reason };
    let Claim { version, .. } = claim;
    if claim.product != *product {
        return verdict(
            Standing::Unknown,
            format!("it runs {}, and this node knows {product} only", claim.product),
        );
    }
    let Some(digest) = claim.digest else {
        let reason = format!("it says {version} without a digest: any program can say that");
        return verdict(Standing::Unknown, reason);
    };
    let all = releases.verified.iter().map(VerifiedTarget::release);
    let same: Vec<_> = all.clone().filter(|release| release.artifact.sha256 == digest).collect();
    if same.is_empty() {
        let versions: BTreeSet<_> = all.map(|release| &release.version).collect();
        let reason = if versions.contains(version) {
            format!("{version} is registered with another digest than {}", digest.short())
        } else {
            format!("neither {version} nor the digest {} is registered", digest.short())
        };
        return verdict(Standing::Unknown, reason);
    }
    let Some(release) = same.iter().find(|release| release.version == *version) else {
        let reason =
            format!("the digest {} is {}, and it says {version}", digest.short(), same[0].version);
        return verdict(Standing::Unknown, reason);
    };
    let path = release.target_path();
    if releases.revoked.contains(version) {
        verdict(Standing::Revoked, format!("{path} was revoked"))
    } else if version < here {
        verdict(
            Standing::Older,
            format!("{path} is registered, and older than {here}, which runs here"),
        )
    } else {
        verdict(Standing::Registered, format!("{path} is registered"))
    }
}

/// No claim.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It cannot be asked.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers, and not that.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// It gives more than such an answer can be.
    #[error("{0} gave more than {MAX_ANSWER} bytes")]
    TooLong(String),
    /// It says something else.
    #[error("{url} did not say which version it runs")]
    Malformed {
        /// What was asked for.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 16 << 10;

/// How long a peer may take for its whole answer.
const TIME: Duration = Duration::from_secs(10);

/// Asks a peer what it runs. `url` is the address of the page, or of the peer.
///
/// # Errors
/// It cannot be reached, or gives no such answer.
pub fn ask(url: &reqwest::Url) -> Result<Claim, PeerError> {
    let mut url = url.clone();
    if matches!(url.path(), "" | "/") {
        url.set_path(PATH);
    }
    let name = url.to_string();
    let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| PeerError::Unreachable {
        url: name.clone(),
        source,
    };
    // A peer is asked itself: no proxy for strangers, and no way on to another address.
    let client = Client::builder()
        .user_agent(concat!("countersign-updater/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(TIME)
        .timeout(TIME)
        .build()
        .map_err(|error| unreachable(error.into()))?;
    let answer = client.get(url).send().map_err(|error| unreachable(error.without_url().into()))?;
    if answer.status() != StatusCode::OK {
        return Err(PeerError::Status { url: name, status: answer.status().as_u16() });
    }
    let mut bytes = Vec::new();
    answer.take(MAX_ANSWER + 1).read_to_end(&mut bytes).map_err(|e| unreachable(e.into()))?;
    if bytes.len() as u64 > MAX_ANSWER {
        return Err(PeerError::TooLong(name));
    }
    serde_json::from_slice(&bytes).map_err(|source| PeerError::Malformed { url: name, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Repository;
    use serde_json::json;

    #[test]
    fn a_claim_is_worth_what_verified_releases_say_about_exactly_it() {
        let mut repository = Repository::new();
        let mut digests = Vec::new();
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            let more = if version == "3.0.0" { json!({ "revokes": ["1.0.0"] }) } else { json!({}) };
            digests.push(repository.add(version, &[("bin/node*", version)], more).artifact.sha256);
        }
        repository.publish(2);
        let releases = repository.releases();
        let judged = |product: &str, version: &str, digest: Option<Sha256>, here: &str| {
            let (product, version) = (product.parse().unwrap(), version.parse().unwrap());
            let claim = Claim { product, version, digest };
            judge(&claim, &"example".parse().unwrap(), &releases, &here.parse().unwrap()).standing
        };
        let [one, two, three] = [0, 1, 2].map(|n| Some(digests[n]));
        assert_eq!(judged("example", "3.0.0", three, "2.0.0"), Standing::Registered);
        assert_eq!(judged("example", "2.0.0", two, "2.0.0"), Standing::Registered);
        assert_eq!(judged("example", "2.0.0", two, "3.0.0"), Standing::Older);
        assert_eq!(judged("example", "1.0.0", one, "1.0.0"), Standing::Revoked);
        for (product, version, digest) in [
            ("example", "3.0.0", two),
            ("example", "4.0.0", three),
            ("example", "4.0.0", Some(Sha256::of(b"4"))),
            ("example", "3.0.0", None),
            ("other", "3.0.0", three),
        ] {
            assert_eq!(judged(product, version, digest, "1.0.0"), Standing::Unknown, "{version}");
        }
    }
}
