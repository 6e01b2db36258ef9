//! TUF files with a name for people, read and counted by the law in `countersign_metadata::trust`.

use countersign_metadata::canonical;
use countersign_metadata::trust::{Authority, SignedFile, TrustError};
use serde::de::DeserializeOwned;

use crate::Refused;

/// A TUF file. Nothing is verified by reading it.
pub(crate) struct TufFile {
    what: String,
    file: SignedFile,
}

impl TufFile {
    /// Reads a file as it was published. `what` names it in refusals.
    pub(crate) fn published(what: &str, role: &str, bytes: &[u8]) -> Result<Self, Refused> {
        let file = SignedFile::parse(role, bytes).map_err(|e| malformed(what, &e))?;
        Ok(Self { what: what.to_owned(), file })
    }

    /// Reads the bare `signed` bytes of a request. They must be canonical: otherwise a reader that parses them
    /// in another way (a repeated key, say) could see something else than the keyholder was shown.
    pub(crate) fn payload(what: &str, role: &str, bytes: &[u8]) -> Result<Self, Refused> {
        let json = canonical::to_json(bytes);
        let whole = [br#"{"signatures":[],"signed":"#, json.as_slice(), b"}"].concat();
        let this = Self::published(what, role, &whole)?;
        if this.message() != bytes {
            return Err(Refused::NotCanonical(what.to_owned()));
        }
        Ok(this)
    }

    /// The role that it was read as.
    pub(crate) fn role(&self) -> &str {
        self.file.role()
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The canonical bytes of `signed`: what signatures cover.
    pub(crate) fn message(&self) -> &[u8] {
        self.file.message()
    }

    /// The `signed` part as a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        T::deserialize(self.file.signed()).map_err(|e| Refused::malformed(&self.what, e))
    }

    /// Who signs a top-level role by this root.
    pub(crate) fn names(&self, role: &str) -> Result<Authority, Refused> {
        Authority::of_root(&self.file, role).map_err(|e| malformed(&self.what, &e))
    }

    /// Who signs a product's role by these targets.
    pub(crate) fn delegates(&self, product: &str) -> Result<Authority, Refused> {
        Authority::of_delegation(&self.file, product).map_err(|e| malformed(&self.what, &e))
    }

    /// Demands the signatures of `authority`.
    pub(crate) fn verify(&self, authority: &Authority) -> Result<(), Refused> {
        let not_signed = |source| Refused::NotSigned { what: self.what.clone(), source };
        authority.count(&self.file).map(|_quorum| ()).map_err(not_signed)
    }
}

/// The law's own words end up in one sentence with ours.
fn malformed(what: &str, error: &TrustError) -> Refused {
    let source = std::error::Error::source(error).map(ToString::to_string);
    Refused::malformed(what, source.unwrap_or_else(|| error.to_string()))
}
