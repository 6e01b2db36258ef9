//! `[policy]`: which releases a node takes.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_metadata::release::Urgency;
use countersign_metadata::sigstore::{self, Signer};
use countersign_metadata::{PublicKey, Version};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::written::{Source, or};
use super::{ConfigError, Pin, units};

/// Which releases a node takes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whether pre-releases are taken.
    pub allow_prerelease: bool,
    /// How many distinct known rebuilders must have reproduced a release, where the operator says it: see
    /// [`Policy::needed`].
    pub reproducers: Option<usize>,
    /// How many of the keyholders who signed a release must have rebuilt it themselves.
    pub rebuilt: Rebuilt,
    /// Whose verdicts count beside those of the keyholders who signed the release.
    pub rebuilders: BTreeSet<PublicKey>,
    /// The same for rebuilders without a key, by exact identity and issuer.
    pub identities: Vec<Signer>,
    /// Versions never taken.
    pub skip: BTreeSet<Version>,
    /// The only versions taken.
    pub pin: Option<Pin>,
    /// How long this node must have known a release.
    pub min_age: Duration,
    /// The least pressing release that is taken.
    pub urgency: Urgency,
}

impl Policy {
    /// How many of the `counting` rebuilders and keyholders must have reproduced a release: what the operator says, or
    /// more than half of them where there is a roster.
    pub fn needed(&self, counting: usize) -> usize {
        match self.reproducers {
            Some(said) => said,
            None if self.roster() == 0 => 0,
            None => counting / 2 + 1,
        }
    }

    /// How many rebuilders the operator names.
    fn roster(&self) -> usize {
        self.rebuilders.len() + self.identities.len()
    }

    /// What the operator should know about it: a setting that lowers a protection is legal, and said.
    pub fn warnings(&self) -> Vec<String> {
        let (named, majority) = (self.roster(), self.roster() / 2 + 1);
        let low = self.reproducers.filter(|said| named > 0 && *said < majority);
        let low = low.map(|said| {
            format!(
                "policy.reproducers = {said} is less than half of the {named} rebuilders that the policy names: \
                 {majority} is a majority of them"
            )
        });
        low.into_iter().collect()
    }
}

/// How many of the keyholders who signed a release must have rebuilt it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "true, false, or a number of keyholders")]
pub enum Rebuilt {
    /// As many as the threshold, or nobody.
    Threshold(bool),
    /// So many.
    AtLeast(usize),
}

impl Default for Rebuilt {
    fn default() -> Self {
        Self::Threshold(false)
    }
}

impl Rebuilt {
    /// How many, of a release that so many had to sign.
    pub fn needed(self, threshold: usize) -> usize {
        match self {
            Self::Threshold(true) => threshold,
            Self::Threshold(false) => 0,
            Self::AtLeast(count) => count,
        }
    }
}

/// As written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenPolicy {
    allow_prerelease: bool,
    reproducers: Option<usize>,
    rebuilt: Rebuilt,
    rebuilders: Vec<Spanned<String>>,
    identities: Vec<WrittenIdentity>,
    skip: Vec<Spanned<String>>,
    pin: Option<Spanned<String>>,
    min_age: Option<Spanned<String>>,
    urgency: Option<Spanned<String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenIdentity {
    label: String,
    identity: Spanned<String>,
    issuer: String,
}

impl WrittenPolicy {
    pub(super) fn merge(self) -> Self {
        Self {
            min_age: Some(or(self.min_age, "0s")),
            urgency: Some(or(self.urgency, "low")),
            ..self
        }
    }

    pub(super) fn validate(
        &self,
        section: &str,
        source: &Source<'_>,
    ) -> Result<Policy, ConfigError> {
        Ok(Policy {
            allow_prerelease: self.allow_prerelease,
            reproducers: self.reproducers,
            rebuilt: self.rebuilt,
            rebuilders: source.list(&format!("{section}.rebuilders"), &self.rebuilders)?,
            identities: identities(source, section, &self.identities)?,
            skip: source.list(&format!("{section}.skip"), &self.skip)?,
            pin: self
                .pin
                .as_ref()
                .map(|value| source.text(&format!("{section}.pin"), value))
                .transpose()?,
            min_age: source.read(
                &format!("{section}.min-age"),
                &or(self.min_age.clone(), "0s"),
                units::duration,
            )?,
            urgency: source.read(
                &format!("{section}.urgency"),
                &or(self.urgency.clone(), "low"),
                urgency,
            )?,
        })
    }
}

/// One after the other, so that the line of the one that cannot be used is told.
fn identities(
    source: &Source<'_>,
    section: &str,
    written: &[WrittenIdentity],
) -> Result<Vec<Signer>, ConfigError> {
    let mut signers = Vec::new();
    for WrittenIdentity { label, identity, issuer } in written {
        let place = identity.span();
        let (label, issuer) = (label.clone(), issuer.clone());
        signers.push(Signer { label, identity: identity.get_ref().clone(), issuer });
        if let Err(error) = sigstore::Policy::new(signers.clone()) {
            return Err(source.line(place, format!("{section}.identities: {error}")));
        }
    }
    Ok(signers)
}

fn urgency(text: &str) -> Result<Urgency, String> {
    match text {
        "low" => Ok(Urgency::Low),
        "normal" => Ok(Urgency::Normal),
        "urgent" => Ok(Urgency::Urgent),
        _ => Err(format!("{text:?} is none of \"low\", \"normal\" and \"urgent\"")),
    }
}
