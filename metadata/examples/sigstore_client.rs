//! The command-line client that the public sigstore-conformance suite drives, on nothing but our adapter.
//!
//! Verification only, and offline: the trusted root is an argument, or else the production root that the library
//! carries. `sign-bundle` and `--staging` are refused by name.

use std::process::ExitCode;

use countersign_metadata::sigstore::{Artifact, By, Policy, Signer, TrustedRoot, verify_artifact};
use countersign_metadata::{PublicKey, Sha256};
use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

type Failed = Box<dyn std::error::Error>;

#[derive(Default)]
struct Args {
    bundle: String,
    identity: Option<String>,
    issuer: Option<String>,
    key: Option<String>,
    trusted_root: Option<String>,
    artifact: String,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to people")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => {
            println!("verified");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("sigstore_client: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let args = parse(std::env::args().skip(1))?;
    let root = match &args.trusted_root {
        Some(path) => TrustedRoot::parse(&read(path)?)?,
        None => TrustedRoot::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes())?,
    };
    let bundle = read(&args.bundle)?;
    let bytes;
    let artifact = match digest(&args.artifact) {
        Some(digest) => Artifact::Digest(digest),
        None => {
            bytes = read(&args.artifact)?;
            Artifact::Bytes(&bytes)
        }
    };
    if let Some(path) = &args.key {
        let key = PublicKey::from_pem(&String::from_utf8(read(path)?)?)?;
        verify_artifact(&bundle, artifact, By::Key(&key), &root)?;
    } else {
        let identity = args.identity.ok_or("--certificate-identity or --key is needed")?;
        let issuer = args.issuer.ok_or("--certificate-oidc-issuer is needed")?;
        let policy = Policy::new(vec![Signer { label: "asked for".to_owned(), identity, issuer }])?;
        verify_artifact(&bundle, artifact, By::Anyone(&policy), &root)?;
    }
    Ok(())
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, Failed> {
    let mut args = Args::default();
    match words.next().as_deref() {
        Some("verify-bundle") => {}
        other => return Err(format!("{other:?} is not supported (verify-bundle is)").into()),
    }
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--bundle" => args.bundle = value()?,
            "--certificate-identity" => args.identity = Some(value()?),
            "--certificate-oidc-issuer" => args.issuer = Some(value()?),
            "--key" => args.key = Some(value()?),
            "--trusted-root" => args.trusted_root = Some(value()?),
            option if option.starts_with("--") => {
                return Err(format!("{option} is not supported").into());
            }
            _ => args.artifact = word,
        }
    }
    Ok(args)
}

/// The protocol: a digest is `sha256:` and 64 digits, and no file of that name.
fn digest(word: &str) -> Option<Sha256> {
    let digest = word.strip_prefix("sha256:")?.parse().ok()?;
    (!std::path::Path::new(word).exists()).then_some(digest)
}

#[expect(clippy::disallowed_methods, reason = "a program reads files; the library does not")]
fn read(path: &str) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(|error| format!("{path}: {error}").into())
}
