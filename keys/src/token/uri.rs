//! PKCS#11 URIs (RFC 7512), as far as they name a key: never with a PIN in them, which others could read.

use std::path::PathBuf;
use std::str::FromStr;

/// What a URI begins with.
pub const SCHEME: &str = "pkcs11:";

/// A key in a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUri {
    /// The vendor's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's identifier.
    pub id: Option<Vec<u8>>,
}

/// A URI that names no key.
#[derive(Debug, thiserror::Error)]
pub enum BadUri {
    /// Another scheme, or no percent encoding.
    #[error("it is not of the form pkcs11:token=…;object=…?module-path=…")]
    Form,
    /// An attribute that is not known, or comes twice.
    #[error("its attribute {0:?} is not known here, or comes twice")]
    Attribute(String),
    /// A PIN, which does not belong there.
    #[error("it holds a PIN, which everybody can read on a command line")]
    Pin,
    /// No library.
    #[error("it names no library (module-path=…)")]
    Module,
    /// No key.
    #[error("it names no key (object=… or id=…)")]
    Object,
}

impl FromStr for TokenUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let rest = text.strip_prefix(SCHEME).ok_or(BadUri::Form)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let attributes = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        let mut uri = Self::default();
        let mut module = None;
        for part in attributes {
            let (name, value) = part.split_once('=').ok_or(BadUri::Form)?;
            if name.starts_with("pin-") {
                return Err(BadUri::Pin);
            }
            let value = decoded(value).ok_or(BadUri::Form)?;
            if name == "id" {
                if uri.id.replace(value).is_some() {
                    return Err(BadUri::Attribute(name.to_owned()));
                }
                continue;
            }
            let slot = match name {
                "token" => &mut uri.token,
                "serial" => &mut uri.serial,
                "object" => &mut uri.object,
                "module-path" => &mut module,
                // "type=private" is what other programs write for a key that signs.
                "type" if value == b"private" => continue,
                _ => return Err(BadUri::Attribute(name.chars().take(40).collect())),
            };
            let value = String::from_utf8(value).map_err(|_| BadUri::Form)?;
            if slot.replace(value).is_some() {
                return Err(BadUri::Attribute(name.to_owned()));
            }
        }
        uri.module = module.filter(|m| !m.is_empty()).ok_or(BadUri::Module)?.into();
        if uri.object.is_none() && uri.id.is_none() {
            return Err(BadUri::Object);
        }
        Ok(uri)
    }
}

/// Percent decoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let mut one = [0];
                hex::decode_to_slice(digits, &mut one).ok()?;
                one[0]
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uri_names_a_library_and_a_key_and_never_a_pin() {
        let uri: TokenUri = "pkcs11:token=Alice%20B.;object=root;id=%01%ff?module-path=/lib/x.so"
            .parse()
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(uri.token.as_deref(), Some("Alice B."));
        assert_eq!((uri.id.as_deref(), uri.module), (Some(&[1, 0xff][..]), "/lib/x.so".into()));
        let refused = |text: &str| text.parse::<TokenUri>().unwrap_err();
        let module = "module-path=/lib/x.so";
        assert!(matches!(refused(&format!("pkcs11:object=a?{module}&pin-value=1")), BadUri::Pin));
        assert!(matches!(refused("pkcs11:object=a"), BadUri::Module));
        assert!(matches!(refused(&format!("pkcs11:token=a?{module}")), BadUri::Object));
        for twice in ["object=a;object=b", "id=%01;id=%02", "object=a;slot-id=0"] {
            let error = refused(&format!("pkcs11:{twice}?{module}"));
            assert!(matches!(error, BadUri::Attribute(_)), "{twice}");
        }
        assert!(matches!(refused("file:x"), BadUri::Form));
    }

    proptest! {
        #[test]
        fn no_uri_makes_us_panic(text: String) {
            let _uris = [&text, &format!("pkcs11:{text}")].map(|t| t.parse::<TokenUri>());
        }
    }
}
