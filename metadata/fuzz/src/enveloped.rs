//! Statements of whoever, in envelopes signed by a known key.

use countersign_metadata::dsse::{Envelope, IN_TOTO, pae};

use crate::holder::Holder;

pub(crate) fn enveloped(signer: &Holder, payload: &[u8]) -> Envelope {
    let signature = signer.sign(&pae(IN_TOTO, payload));
    Envelope::new(payload, &signer.public.id(), &signature)
}
