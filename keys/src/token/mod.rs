//! Keys in a PKCS#11 token (a smart card, an HSM), through the vendor's library: the adapter over `cryptoki`.
//!
//! Ed25519 is `CKM_EDDSA` over the message; P-256 is `CKM_ECDSA` over its SHA-256. Both give bare numbers.

mod uri;

use aws_lc_rs::digest::{SHA256, digest};
use countersign_metadata::PublicKey;
use countersign_metadata::key::Algorithm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

pub use uri::{BadUri, SCHEME, TokenUri};

use crate::der;
use crate::label::check;
use crate::secret::{CannotSign, Password, SecretKey, Signer};

/// A token that is of no help.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The library said no.
    #[error("the token's library cannot {what}: {reason}")]
    Library {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// None of the tokens is the one.
    #[error("{found} of the tokens that are there fit (there are: {there})")]
    Token {
        /// How many fit.
        found: usize,
        /// Their labels.
        there: String,
    },
    /// No key, or not one alone.
    #[error("{0} private keys of the token fit")]
    Key(usize),
    /// A key of another kind, or without its public half beside it.
    #[error("the token has no Ed25519 or P-256 public half to the key")]
    Public,
    /// The PIN is wrong, or not text.
    #[error("the PIN is wrong")]
    WrongPin,
    /// Too many wrong PINs.
    #[error("the token is locked after too many wrong PINs")]
    Locked,
}

fn told(what: &'static str) -> impl Fn(Error) -> TokenError {
    move |error| match error {
        Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _) => {
            TokenError::WrongPin
        }
        Error::Pkcs11(RvError::PinLocked, _) => TokenError::Locked,
        other => TokenError::Library { what, reason: other.to_string() },
    }
}

/// The key that `uri` names, once the token is opened with `pin`.
///
/// # Errors
/// The library, the token or the key is not there, or the PIN is wrong.
pub fn open(uri: &TokenUri, pin: &Password) -> Result<SecretKey, TokenError> {
    let library = Pkcs11::new(&uri.module).map_err(told("be loaded"))?;
    let threads = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    library.initialize(threads).map_err(told("begin"))?;
    let session = library.open_ro_session(slot(&library, uri)?).map_err(told("open a session"))?;
    let pin = std::str::from_utf8(pin.as_bytes()).map_err(|_| TokenError::WrongPin)?;
    session.login(UserType::User, Some(&AuthPin::from(pin))).map_err(told("log in"))?;

    let (private, id, label) = private(&session, uri)?;
    let public = public(&session, id).ok_or(TokenError::Public)?;
    let label = if check(&label).is_ok() { label } else { String::new() };
    Ok(SecretKey::new(public, label, InToken { session, private, algorithm: public.algorithm() }))
}

fn slot(library: &Pkcs11, uri: &TokenUri) -> Result<Slot, TokenError> {
    let (mut fit, mut there) = (Vec::new(), Vec::new());
    for slot in library.get_slots_with_initialized_token().map_err(told("list tokens"))? {
        let info = library.get_token_info(slot).map_err(told("describe a token"))?;
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|w| w == found.trim_end())
        };
        if same(&uri.token, info.label()) && same(&uri.serial, info.serial_number()) {
            fit.push(slot);
        }
        there.push(format!("{:?}", info.label().trim_end()));
    }
    match fit.as_slice() {
        [slot] => Ok(*slot),
        _ => Err(TokenError::Token { found: fit.len(), there: there.join(", ") }),
    }
}

/// The one private key, its identifier, and its label.
fn private(
    session: &Session,
    uri: &TokenUri,
) -> Result<(ObjectHandle, Vec<u8>, String), TokenError> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(uri.object.as_ref().map(|o| Attribute::Label(o.as_bytes().to_vec())));
    template.extend(uri.id.clone().map(Attribute::Id));
    let found = session.find_objects(&template).map_err(told("look for the key"))?;
    let [key] = found.as_slice() else { return Err(TokenError::Key(found.len())) };
    let wanted = [AttributeType::Id, AttributeType::Label];
    let attributes = session.get_attributes(*key, &wanted).map_err(told("describe the key"))?;
    let (mut id, mut label) = (Vec::new(), String::new());
    for attribute in attributes {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
            _ => {}
        }
    }
    Ok((*key, id, label))
}

/// The public key object with the same identifier. That it belongs to the private one is proven by each signature.
fn public(session: &Session, id: Vec<u8>) -> Option<PublicKey> {
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id)];
    let found = session.find_objects(&template).ok()?;
    let [key] = found.as_slice() else { return None };
    let wanted = [AttributeType::KeyType, AttributeType::EcPoint];
    let (mut kind, mut point) = (None, Vec::new());
    for attribute in session.get_attributes(*key, &wanted).ok()? {
        match attribute {
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::EcPoint(found) => point = found,
            _ => {}
        }
    }
    // PKCS#11 2.40 wraps the point into an OCTET STRING; some libraries do not.
    let point = der::octets(&point).unwrap_or(&point);
    match kind? {
        KeyType::EC_EDWARDS => Some(PublicKey::ed25519(point.try_into().ok()?)),
        KeyType::EC => PublicKey::p256(point).ok(),
        _ => None,
    }
}

struct InToken {
    session: Session,
    private: ObjectHandle,
    algorithm: Algorithm,
}

impl Signer for InToken {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let refused = |reason| CannotSign::Refused { device: "the token".to_owned(), reason };
        let raw = match self.algorithm {
            Algorithm::Ed25519 => {
                let scheme = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                self.session.sign(&Mechanism::Eddsa(scheme), self.private, message)
            }
            Algorithm::P256 => {
                let digest = digest(&SHA256, message);
                self.session.sign(&Mechanism::Ecdsa, self.private, digest.as_ref())
            }
        };
        let raw = raw.map_err(|e| refused(e.to_string()))?;
        match self.algorithm {
            Algorithm::Ed25519 => Ok(raw),
            Algorithm::P256 => der::ecdsa_halves(&raw)
                .ok_or_else(|| refused("it is not two numbers of 32 bytes".to_owned())),
        }
    }
}
