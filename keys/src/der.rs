//! ECDSA signatures from the forms of other tools into DER, which is what TUF carries.

/// `SEQUENCE { INTEGER r, INTEGER s }` of two unsigned big-endian numbers of at most 33 bytes.
pub(crate) fn ecdsa(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let body = [integer(r)?, integer(s)?].concat();
    let length = u8::try_from(body.len()).ok().filter(|l| *l < 0x80)?;
    Some([&[0x30, length][..], &body].concat())
}

/// The same from `r || s`, as PKCS#11 gives them.
pub(crate) fn ecdsa_halves(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(raw.len() / 2)?;
    if r.len() == 32 && s.len() == 32 { ecdsa(r, s) } else { None }
}

/// The content of an OCTET STRING shorter than 128 bytes that fills `der`.
pub(crate) fn octets(der: &[u8]) -> Option<&[u8]> {
    match der {
        [4, length, content @ ..] if *length < 0x80 && usize::from(*length) == content.len() => {
            Some(content)
        }
        _ => None,
    }
}

/// DER wants an INTEGER as short as it can be, with a zero in front where it would else be negative.
fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let start = number.iter().position(|b| *b != 0)?;
    let number = &number[start..];
    let zero: &[u8] = if number[0] & 0x80 == 0 { &[] } else { &[0] };
    let length = u8::try_from(number.len() + zero.len()).ok().filter(|l| *l <= 33)?;
    Some([&[2, length][..], zero, number].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be_and_never_negative() {
        assert_eq!(ecdsa(&[0, 0, 1], &[0x80]).unwrap(), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
        assert_eq!(ecdsa_halves(&[0xff; 64]).unwrap().len(), 2 + 2 * 35);
        for bad in [&[0; 64][..], &[1; 63], &[1; 65], &[], &[1; 128]] {
            assert!(ecdsa_halves(bad).is_none());
        }
        assert!(ecdsa(&[1; 34], &[1]).is_none());
        assert_eq!(octets(&[4, 2, 7, 8]), Some(&[7, 8][..]));
        assert!(octets(&[4, 3, 7, 8]).is_none() && octets(&[]).is_none());
    }
}
