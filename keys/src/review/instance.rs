//! A change of `trusted_root.json`: whose certificates, log entries and times nodes are to believe.

use std::fmt;

use countersign_metadata::Sha256;
use countersign_metadata::release::Blob;
use countersign_metadata::trusted_root::{Party, Role, parties};
use jiff::Timestamp;

use super::change::Change;
use super::printable;
use crate::Refused;

/// The change, told from the file that came with the request, which must be the one that is to be signed.
pub(super) fn change(
    what: &str,
    was: Option<Blob>,
    now: Option<Blob>,
    came: Option<&[u8]>,
) -> Result<Option<Change>, Refused> {
    let parties = match (now, came) {
        (_, None) => None,
        (Some(now), Some(file)) if is(now, file) => {
            let malformed = |e| Refused::malformed("the trusted root in the request", e);
            Some(parties(file).map_err(malformed)?)
        }
        (_, Some(_)) => {
            let field = "a trusted root in the request that is not the one in it".to_owned();
            return Err(Refused::Unexplained { what: what.to_owned(), field });
        }
    };
    Ok((was != now).then_some(Change::TrustedRoot { was, now, parties }))
}

fn is(listed: Blob, file: &[u8]) -> bool {
    (listed.sha256, listed.length) == (Sha256::of(file), file.len() as u64)
}

pub(super) fn words(
    f: &mut fmt::Formatter<'_>,
    was: Option<&Blob>,
    now: Option<&Blob>,
    parties: Option<&[Party]>,
) -> fmt::Result {
    let Some(now) = now else {
        return f.write_str("- no trusted_root.json any more: nodes believe no keyless statement");
    };
    let sign = if was.is_some() { "!" } else { "+" };
    write!(f, "{sign} trusted_root.json: by it nodes believe keyless (Sigstore) statements")?;
    write!(f, "\n      sha256 {}, {} bytes", now.sha256, now.length)?;
    if let Some(was) = was {
        write!(f, "\n      before: sha256 {}", was.sha256)?;
    }
    let Some(parties) = parties else {
        return f.write_str(
            "\n      The file did not travel with this request: compare its sha256sum before you sign.",
        );
    };
    for party in parties {
        let kind = match party.role {
            Role::CertificateAuthority => "authority",
            Role::Log => "log",
            Role::CertificateLog => "certificates",
            Role::TimestampAuthority => "timestamps",
        };
        write!(f, "\n      {kind:<13}{}, {}", printable(&party.name), good(party))?;
        party.keys.iter().try_for_each(|key| write!(f, "\n      {:<13}key sha256 {key}", ""))?;
    }
    Ok(())
}

fn good(party: &Party) -> String {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    match (party.from.map(day), party.until.map(day)) {
        (None, None) => "at all times".to_owned(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    }
}
