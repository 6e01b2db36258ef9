//! `hostile-publisher DRAFT PUBLIC PRODUCT SIGNER`: forces a draft out that lacks signatures.
//!
//! It does what a publisher could do who holds the online key and ignores the threshold: writes the product's role with
//! whatever signatures are there, and signs a snapshot and a timestamp over it. Nodes must refuse the result.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use countersign_metadata::{Sha256, canonical};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[expect(clippy::print_stderr, reason = "a program tells why it failed")]
fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [draft, public, product, signer] = args.as_slice() else {
        eprintln!("usage: hostile-publisher DRAFT PUBLIC PRODUCT SIGNER");
        return ExitCode::from(2);
    };
    let metadata = Path::new(public).join("metadata");
    match force(Path::new(draft), &Forger { metadata, signer }, product) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn force(draft: &Path, forger: &Forger<'_>, product: &str) -> Result<()> {
    let request = fs::read(draft.join(format!("{product}.request.json")))?;
    let request: SigningRequest = serde_json::from_slice(&request)?;
    let RequestSubject::Role { payload, .. } = request.subject else {
        return Err("the draft asks for no role".into());
    };
    let mut signatures = Vec::new();
    for entry in fs::read_dir(draft.join("signatures"))? {
        let signature: Signature = serde_json::from_slice(&fs::read(entry?.path())?)?;
        signatures.push(json!({ "keyid": signature.key.id(), "sig": hex(&signature.signature) }));
    }
    let signed: Value = serde_json::from_slice(&payload.0)?;
    let role = forger.write(&format!("{}.{product}", signed["version"]), &signed, signatures)?;

    let mut snapshot = forger.latest("snapshot")?;
    snapshot["version"] = json!(number(&snapshot)? + 1);
    snapshot["meta"][format!("{product}.json")] = role;
    let pin = forger.sign("snapshot", &format!("{}.snapshot", snapshot["version"]), &snapshot)?;
    let mut timestamp = forger.signed("timestamp")?;
    timestamp["version"] = json!(number(&timestamp)? + 1);
    timestamp["meta"]["snapshot.json"] = pin;
    forger.sign("timestamp", "timestamp", &timestamp)?;
    Ok(())
}

struct Forger<'a> {
    metadata: PathBuf,
    signer: &'a str,
}

impl Forger<'_> {
    /// Writes a metadata file; returns the entry that pins it.
    fn write(&self, name: &str, signed: &Value, signatures: Vec<Value>) -> Result<Value> {
        let bytes = canonical::to_bytes(&json!({ "signatures": signatures, "signed": signed }))?;
        fs::write(self.metadata.join(format!("{name}.json")), &bytes)?;
        Ok(json!({
            "version": signed["version"], "length": bytes.len(), "hashes": { "sha256": Sha256::of(&bytes) },
        }))
    }

    /// Asks the signer command, as `countersign-metadata publish` does, and writes what it signed.
    fn sign(&self, role: &str, name: &str, signed: &Value) -> Result<Value> {
        let last = match role {
            "timestamp" => "timestamp".to_owned(),
            role => format!("{}.{role}", number(signed)? - 1),
        };
        let last = Bytes(fs::read(self.metadata.join(format!("{last}.json")))?);
        let root = Bytes(fs::read(self.metadata.join("1.root.json"))?);
        let request = SigningRequest {
            format: FORMAT,
            subject: RequestSubject::Role {
                role: role.to_owned(),
                payload: Bytes(canonical::to_bytes(signed)?),
                roots: vec![root],
                last: Some(last),
                delegator: None,
                targets: None,
                published: None,
                trusted_root: None,
            },
        };
        let mut words = self.signer.split_whitespace();
        let mut command = Command::new(words.next().ok_or("no signer")?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().ok_or("no standard input")?;
        stdin.write_all(&serde_json::to_vec(&request)?)?;
        drop(stdin);
        let answer: Signature = serde_json::from_slice(&child.wait_with_output()?.stdout)?;
        self.write(
            name,
            signed,
            vec![json!({ "keyid": answer.key.id(), "sig": hex(&answer.signature) })],
        )
    }

    /// The `signed` object of the highest version of a role.
    fn latest(&self, role: &str) -> Result<Value> {
        let mut version = 1;
        while self.metadata.join(format!("{}.{role}.json", version + 1)).exists() {
            version += 1;
        }
        self.signed(&format!("{version}.{role}"))
    }

    fn signed(&self, name: &str) -> Result<Value> {
        let mut file: Value =
            serde_json::from_slice(&fs::read(self.metadata.join(format!("{name}.json")))?)?;
        Ok(file["signed"].take())
    }
}

fn number(signed: &Value) -> Result<u64> {
    signed["version"].as_u64().ok_or_else(|| "no version".into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
