//! A comparison, told to a person.

use countersign_builder::build::NotVaried;
use countersign_builder::compare::{Comparison, DifferenceKind, Part};
use countersign_builder::prepare::Prepared;
use countersign_builder::recipe::RandomSpec;
use countersign_console::{Out, printable};

/// Most members that are told one by one.
const MAX_TOLD: usize = 10;
/// Most parts of a member, or of a part, that are told.
const MAX_PARTS: usize = 5;

/// What somebody must know who relies on a build.
pub(super) fn cautions(prepared: &Prepared, not: &[NotVaried], native: &[String], out: Out) {
    if prepared.recipe.spec().build.random == RandomSpec::Held {
        out.say("CAUTION: random = \"held\": whatever this build made of random bytes (a key, a salt) is no secret");
    }
    for NotVaried { kind, why } in not {
        out.say(format!("not varied: {kind}, because {why}"));
    }
    for command in native {
        let command = printable(command);
        out.say(format!("CAUTION: the bytes depend on this machine's processor: {command}"));
    }
    if !native.is_empty() {
        out.say("  usual cure: name a processor (-march=x86-64-v2, -C target-cpu=x86-64-v2)");
    }
}

pub(super) fn comparison(comparison: &Comparison, out: Out) {
    for difference in comparison.differences.iter().take(MAX_TOLD) {
        let member = &difference.member;
        match &difference.kind {
            DifferenceKind::Extra => out.say(format!("  {member}: only the second has it")),
            DifferenceKind::Missing => out.say(format!("  {member}: only the first has it")),
            DifferenceKind::Type { first, second } => {
                out.say(format!("  {member}: a {first} in the first, a {second} in the second"));
            }
            DifferenceKind::Mode { first, second } => {
                out.say(format!("  {member}: mode {first} in the first, {second} in the second"));
            }
            DifferenceKind::Target { first, second } => {
                out.say(format!("  {member}: points to {first:?}, in the second to {second:?}"));
            }
            DifferenceKind::Content(content) => {
                match content.offset {
                    Some(offset) => out.say(format!("  {member}: differs from byte {offset} on")),
                    None => out.say(format!("  {member}: differs")),
                }
                if content.first != content.second {
                    out.say(format!("    first:  {}", content.first));
                    out.say(format!("    second: {}", content.second));
                }
                if let Some(hint) = content.hint {
                    out.say(format!("    it looks like {hint}"));
                }
                parts(&content.parts, 4, content.hint, out);
            }
        }
    }
    let more = comparison.differences.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        out.say(format!("  and {more} more members"));
    }
}

/// What differs inside, from the outside in; the cure that was `told` already is not repeated.
fn parts(parts: &[Part], indent: usize, told: Option<&str>, out: Out) {
    let space = " ".repeat(indent);
    for part in parts.iter().take(MAX_PARTS) {
        let at = part.offset.map(|offset| format!(", from byte {offset} on")).unwrap_or_default();
        out.say(format!("{space}{}{at}", printable(&part.name)));
        if part.parts.is_empty() && part.first != part.second {
            let hint = part.hint.filter(|hint| told != Some(hint));
            let hint = hint.map(|hint| format!("   ({hint})")).unwrap_or_default();
            let (first, second) = (printable(&part.first), printable(&part.second));
            out.say(format!("{space}  {first:?} / {second:?}{hint}"));
        }
        self::parts(&part.parts, indent + 2, told, out);
    }
    let more = parts.len().saturating_sub(MAX_PARTS);
    if more > 0 {
        out.say(format!("{space}and {more} more"));
    }
}
