//! zip (APPNOTE 6.3): times and owners stand in each member's own header, in the directory at the end, and in extra fields.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{at, u16_at, u32_at};

const LOCAL: usize = 30;
const CENTRAL: usize = 46;
const END: usize = 22;
/// Longest comment after the directory.
const MAX_COMMENT: usize = u16::MAX as usize;

/// Sets all times, and owners to root. Archives with 64-bit sizes stay as they are.
pub(super) fn clean(bytes: &mut [u8], epoch: u32) -> Option<()> {
    let members = members(bytes)?;
    let dos = dos_time(epoch)?.to_le_bytes();
    for (central, local) in members {
        *at(bytes, central + 12)? = dos;
        *at(bytes, local + 10)? = dos;
        let name = u16_at(bytes, central + 28)?;
        extra(bytes, central + CENTRAL + name, u16_at(bytes, central + 30)?, epoch)?;
        let name = u16_at(bytes, local + 26)?;
        extra(bytes, local + LOCAL + name, u16_at(bytes, local + 28)?, epoch)?;
    }
    Some(())
}

/// Where the headers of each member are, in the directory and before its body; all of them, or nothing.
fn members(bytes: &[u8]) -> Option<Vec<(usize, usize)>> {
    if !bytes.starts_with(b"PK\x03\x04") {
        return None;
    }
    let last = bytes.len().checked_sub(END)?;
    let is_end = |start: &usize| {
        bytes[*start..].starts_with(b"PK\x05\x06")
            && u16_at(bytes, start + 20) == Some(bytes.len() - start - END)
    };
    let end = (last.saturating_sub(MAX_COMMENT)..=last).rev().find(is_end)?;
    let (count, mut central) = (u16_at(bytes, end + 10)?, u32_at(bytes, end + 16)?);
    let mut members = Vec::new();
    for _ in 0..count {
        let local = u32_at(bytes, central.checked_add(42)?)?;
        if bytes.get(central..central + 4)? != b"PK\x01\x02"
            || bytes.get(local..local.checked_add(4)?)? != b"PK\x03\x04"
        {
            return None;
        }
        let (name, more) = (u16_at(bytes, central + 28)?, u16_at(bytes, central + 30)?);
        let own = local + LOCAL + u16_at(bytes, local + 26)? + u16_at(bytes, local + 28)?;
        members.push((central, local));
        central += CENTRAL + name + more + u16_at(bytes, central + 32)?;
        if own > bytes.len() || central > bytes.len() {
            return None;
        }
    }
    Some(members).filter(|members| !members.is_empty())
}

/// Extra fields: an identifier, a length, and so many bytes.
fn extra(bytes: &mut [u8], start: usize, length: usize, epoch: u32) -> Option<()> {
    let (mut field, end) = (start, start + length);
    while field + 4 <= end {
        let (id, length) = (u16_at(bytes, field)?, u16_at(bytes, field + 2)?);
        let body = field + 4;
        let next = body + length;
        if next > end {
            break;
        }
        match id {
            // Info-ZIP's times: flags, then up to three of four bytes.
            0x5455 => {
                for time in (body + 1..next.saturating_sub(3)).step_by(4) {
                    *at(bytes, time)? = epoch.to_le_bytes();
                }
            }
            // Info-ZIP's owners: a version, and two numbers with their lengths.
            0x7875 => {
                let user = usize::from(*bytes.get(body + 1)?);
                bytes.get_mut(body + 2..(body + 2 + user).min(next))?.fill(0);
                let group = body + 3 + user;
                bytes.get_mut(group.min(next)..next)?.fill(0);
            }
            // NTFS's times.
            0x000a => bytes.get_mut(body..next)?.fill(0),
            _ => {}
        }
        field = next;
    }
    Some(())
}

/// Two seconds, minutes, hours; days, months, years since 1980.
fn dos_time(epoch: u32) -> Option<u32> {
    let time = Timestamp::from_second(i64::from(epoch)).ok()?.to_zoned(TimeZone::UTC);
    let year = u32::try_from(time.year()).ok()?.saturating_sub(1980).min(127);
    let part = |value: i8| u32::try_from(value).unwrap_or_default();
    let day = year << 9 | part(time.month()) << 5 | part(time.day());
    Some(day << 16 | part(time.hour()) << 11 | part(time.minute()) << 5 | (part(time.second()) / 2))
}
