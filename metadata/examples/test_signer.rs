//! A signer command for tests: `test_signer SEED LABEL`, request on standard input, signature on standard output.
//!
//! Its key is the seed. It shows the whole of the signer protocol in a few lines.

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/common/key.rs"]
mod key;

use std::io::{Error, Read, Result, Write};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().and_then(|text| text.parse().ok());
    let seed = seed.ok_or_else(|| Error::other("usage: test_signer SEED(0-255) LABEL"))?;
    let label = arguments.next().unwrap_or_default();
    let mut request = Vec::new();
    std::io::stdin().lock().read_to_end(&mut request)?;
    let request = serde_json::from_slice(&request)?;
    let answer = key::TestKey::new(seed).answer(&request, &label);
    std::io::stdout().write_all(&serde_json::to_vec(&answer)?)
}
