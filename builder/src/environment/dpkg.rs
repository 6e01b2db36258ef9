//! The files of Debian packages and of everything that they depend on, from the machine's dpkg.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EnvironmentError;
use super::gather::Gathered;

/// Whether this machine is run by dpkg.
pub(super) fn is_here() -> bool {
    Path::new("/var/lib/dpkg/status").is_file() && query(&["--version"]).is_ok()
}

/// Takes the essential packages, `roots`, and all that they depend on.
///
/// A dependency with alternatives is met by the first that is installed, one on a virtual package by all that
/// provide it. Debian lets every package use the essential ones without naming them.
pub(super) fn gather(roots: &[String], gathered: &mut Gathered) -> Result<(), EnvironmentError> {
    let installed = Installed::read()?;
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let is_missing = |root: &&String| !installed.packages.contains_key(*root);
    let missing: Vec<String> = roots.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Err(EnvironmentError::NoPackages(missing));
    }
    let mut left = [installed.essential.clone(), roots.to_vec()].concat();
    while let Some(name) = left.pop() {
        if wanted.contains(&name) {
            continue;
        }
        if let Some(package) = installed.packages.get(&name) {
            left.extend(package.depends.iter().flat_map(|clause| installed.meet(clause)));
            wanted.insert(name);
        }
    }
    let mut names = Vec::new();
    for name in &wanted {
        let package = &installed.packages[name];
        gathered.part(format!("{name}={}", package.version));
        names.push(package.full_name.as_str());
    }
    let mut arguments = vec!["--listfiles"];
    arguments.extend(names);
    let mut resolved: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    // Lines that do not begin with a slash speak about diversions; blank ones separate packages.
    for path in query(&arguments)?.lines().filter(|line| line.starts_with('/')) {
        gathered.take_here(Path::new(path), &mut resolved)?;
    }
    gathered.take_merged()?;
    gathered.take_alternatives()
}

struct Package {
    full_name: String,
    version: String,
    /// Clauses, each a list of alternatives by name.
    depends: Vec<Vec<String>>,
}

struct Installed {
    packages: HashMap<String, Package>,
    provided: HashMap<String, Vec<String>>,
    essential: Vec<String>,
}

impl Installed {
    fn read() -> Result<Self, EnvironmentError> {
        let native = std::env::consts::ARCH;
        // dpkg's own name for the architecture of this program.
        let native = match native {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let format = "${Package}\\t${binary:Package}\\t${Architecture}\\t${db:Status-Status}\\t\
                      ${Version}\\t${Essential}\\t${Pre-Depends}, ${Depends}\\t${Provides}\\n";
        let text = query(&["--show", "--showformat", format])?;
        let mut this =
            Self { packages: HashMap::new(), provided: HashMap::new(), essential: Vec::new() };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, full_name, arch, status, version, essential, depends, provides] = fields[..]
            else {
                continue;
            };
            if status != "installed" || (arch != native && arch != "all") {
                continue;
            }
            if essential == "yes" {
                this.essential.push(name.to_owned());
            }
            for virtual_name in clauses(provides).into_iter().flatten() {
                this.provided.entry(virtual_name).or_default().push(name.to_owned());
            }
            let package = Package {
                full_name: full_name.to_owned(),
                version: version.to_owned(),
                depends: clauses(depends),
            };
            this.packages.insert(name.to_owned(), package);
        }
        Ok(this)
    }

    fn meet(&self, clause: &[String]) -> Vec<String> {
        for name in clause {
            if self.packages.contains_key(name) {
                return vec![name.clone()];
            }
            if let Some(providers) = self.provided.get(name) {
                return providers.clone();
            }
        }
        Vec::new()
    }
}

/// `a (>= 1), b:any | c` → `[[a], [b, c]]`.
fn clauses(text: &str) -> Vec<Vec<String>> {
    let name = |alternative: &str| {
        let name = alternative.trim().split([' ', ':', '(']).next().unwrap_or_default();
        (!name.is_empty()).then(|| name.to_owned())
    };
    text.split(',')
        .map(|clause| clause.split('|').filter_map(name).collect::<Vec<_>>())
        .filter(|clause| !clause.is_empty())
        .collect()
}

fn query(arguments: &[&str]) -> Result<String, EnvironmentError> {
    let failed = |source| EnvironmentError::Program { program: "dpkg-query".to_owned(), source };
    let output =
        Command::new("dpkg-query").args(arguments).env("LC_ALL", "C").output().map_err(failed)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(std::io::Error::other(text)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dependencies_are_read_as_clauses_of_alternatives() {
        let read = super::clauses("libc6 (>= 2.36), perl:any | awk (= 1) , ,debconf|x-y:amd64");
        assert_eq!(read, [vec!["libc6"], vec!["perl", "awk"], vec!["debconf", "x-y"]]);
    }
}
