//! The rules of a recipe that its types cannot say.

use countersign_metadata::release::{self, EnvironmentKind};

use super::{EnvironmentSpec, RecipeSpec, Tool, origins};
use crate::Inside;

/// A rule that a recipe breaks.
pub(super) struct Broken {
    /// The field, from the top.
    pub(super) field: Vec<String>,
    /// What is wrong with it.
    pub(super) rule: String,
}

/// Variables that the builder sets itself.
const RESERVED: [&str; 8] =
    ["HOME", "TMPDIR", "USER", "LOGNAME", "CARGO_HOME", "SOURCE_DATE_EPOCH", "LD_PRELOAD", "PWD"];

pub(super) fn broken(field: &[&str], rule: impl Into<String>) -> Broken {
    Broken { field: field.iter().map(|s| (*s).to_owned()).collect(), rule: rule.into() }
}

pub(super) fn check(spec: &RecipeSpec) -> Result<(), Broken> {
    origins::source(&spec.source)?;
    origins::inputs(spec)?;
    build(spec)?;
    outputs(spec)?;
    environment(&spec.environment)?;
    if let Some((oldest, newest)) = spec.protocol
        && oldest > newest
    {
        return Err(broken(&["protocol"], "it is [oldest, newest]"));
    }
    release::check_actions(&spec.actions).map_err(|e| broken(&["actions"], e.to_string()))?;
    node(spec)
}

fn environment(spec: &EnvironmentSpec) -> Result<(), Broken> {
    let kind = spec.kind;
    let only = |name: &str, of: &str| {
        let rule = format!("it is for environments of kind {of}");
        Err(broken(&["environment", name], rule))
    };
    // A version fixes what apt would choose.
    let good = |name: &&String| match name.split_once('=') {
        Some((name, version)) if kind == EnvironmentKind::Debian => {
            is_package(name) && is_plain(version) && !version.is_empty()
        }
        _ => is_package(name),
    };
    if let Some(name) = spec.packages.iter().find(|name| !good(name)) {
        return Err(broken(&["environment", "packages"], format!("{name:?} is no package name")));
    }
    if let Some(channel) = &spec.rust {
        if kind != EnvironmentKind::Debian || !spec.tools.contains(&Tool::Rust) {
            return only("rust", "debian, with the tool \"rust\"");
        }
        if !crate::environment::is_channel(channel) {
            return Err(broken(&["environment", "rust"], "it is stable, or a version like 1.95.0"));
        }
    }
    match (kind, &spec.image) {
        (EnvironmentKind::Oci, None) => {
            Err(broken(&["environment"], "an environment of kind oci names its image"))
        }
        (EnvironmentKind::Oci, Some(_)) if !spec.packages.is_empty() => {
            only("packages", "host or debian: an image holds what it holds")
        }
        (EnvironmentKind::Oci, Some(_)) => Ok(()),
        (_, Some(_)) => only("image", "oci"),
        (_, None) if spec.sha256.is_some() => only("sha256", "oci"),
        (_, None) => Ok(()),
    }
}

fn build(spec: &RecipeSpec) -> Result<(), Broken> {
    let build = &spec.build;
    if build.steps.is_empty() || build.steps.iter().any(|s| s.trim().is_empty()) {
        return Err(broken(
            &["build", "steps"],
            "it lists at least one command, none of them empty",
        ));
    }
    if build.steps.iter().any(|s| s.contains('\0')) {
        return Err(broken(&["build", "steps"], "a command holds a NUL character"));
    }
    if !(1..=64).contains(&build.cpus) {
        return Err(broken(&["build", "cpus"], "it is 1 to 64"));
    }
    // The ustar header holds 33 bits of seconds; make and git dislike times before 1980.
    if !(315_532_800..(1 << 33)).contains(&build.source_date_epoch) {
        return Err(broken(&["build", "source-date-epoch"], "it is in seconds, from 1980 to 2242"));
    }
    for (name, value) in &build.environment {
        let field = ["build", "environment", name.as_str()];
        let good = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good || value.contains('\0') {
            return Err(broken(&field, "it is no environment variable"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(broken(&field, "the builder sets this variable itself"));
        }
    }
    let limits = &build.limits;
    let ranges = [
        ("memory-mib", limits.memory_mib.unwrap_or(64), 16..=1 << 24),
        ("processes", limits.processes, 8..=1 << 16),
        ("wall-seconds", limits.wall_seconds, 1..=7 * 86_400),
        ("scratch-mib", limits.scratch_mib, 1..=1 << 20),
    ];
    for (name, value, range) in ranges {
        if !range.contains(&value) {
            let rule = format!("it is {} to {}", range.start(), range.end());
            return Err(broken(&["build", "limits", name], rule));
        }
    }
    Ok(())
}

fn outputs(spec: &RecipeSpec) -> Result<(), Broken> {
    if spec.outputs.is_empty() {
        return Err(broken(&["outputs"], "it names at least one file of the artifact"));
    }
    for path in spec.outputs.keys() {
        if let Some(above) = spec.outputs.keys().find(|p| *p != path && path.is_below(p)) {
            let rule = format!("it lies inside the output {above:?}", above = above.as_str());
            return Err(broken(&["outputs", path.as_str()], rule));
        }
    }
    Ok(())
}

fn node(spec: &RecipeSpec) -> Result<(), Broken> {
    let Some(node) = &spec.node else { return Ok(()) };
    node.check().map_err(|e| broken(&["node"], e.to_string()))?;
    let program = node.command.first().map_or("", String::as_str);
    let provided = program
        .parse::<Inside>()
        .is_ok_and(|program| spec.outputs.keys().any(|output| program.is_below(output)));
    if provided {
        Ok(())
    } else {
        Err(broken(&["node", "command"], format!("no output provides {program:?}")))
    }
}

pub(super) fn is_package(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.~_:".contains(&b))
}
