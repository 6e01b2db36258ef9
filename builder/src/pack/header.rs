//! Tar headers, byte by byte: ustar, and pax records only for names that ustar cannot hold.

use super::plan::{Body, Entry};

/// Zero bytes after a body of `length` bytes, up to the next block.
pub(super) fn padding(length: u64) -> usize {
    ((512 - length % 512) % 512) as usize
}

/// The blocks before an entry's body.
pub(super) fn of(entry: &Entry, epoch: u64) -> Vec<u8> {
    let mut name = entry.path.as_str().to_owned();
    let (kind, mode, length, target) = match &entry.body {
        Body::Directory => {
            name.push('/');
            (b'5', 0o755, 0, "")
        }
        Body::File { length, executable, .. } => {
            (b'0', if *executable { 0o755 } else { 0o644 }, *length, "")
        }
        Body::Symlink { target } => (b'2', 0o777, 0, target.as_str()),
    };
    let mut records = Vec::new();
    for (key, value) in [("path", name.as_str()), ("linkpath", target)] {
        if !fits(value) {
            records.extend_from_slice(&record(key, value));
        }
    }
    let mut out = Vec::new();
    if !records.is_empty() {
        out.extend_from_slice(&block(
            "././@PaxHeader",
            b'x',
            0o644,
            records.len() as u64,
            "",
            epoch,
        ));
        let padding = padding(records.len() as u64);
        out.append(&mut records);
        out.resize(out.len() + padding, 0);
    }
    out.extend_from_slice(&block(&name, kind, mode, length, target, epoch));
    out
}

fn fits(name: &str) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn block(name: &str, kind: u8, mode: u64, length: u64, target: &str, epoch: u64) -> [u8; 512] {
    let mut block = [0; 512];
    text(&mut block[..100], name);
    octal(&mut block[100..108], mode);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], length);
    octal(&mut block[136..148], epoch);
    block[156] = kind;
    text(&mut block[157..257], target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// At most the field's length; what is longer or not ASCII stands in a pax record too.
fn text(field: &mut [u8], value: &str) {
    for (to, from) in field.iter_mut().zip(value.bytes()) {
        *to = from;
    }
}

/// Octal digits that fill the field but for its last byte, NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[..digits]);
    field[digits] = 0;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pax_record_counts_its_own_length() {
        assert_eq!(super::record("path", "x"), b"9 path=x\n");
        assert_eq!(super::record("path", "xx"), b"11 path=xx\n");
        let long = super::record("path", &"x".repeat(989));
        assert_eq!(long.len(), 999);
        assert!(long.starts_with(b"999 path="));
        assert!(super::record("path", &"x".repeat(990)).starts_with(b"1001 path="));
    }
}
