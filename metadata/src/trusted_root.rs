//! The TUF target `trusted_root.json`: whose certificates, log entries and timestamps a repository's nodes believe.
//!
//! Keyholders sign it in the top-level targets role. What is here tells people what is in the file; what verifies a
//! bundle with it is `sigstore::TrustedRoot`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Sha256;

/// Its target path, as in Sigstore's own repositories.
pub const TARGET: &str = "trusted_root.json";
/// Its greatest length, in bytes.
pub const MAX: u64 = 1 << 20;

/// What a party is believed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Certificates for identities: Fulcio.
    CertificateAuthority,
    /// Entries about signatures: Rekor.
    Log,
    /// Entries about certificates.
    CertificateLog,
    /// Times.
    TimestampAuthority,
}

impl Role {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate authority",
            Self::Log => "log",
            Self::CertificateLog => "log of certificates",
            Self::TimestampAuthority => "timestamp authority",
        }
    }
}

/// One party of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// What it is believed for.
    pub role: Role,
    /// Its address, or its certificate's subject.
    pub name: String,
    /// SHA-256 of its public key (SPKI), or of each certificate of its chain.
    pub keys: Vec<Sha256>,
    /// From when.
    pub from: Option<Timestamp>,
    /// Until when; `None`: until it is taken out.
    pub until: Option<Timestamp>,
}

/// A file that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum BadTrustedRoot {
    /// More bytes than are ever read.
    #[error("it is longer than {MAX} bytes")]
    TooLong,
    /// Not JSON of that shape.
    #[error("it is malformed")]
    Malformed(#[from] serde_json::Error),
    /// A key or certificate is not base64.
    #[error("a key in it is not base64")]
    NotBase64(#[from] base64::DecodeError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    tlogs: Vec<RawLog>,
    #[serde(default)]
    certificate_authorities: Vec<RawAuthority>,
    #[serde(default)]
    ctlogs: Vec<RawLog>,
    #[serde(default)]
    timestamp_authorities: Vec<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    #[serde(default)]
    base_url: String,
    public_key: RawKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: Window,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthority {
    #[serde(default)]
    uri: String,
    #[serde(default)]
    subject: Subject,
    cert_chain: Chain,
    #[serde(default)]
    valid_for: Window,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    organization: String,
    common_name: String,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Window {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

/// Who is in the file, in its order: authorities, logs, logs of certificates, timestamp authorities.
///
/// # Errors
/// It is too long, or no trusted root.
pub fn parties(bytes: &[u8]) -> Result<Vec<Party>, BadTrustedRoot> {
    if bytes.len() as u64 > MAX {
        return Err(BadTrustedRoot::TooLong);
    }
    // An object: a list would do for a structure whose members may all be absent.
    let object: serde_json::Map<_, _> = serde_json::from_slice(bytes)?;
    let file = File::deserialize(serde_json::Value::Object(object))?;
    let authorities = |role, list: Vec<RawAuthority>| {
        list.into_iter().map(move |raw| {
            let name = match raw.uri.as_str() {
                "" => format!("{} {}", raw.subject.organization, raw.subject.common_name),
                uri => uri.to_owned(),
            };
            let keys = raw.cert_chain.certificates.into_iter().map(|c| c.raw_bytes).collect();
            party(role, name, keys, raw.valid_for)
        })
    };
    let logs = |role, list: Vec<RawLog>| {
        list.into_iter().map(move |raw| {
            let RawKey { raw_bytes, valid_for } = raw.public_key;
            party(role, raw.base_url, vec![raw_bytes], valid_for)
        })
    };
    authorities(Role::CertificateAuthority, file.certificate_authorities)
        .chain(logs(Role::Log, file.tlogs))
        .chain(logs(Role::CertificateLog, file.ctlogs))
        .chain(authorities(Role::TimestampAuthority, file.timestamp_authorities))
        .collect()
}

fn party(
    role: Role,
    name: String,
    keys: Vec<String>,
    window: Window,
) -> Result<Party, BadTrustedRoot> {
    let digest = |text: String| STANDARD.decode(text).map(|der| Sha256::of(&der));
    let keys = keys.into_iter().map(digest).collect::<Result<_, _>>()?;
    Ok(Party { role, name, keys, from: window.start, until: window.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_party_of_a_trusted_root_is_told_with_its_keys_and_its_time() {
        let file = r#"{
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{ "baseUrl": "https://log.example", "publicKey": { "rawBytes": "AQ==",
                "validFor": { "start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z" } } }],
            "certificateAuthorities": [{ "subject": { "organization": "o", "commonName": "c" },
                "certChain": { "certificates": [{ "rawBytes": "Ag==" }, { "rawBytes": "Aw==" }] } }]
        }"#;
        let found = parties(file.as_bytes()).unwrap();
        assert_eq!(found[0].name, "o c");
        assert_eq!(found[0].keys, [Sha256::of(&[2]), Sha256::of(&[3])]);
        assert_eq!((found[0].role, found[0].until), (Role::CertificateAuthority, None));
        assert_eq!((found[1].role, found[1].keys.as_slice()), (Role::Log, &[Sha256::of(&[1])][..]));
        assert_eq!(found[1].until, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_trusted_root_is_refused() {
        for text in ["", "[]", r#"{"tlogs":[{}]}"#, r#"{"tlogs":[{"publicKey":{"rawBytes":"?"}}]}"#]
        {
            assert!(parties(text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(parties(&vec![b' '; MAX as usize + 1]), Err(BadTrustedRoot::TooLong)));
    }
}
