//! Programs and libraries: which section differs, in which symbol, and whether that is a cause or follows from one.

use std::collections::BTreeMap;

use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind, elf};

use super::looks::Looks;
use super::part::{MAX_PARTS, Part};

/// What differs between two ELF files; `None` where one cannot be read.
pub(super) fn parts(a: &[u8], b: &[u8]) -> Option<Vec<Part>> {
    // EI_CLASS: 1 is 32 bits, 2 is 64.
    const CLASS: usize = 4;
    match (a.get(CLASS), b.get(CLASS)) {
        (Some(2), Some(2)) => of::<elf::FileHeader64<Endianness>>(a, b),
        (Some(1), Some(1)) => of::<elf::FileHeader32<Endianness>>(a, b),
        _ => None,
    }
}

/// A section by name and number among those of the same name.
type Sections<'a> = BTreeMap<(String, usize), Section<'a>>;

struct Section<'a> {
    data: &'a [u8],
    address: u64,
    index: usize,
    code: bool,
}

fn of<H: FileHeader<Endian = Endianness>>(a: &[u8], b: &[u8]) -> Option<Vec<Part>> {
    let x = ElfFile::<H>::parse(a).ok()?;
    let y = ElfFile::<H>::parse(b).ok()?;
    let mut parts = Vec::new();
    if x.architecture() != y.architecture() {
        let name = |file: &ElfFile<'_, H>| format!("{:?}", file.architecture());
        parts.push(Part::field("architecture", name(&x), name(&y)));
    }
    let (sections_x, sections_y) = (sections(&x), sections(&y));
    let only = |of: &Sections<'_>, other: &Sections<'_>| {
        let gone = of.keys().filter(|key| !other.contains_key(*key));
        gone.take(MAX_PARTS).map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ")
    };
    let (gone, new) = (only(&sections_x, &sections_y), only(&sections_y, &sections_x));
    if !gone.is_empty() || !new.is_empty() {
        parts.push(Part::field("sections that only one has", gone, new));
    }
    parts.extend(symbols(&x, &y));
    for (key, one) in &sections_x {
        let Some(other) = sections_y.get(key).filter(|other| other.data != one.data) else {
            continue;
        };
        parts.push(section(&key.0, one, other, &x));
    }
    Some(parts)
}

fn sections<'a, H: FileHeader<Endian = Endianness>>(file: &ElfFile<'a, H>) -> Sections<'a> {
    let mut found = Sections::new();
    for section in file.sections() {
        let Ok(data) = section.data() else { continue };
        let name = section.name().unwrap_or("(no name)").to_owned();
        let nth = (0..).find(|n| !found.contains_key(&(name.clone(), *n))).unwrap_or_default();
        let code = section.kind() == SectionKind::Text;
        let (address, index) = (section.address(), section.index().0);
        found.insert((name, nth), Section { data, address, index, code });
    }
    found
}

fn section<H: FileHeader<Endian = Endianness>>(
    name: &str,
    one: &Section<'_>,
    other: &Section<'_>,
    file: &ElfFile<'_, H>,
) -> Part {
    let mut part = Part::plain(format!("section {name}"), one.data, other.data);
    if name == ".note.gnu.build-id" {
        (part.first, part.second) = (build_id(one.data), build_id(other.data));
        return part.known(Looks::Digest, "a build id: it follows from the other differences");
    }
    if name.starts_with(".symtab") || name.starts_with(".strtab") || name.starts_with(".shstr") {
        return part.known(Looks::Digest, "a table of symbols: it follows from the code");
    }
    if let Some(symbol) = part.offset.and_then(|offset| symbol_at(file, one, offset)) {
        let (first, second) = (part.first.clone(), part.second.clone());
        part.parts.push(Part::field(&format!("symbol {symbol}"), first, second));
    }
    if part.looks.is_none() && one.code {
        let sizes = [one, other].map(|section| format!("{} bytes of code", section.data.len()));
        [part.first, part.second] = sizes;
    }
    part
}

/// The bytes after the note's header and name (`GNU\0`).
fn build_id(note: &[u8]) -> String {
    hex::encode(note.get(16..).unwrap_or_default())
}

/// The symbol that an offset of a section lies in.
fn symbol_at<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    section: &Section<'_>,
    offset: u64,
) -> Option<String> {
    let place = section.address.checked_add(offset)?;
    let holds = |symbol: &object::read::elf::ElfSymbol<'_, '_, H>| {
        symbol.section_index().is_some_and(|index| index.0 == section.index)
            && symbol.size() > 0
            && symbol.address() <= place
            && place - symbol.address() < symbol.size()
    };
    let found = file.symbols().chain(file.dynamic_symbols()).find(holds)?;
    Some(found.name().ok()?.to_owned()).filter(|name| !name.is_empty())
}

/// Symbols that only one has, or the same ones in another order.
fn symbols<H: FileHeader<Endian = Endianness>>(
    x: &ElfFile<'_, H>,
    y: &ElfFile<'_, H>,
) -> Option<Part> {
    let names = |file: &ElfFile<'_, H>| -> Vec<String> {
        let all = file.symbols().chain(file.dynamic_symbols());
        let named = all.filter_map(|symbol| symbol.name().ok().map(str::to_owned));
        named.filter(|name| !name.is_empty()).collect()
    };
    let (of_x, of_y) = (names(x), names(y));
    if of_x == of_y {
        return None;
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    let (sorted_x, sorted_y) = (sorted(&of_x), sorted(&of_y));
    let few = |names: Vec<String>| names.into_iter().take(6).collect::<Vec<_>>().join(" ");
    if sorted_x == sorted_y {
        let (first, second) = of_x.iter().zip(&of_y).find(|(a, b)| a != b)?;
        let part = Part::field("order of symbols", first.clone(), second.clone());
        const HINT: &str = "objects were linked in another order: sort the list (sorted globs, \
                            LC_ALL=C), or make parallel steps write to fixed places";
        return Some(part.known(Looks::Order, HINT));
    }
    let only = |of: &[String], other: &[String]| {
        let gone = of.iter().filter(|name| other.binary_search(name).is_err());
        few(gone.cloned().collect())
    };
    let (first, second) = (only(&sorted_x, &sorted_y), only(&sorted_y, &sorted_x));
    Some(Part::field("symbols that only one has", first, second))
}
