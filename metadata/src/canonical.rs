//! OLPC canonical JSON: the exact bytes that TUF signatures cover.

use serde::Serialize;

/// A value that has no canonical form (a fraction, or a map whose keys are not text).
#[derive(Debug, thiserror::Error)]
#[error("value has no canonical JSON form")]
pub struct NotCanonical(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The same document as JSON. Canonical JSON leaves control characters bare in texts, above all the line ends of a
/// PEM key, and JSON forbids that: there they are spelled out. What is outside of texts stays as it is.
pub fn to_json(canonical: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(canonical.len());
    let (mut text, mut escaped) = (false, false);
    for byte in canonical {
        match byte {
            b'\n' if text => json.extend_from_slice(b"\\n"),
            0..0x20 if text => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => json.push(*byte),
        }
        text ^= *byte == b'"' && !escaped;
        escaped = text && *byte == b'\\' && !escaped;
    }
    json
}

/// The canonical bytes of `value`: keys sorted, no white space, integers only.
///
/// # Errors
/// The value holds a number with a fraction, or is not JSON at all.
pub fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    let value = serde_json::to_value(value).map_err(|e| NotCanonical(e.into()))?;
    sigstore_tuf::canonical_json::to_canonical_bytes(&value).map_err(|e| NotCanonical(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_bytes_with_line_ends_become_json_and_come_back() {
        let value = serde_json::json!({ "pem": "-----\nAA==\n\r\u{1}\u{7f}\"\\-----\n" });
        let canonical = to_bytes(&value).unwrap();
        assert!(canonical.contains(&b'\n'), "TUF signs them bare");
        let json = to_json(&canonical);
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, value);
        assert_eq!(to_bytes(&read).unwrap(), canonical);
        assert_eq!(to_json(b"{}\n"), b"{}\n", "what is not canonical does not become so");
    }
}
