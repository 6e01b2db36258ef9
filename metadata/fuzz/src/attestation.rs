//! Statements, envelopes, signing requests and their answers: as they come, and signed by the key that they name.

use std::sync::LazyLock;

use countersign_metadata::attestation::{self, Index, VerifiedAttestation};
use countersign_metadata::dsse::Envelope;
use countersign_metadata::request::{Signature, SigningRequest};
use countersign_metadata::{PublicKey, Release, Sha256, waiver, word};

use crate::enveloped::enveloped;
use crate::holder::Holder;

static ALICE: LazyLock<Holder> = LazyLock::new(|| Holder::new(1));
static RELEASE: LazyLock<Release> = LazyLock::new(|| {
    let custom = serde_json::from_slice(include_bytes!("../corpus/role/release.json"));
    let path = "demo/1.0.0/demo-1.0.0-linux-x86_64.tar.zst";
    Release::from_custom(path, Some(&custom.expect("JSON"))).expect("a release")
});

pub(crate) fn run(bytes: &[u8]) {
    let (alice, message) = (&ALICE.public, Sha256::of(b"message"));
    check(bytes, None);
    let envelope = enveloped(&ALICE, bytes);
    assert_eq!(envelope.verify(alice).expect("she has signed it"), bytes);
    check(&serde_json::to_vec(&envelope).expect("an envelope"), Some(alice));
    let _word = word::read(bytes, &RELEASE);
    if let Ok(word) = word::read(&serde_json::to_vec(&envelope).expect("an envelope"), &RELEASE) {
        assert_eq!(word.keyholder(), alice);
    }
    let releases = [RELEASE.clone()];
    let _waived = waiver::verify(&envelope, alice, message, &releases);

    if let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) {
        let _payload = envelope.verify(alice);
        let _waived = waiver::verify(&envelope, alice, message, &releases);
    }
    let _index = serde_json::from_slice::<Index>(bytes);
    if let Ok(request) = serde_json::from_slice::<SigningRequest>(bytes) {
        let written = serde_json::to_vec(&request).expect("it was read");
        let again: SigningRequest = serde_json::from_slice(&written).expect("it was read");
        assert_eq!(again.message(), request.message());
    }
    if let Ok(answer) = serde_json::from_slice::<Signature>(bytes) {
        let message = b"message";
        let key = answer.key;
        if let Ok(verified) = answer.verify(message) {
            key.verify(message, &verified.get().signature).expect("it was verified");
        }
    }
}

/// An attestation that is believed is by the key that signed it.
fn check(envelope: &[u8], signer: Option<&PublicKey>) {
    let Ok(verified) = attestation::verify(envelope, &RELEASE) else { return };
    let named = match &verified {
        VerifiedAttestation::Verdict(verdict) => verdict.rebuilder(),
        VerifiedAttestation::Provenance(builder, _) => builder,
    };
    assert!(signer.is_none_or(|signer| signer == named));
}
