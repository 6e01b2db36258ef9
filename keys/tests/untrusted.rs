//! Bytes from strangers never make a parser panic: random ones, and good ones with a few bytes bent.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::LazyLock;

use common::{Repo, product, release, request};
use countersign_keys::keyfile::{self, KeyFile};
use countersign_keys::label::public_label;
use countersign_keys::pin::PinnedRoot;
use countersign_keys::pkcs8::PemKey;
use countersign_keys::raw::RawSignature;
use countersign_keys::review::review;
use countersign_keys::sign::{Rebuilds, sign, statement};
use countersign_keys::{Protection, minisig};
use countersign_metadata::PublicKey;
use countersign_metadata::request::SigningRequest;
use countersign_metadata::statement::Outcome;
use proptest::prelude::*;

/// Good bytes of every kind that this crate reads.
struct Good {
    alice: PublicKey,
    root: Vec<u8>,
    files: Vec<Vec<u8>>,
}

impl Good {
    fn pinned(&self) -> PinnedRoot {
        PinnedRoot::published(self.root.clone()).unwrap_or_else(|e| panic!("{e}"))
    }
}

const PEM: [&str; 3] = [
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA0LpoaGEJubkw6l3kDwplzd8uAIPqEP5Rlq9Yb8Xof+U=\n-----END PUBLIC KEY-----\n",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNCX1VGX1+hjGMFfWMQJ04jhaESEhBurLgwOeu0K5XTZ8JK8LFhgan6eDwbYM6PgiR63VCRNfdeZyckS3m2ws9Q= alice\n",
];

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let repo = Repo::new();
    let made = keyfile::generate("alice", &Protection::WithoutPassword).unwrap();
    let asked = repo.release_request(&product(2, &[release("1.0.0")]), Some(&product(1, &[])));
    let root = request("root", &repo.root1(), &[], None, None);
    let reviewed = review(&root, None).unwrap_or_else(|e| panic!("{e}"));
    let signed = sign(&reviewed, &repo.alice.secret, &Rebuilds::WithoutRebuild);
    let signed = signed.unwrap_or_else(|e| panic!("{e}")).signature;
    let mut files = vec![
        made.secret.as_bytes().to_vec(),
        made.public.into_bytes(),
        signed.minisig.unwrap().into_bytes(),
        signed.signature,
        serde_json::to_vec(&asked).unwrap(),
        serde_json::to_vec(&root).unwrap(),
        common::verdict(&release("1.0.0"), &repo.alice, Outcome::Reproduced),
        repo.published_root1(),
    ];
    files.extend(PEM.map(|text| text.as_bytes().to_vec()));
    Good { alice: *repo.alice.key(), root: repo.published_root1(), files }
});

/// Whatever reads bytes in this crate.
fn read_all(bytes: &[u8]) {
    let alice = &GOOD.alice;
    let text = String::from_utf8_lossy(bytes);
    let _label = public_label(&text);
    if let Ok(key) = PublicKey::from_file_text(&text) {
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key, "read as it is written");
    }
    let _key = PublicKey::from_spki(bytes);
    let _key = PublicKey::from_ssh_blob(bytes);
    if let Ok(file) = KeyFile::parse(&text)
        && !file.is_sealed()
    {
        let _secret = file.open(None);
    }
    if let Ok(file) = PemKey::parse(&text)
        && !file.is_sealed()
    {
        let _secret = file.open(None);
    }
    let _signature = RawSignature::verify(bytes, alice, b"message");
    let _comment = minisig::verify(&text, alice, b"message");
    let pinned = GOOD.pinned();
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    if let Ok(asked) = serde_json::from_slice::<SigningRequest>(bytes) {
        for pinned in [None, Some(&pinned)] {
            let reviewed = review(&asked, pinned);
            let _words = reviewed.map(|r| r.get().words(now));
        }
    }
    let _words = statement(bytes).map(|r| r.get().words(now));
    let _root = PinnedRoot::published(bytes.to_vec());
}

#[test]
fn good_bytes_are_read() {
    GOOD.files.iter().for_each(|bytes| read_all(bytes));
}

proptest! {
    #[test]
    fn random_bytes_make_nothing_panic(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn bent_bytes_make_nothing_panic(
        which: prop::sample::Index,
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length: prop::sample::Index,
        cut: bool,
    ) {
        let mut bytes = which.get(&GOOD.files).clone();
        for (at, byte) in bends {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        read_all(&bytes);
    }

    /// A request whose base64 is whole and whose content is bent, so that the review itself is reached.
    #[test]
    fn bent_payloads_make_no_review_panic(
        at: prop::sample::Index,
        byte: u8,
        field in 0..4usize,
    ) {
        let mut asked: SigningRequest = serde_json::from_slice(&GOOD.files[4]).unwrap();
        let countersign_metadata::request::RequestSubject::Role {
            payload, roots, last, delegator, ..
        } = &mut asked.subject else { panic!() };
        let bytes = match field {
            0 => &mut payload.0,
            1 => &mut roots[0].0,
            2 => &mut last.as_mut().unwrap().0,
            _ => &mut delegator.as_mut().unwrap().0,
        };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _words = review(&asked, Some(&GOOD.pinned()))
            .map(|r| r.get().words("2026-11-20T00:00:00Z".parse().unwrap()));
    }
}
