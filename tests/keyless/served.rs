//! A Sigstore instance on loopback, by real HTTP: Fulcio, Rekor v1 and v2, a timestamp authority.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_metadata::sigstore::Signer;
use serde_json::{Value, json};

use crate::instance::Instance;

/// Whom the instance knows: the token of `repo:alice` is this identity.
pub(crate) fn alice() -> Signer {
    Signer {
        label: "Alice's rebuilder".to_owned(),
        identity: "https://ci.example/alice/rebuild.yml@refs/heads/main".to_owned(),
        issuer: "https://token.ci.example".to_owned(),
    }
}

/// A token that nobody has signed; the stand-in does not look.
pub(crate) fn token(subject: &str) -> String {
    let claims = json!({ "sub": subject, "iss": alice().issuer });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// The instance at work.
pub(crate) struct Served {
    pub(crate) instance: Arc<Instance>,
    pub(crate) url: String,
}

impl Served {
    pub(crate) fn new() -> Self {
        let instance = Arc::new(Instance::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&instance);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let instance = Arc::clone(&shared);
                std::thread::spawn(move || answer(&mut stream.unwrap(), &instance));
            }
        });
        Self { instance, url }
    }

    /// Writes a configuration of this instance, with `root` as its trusted root, into `dir`.
    pub(crate) fn configure(&self, dir: &Path, rekor_version: u32, root: &[u8]) -> PathBuf {
        let url = &self.url;
        let name = format!("instance-{rekor_version}.toml");
        let stamp = match rekor_version {
            1 => String::new(),
            _ => format!("timestamp = \"{url}/stamp\"\n"),
        };
        let text = format!(
            "fulcio = \"{url}/fulcio\"\nrekor = \"{url}/rekor/\"\nrekor-version = {rekor_version}\n\
             {stamp}trusted-root = \"{name}.root.json\"\n"
        );
        std::fs::write(dir.join(format!("{name}.root.json")), root).unwrap();
        std::fs::write(dir.join(&name), text).unwrap();
        dir.join(name)
    }
}

fn answer(stream: &mut TcpStream, instance: &Instance) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, body) = match path.as_str() {
        "/fulcio/api/v2/signingCert" => certificate(instance, &body),
        "/rekor/api/v1/log/entries" => (201, instance.rekor(&body).to_string().into_bytes()),
        "/rekor/api/v2/log/entries" => (201, instance.rekor_v2(&body).to_string().into_bytes()),
        "/stamp" => (200, instance.stamp(&body)),
        _ => (404, Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
}

fn certificate(instance: &Instance, request: &[u8]) -> (u16, Vec<u8>) {
    let value: Value = serde_json::from_slice(request).unwrap();
    let token = value["credentials"]["oidcIdentityToken"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    match claims["sub"].as_str() {
        Some("repo:alice") => (200, instance.fulcio(request, "repo:alice", &alice())),
        _ => (403, br#"{"message":"there was an error processing the identity token"}"#.to_vec()),
    }
}
