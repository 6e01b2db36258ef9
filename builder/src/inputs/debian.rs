//! Files of Debian source packages: `debian:NAME=VERSION/FILE`. Where they come from is apt's own configuration:
//! its sites, its proxies, its downloader.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;

use super::{InputError, Inputs};
use crate::source::debian::{Role, described};

pub(crate) const APT_HELPER: &str = "/usr/lib/apt/apt-helper";
/// Longest `.dsc`, in bytes.
const MAX_DSC: u64 = 1 << 20;
const COMPONENTS: [&str; 3] = ["main", "contrib", "non-free"];

/// The name of a file as a locked input.
pub fn input_name(package: &str, file: &str) -> String {
    format!("debian:{package}/{file}")
}

/// A package's files and their digests: those that the recipe gives, those that a given `.dsc` names, the others from
/// apt's signed metadata. Where the recipe names no files, all that there are.
///
/// # Errors
/// One is known to neither.
pub fn resolve(
    inputs: &Inputs,
    package: &str,
    files: &[String],
    given: &BTreeMap<String, Sha256>,
) -> Result<BTreeMap<String, Sha256>, InputError> {
    let mut known = given.clone();
    if let Some((dsc, sha256)) = given.iter().find(|(file, _)| file.ends_with(".dsc")) {
        let input = fetch(inputs, package, dsc, sha256)?;
        let path = inputs.get(&input)?;
        let bytes = crate::files::read_limited_no_link(&path, MAX_DSC)
            .map_err(|e| InputError::io(&path, e))?;
        for (file, sha256) in described(&String::from_utf8_lossy(&bytes)) {
            known.entry(file).or_insert(sha256);
        }
    }
    let is_whole = known.keys().any(|file| Role::of(file) == Role::Upstream);
    if files.iter().any(|file| !known.contains_key(file)) || files.is_empty() && !is_whole {
        for (file, sha256) in from_apt(package) {
            known.entry(file).or_insert(sha256);
        }
    }
    let unknown = |file: &str| InputError::Unsupported {
        name: input_name(package, file),
        what:
            "its digest is neither in the recipe (source.sha256, that of the .dsc is enough) nor \
               in apt's metadata (deb-src)"
                .to_owned(),
    };
    if files.is_empty() {
        known.retain(|file, _| !file.ends_with(".asc"));
        let upstream = known.keys().any(|file| Role::of(file) == Role::Upstream);
        return if upstream { Ok(known) } else { Err(unknown("*")) };
    }
    let find = |file: &String| match known.get(file) {
        Some(sha256) => Ok((file.clone(), *sha256)),
        None => Err(unknown(file)),
    };
    files.iter().map(find).collect()
}

/// What apt knows of a source package from its signed indexes: `'URI' FILE SIZE SHA256:DIGEST` a line.
fn from_apt(package: &str) -> Vec<(String, Sha256)> {
    let output = Command::new("apt-get")
        .args(["source", "--print-uris", "--download-only", "--", package])
        .env("LC_ALL", "C")
        .output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(print_uris_line).collect()
}

fn print_uris_line(line: &str) -> Option<(String, Sha256)> {
    let mut words = line.strip_prefix('\'')?.split(' ');
    let file = words.nth(1)?.to_owned();
    let sha256 = words.find_map(|word| word.strip_prefix("SHA256:"))?.parse().ok()?;
    Some((file, sha256))
}

/// Has one file at hand: from the store, or downloaded by apt's helper from the first site that has it.
///
/// # Errors
/// It cannot be had, or is not what was locked.
pub fn fetch(
    inputs: &Inputs,
    package: &str,
    file: &str,
    sha256: &Sha256,
) -> Result<Input, InputError> {
    let name = input_name(package, file);
    if let Some(blob) = inputs.at_hand(&name, sha256)? {
        return Ok(Input { name, blob });
    }
    let failed = |what: &str| InputError::Client {
        client: "apt",
        name: name.clone(),
        what: what.to_owned(),
    };
    if !Path::new(APT_HELPER).is_file() {
        return Err(failed("this machine has no apt"));
    }
    // A name may come from a `.dsc`.
    if file.starts_with('.')
        || !file.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.~_".contains(&b))
    {
        let what = "it is no file name".to_owned();
        return Err(InputError::Unsupported { name, what });
    }
    let dir = inputs.scratch()?;
    let to = dir.path().join(file);
    let mut said = String::from("it knows no site");
    for site in sites() {
        for component in COMPONENTS {
            let uri = format!("{site}/{}", pool_path(component, package, file));
            let output = crate::client::output(
                Command::new(APT_HELPER)
                    .args(["-q", "download-file", &uri])
                    .arg(&to)
                    .arg(format!("SHA256:{sha256}"))
                    .env("LC_ALL", "C"),
            )
            .map_err(|e| failed(&e.to_string()))?;
            if output.status.success() && to.is_file() {
                let (_, blob) = inputs.add_file(&name, &to, sha256)?;
                return Ok(Input { name, blob });
            }
            said = last_lines(&output.stderr);
            // What a failed try left behind must not be taken for the next one's.
            let _not_there = fs::remove_file(&to);
        }
    }
    Err(failed(&said))
}

/// `pool/main/b/beanstalkd/FILE`; libraries are filed under four letters.
fn pool_path(component: &str, package: &str, file: &str) -> String {
    let name = package.split('=').next().unwrap_or(package);
    let letters = if name.starts_with("lib") { 4 } else { 1 };
    let prefix: String = name.chars().take(letters).collect();
    format!("pool/{component}/{prefix}/{name}/{file}")
}

/// The sites that apt takes packages from, in its order; those of the distribution itself hold sources.
pub(crate) fn sites() -> Vec<String> {
    let output = Command::new("apt-get").args(["indextargets", "--format", "$(SITE)"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let mut sites: Vec<String> = Vec::new();
    let listed = text.lines().map(str::to_owned).chain(configured_sites());
    for site in listed {
        let site = site.trim().trim_end_matches('/').to_owned();
        if !site.is_empty() && !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

/// The sites in apt's sources, for a machine whose indexes have not been downloaded.
fn configured_sites() -> Vec<String> {
    let asked = ["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"];
    let output = Command::new("apt-config").args(asked).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let said = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| Path::new(value.trim_matches('\'')).to_owned())
    };
    let mut files: Vec<_> = said("LIST").into_iter().collect();
    if let Some(Ok(entries)) = said("PARTS").map(fs::read_dir) {
        let mut more: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        more.sort();
        files.extend(more);
    }
    let texts = files.iter().filter_map(|f| crate::files::read_limited(f, 1 << 20).ok());
    let lines: Vec<String> = texts
        .flat_map(|t| String::from_utf8_lossy(&t).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines
        .iter()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(|line| line.split_whitespace().filter(|word| word.contains("://")))
        .map(str::to_owned)
        .collect()
}

/// The end of what a program said, on one line.
pub(crate) fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ").chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_paths_are_those_of_a_debian_mirror() {
        assert_eq!(pool_path("main", "beanstalkd=1", "f"), "pool/main/b/beanstalkd/f");
        assert_eq!(pool_path("main", "libevent=1", "f"), "pool/main/libe/libevent/f");
    }

    #[test]
    fn a_line_of_apt_gives_a_file_and_its_digest() {
        let digest = Sha256::of(b"");
        let line = format!("'http://x/y_1.tar.gz' y_1.tar.gz 12 SHA256:{digest}");
        assert_eq!(print_uris_line(&line), Some(("y_1.tar.gz".to_owned(), digest)));
        assert_eq!(print_uris_line("Reading package lists..."), None);
    }
}
