//! A repository whose root, targets and product are signed by six of six keyholders, each with another stock tool.
//!
//! Read back by our law here; with COUNTERSIGN_SIX_TOOLS=DIR it stays in DIR for a client of another house
//! (`keys/tests/python-tuf`).
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::error::Error;
use std::path::{Path, PathBuf};

use common::Holder;
use common::program::Desk;
use common::stock::{Agent, P256, openssl_key, stock, token, token_key};
use countersign_metadata::authoring::{self, Draft, Expiry, OnlineSigner, Part, Plan, Publication};
use countersign_metadata::request::{FORMAT, Signature, SigningRequest};
use countersign_metadata::trust::{Source, SourceError, Trust};
use countersign_metadata::{PublicKey, Sha256};

const NAMES: [&str; 6] = ["minisign", "signify", "openssl", "p256", "token", "agent"];

/// Six keyholders at one desk.
struct Six {
    desk: Desk,
    library: PathBuf,
    _agent: Agent,
}

impl Six {
    /// Each makes a key with the own tool, and gives the public half in that tool's form.
    fn new() -> Self {
        let mut desk = Desk::new();
        stock(&desk, "minisign -G -W -s minisign.key -p minisign.public", b"").done();
        stock(&desk, "signify-openbsd -G -n -p signify.pub -s signify.sec", b"").done();
        openssl_key(&desk, "openssl", "ED25519");
        openssl_key(&desk, "p256", P256);
        let library = token(&mut desk);
        token_key(&desk, &library, "token", "EC:edwards25519", 1);
        let agent = Agent::start(&mut desk, "agent", "ed25519");
        for name in ["signify", "agent"] {
            let theirs = desk.path(&format!("{name}.pub"));
            std::fs::rename(theirs, desk.path(&format!("{name}.public"))).unwrap();
        }
        for name in NAMES {
            desk.run(&format!("import --label {name} {name}.public -o {name}.pub")).done();
        }
        Self { desk, library, _agent: agent }
    }

    fn holders(&self) -> Vec<authoring::Holder> {
        let holder = |name: &str| {
            let text = std::fs::read_to_string(self.desk.path(&format!("{name}.pub"))).unwrap();
            let key = PublicKey::from_file_text(&text).unwrap();
            authoring::Holder { label: name.to_owned(), key }
        };
        NAMES.map(holder).to_vec()
    }

    /// One keyholder reviews the request, has the own tool sign it, and answers.
    fn answer(&self, name: &str, part: &Part) -> Signature {
        let Self { desk, library, .. } = self;
        desk.put_request("request.json", &part.request());
        let public = format!("--public {name}.pub");
        let sign = |key: String| {
            desk.run(&format!("sign --yes {key} {public} -o sig.json request.json")).done()
        };
        match name {
            "agent" => sign("--key ssh-agent:agent.pub".to_owned()),
            "token" => {
                let library = library.display();
                let uri = format!("pkcs11:token=desk;object=token?module-path={library}");
                sign(format!("--key {uri} --password-file pin"))
            }
            _ => {
                desk.run(&format!("export-message {public} request.json -o message")).done();
                assert_eq!(std::fs::read(desk.path("message")).unwrap(), part.message());
                let tool = match name {
                    "minisign" => "minisign -S -l -s minisign.key -m message -x raw",
                    "signify" => "signify-openbsd -S -s signify.sec -m message -x raw",
                    "openssl" => {
                        "openssl pkeyutl -sign -rawin -inkey openssl.pem -in message -out raw"
                    }
                    _ => "openssl dgst -sha256 -sign p256.pem -out raw message",
                };
                stock(desk, tool, b"").done();
                let import = "import-signature --request request.json";
                desk.run(&format!("{import} {public} raw -o sig.json")).done()
            }
        };
        serde_json::from_slice(&std::fs::read(desk.path("sig.json")).unwrap()).unwrap()
    }
}

/// The unattended key.
struct Online(Holder);

impl OnlineSigner for Online {
    fn sign(
        &mut self,
        request: &SigningRequest,
    ) -> Result<Signature, Box<dyn Error + Send + Sync>> {
        let message = request.message();
        Ok(Signature {
            format: FORMAT,
            message: Sha256::of(&message),
            key: *self.0.key(),
            label: String::new(),
            signature: self.0.raw(&message),
            minisig: None,
            rebuilt: None,
            waiver: None,
            vouched: None,
        })
    }
}

struct Directory<'a>(&'a Path);

impl Source for Directory<'_> {
    fn fetch(&mut self, path: &str, _max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.0.join(path);
        if path.exists() { Ok(Some(std::fs::read(path)?)) } else { Ok(None) }
    }
}

fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn six_of_six_sign_a_repository_with_six_tools_and_our_law_reads_it() {
    let six = Six::new();
    let online = Online(Holder::new("online"));
    let plan = Plan {
        products: vec!["demo".parse().unwrap()],
        keyholders: six.holders(),
        threshold: 6,
        online: authoring::Holder { label: "online".to_owned(), key: *online.0.key() },
        expires: "2099-01-01T00:00:00Z".parse().unwrap(),
    };
    let draft = Draft::init(&plan).unwrap();
    let mut signed = Vec::new();
    for part in draft.parts() {
        let accept = |name: &&str| part.accept(six.answer(name, part)).unwrap();
        let accepted: Vec<_> = NAMES.iter().map(accept).collect();
        assert!(part.complete(&accepted[1..]).is_err(), "five are not six");
        signed.push(part.complete(&accepted).unwrap());
    }

    let kept = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the name of a directory is no secret")]
    let wanted = std::env::var_os("COUNTERSIGN_SIX_TOOLS").map(PathBuf::from);
    let dir = wanted.as_deref().unwrap_or(kept.path());
    let expires = plan.expires;
    let expiry = Expiry { snapshot: expires, timestamp: expires, renew: expires };
    let mut online = online;
    let made = Publication::prepare(None, signed, expiry, &mut Directory(dir), &mut online);
    let made = made.unwrap();
    for (path, bytes) in made.files() {
        put(dir, path, bytes);
    }
    put(dir, "metadata/timestamp.json", made.timestamp());

    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let root = std::fs::read(dir.join("metadata/1.root.json")).unwrap();
    let mut trust = Trust::from_root(&root).unwrap();
    trust.refresh(now, &mut Directory(dir)).unwrap();
    let labels: Vec<_> = trust.keys().values().map(|s| s.label().to_owned()).collect();
    assert!(NAMES.iter().all(|name| labels.iter().any(|l| l == name)), "{labels:?}");
}
