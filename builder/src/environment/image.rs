//! Container images as environments: an OCI image layout (a directory or a tar of one), what `docker save` writes, or the
//! tar of a root file system. What is locked are the layers, in order: `oci:layer-000`, `oci:layer-001`, …

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::EnvironmentError;
use super::layer::CAP;
use crate::Inside;
use crate::files;
use crate::inputs::Inputs;
use crate::pack::{self, Strip};

/// Longest manifest, index or configuration.
const MAX_JSON: u64 = 8 << 20;
/// Most layers.
const MAX_LAYERS: usize = 256;
/// Deepest index in an index.
const MAX_DEPTH: usize = 4;

/// An image's layers, kept in the store, and what people call it.
pub(super) struct Image {
    pub(super) layers: Vec<Input>,
    pub(super) part: String,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Architecture>,
}

#[derive(Deserialize)]
struct Architecture {
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An entry of `docker save`'s `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Keeps the layers of the image at `path`. `wanted` is its digest: of the manifest where there is one, else of the file.
pub(super) fn take(
    path: &Path,
    wanted: Option<&Sha256>,
    inputs: &Inputs,
) -> Result<Image, EnvironmentError> {
    let at = Reader { path, inputs };
    if path.is_dir() {
        return at.layout(path, wanted);
    }
    let file = files::open_no_link(path).map_err(|e| EnvironmentError::io(path, e))?;
    let (mut is_layout, mut is_saved) = (false, false);
    let archive =
        pack::decompressed(BufReader::new(file)).map_err(|e| EnvironmentError::io(path, e))?;
    pack::each_of_root(archive, CAP, &mut |member, _| {
        is_layout |= member.path.as_str() == "oci-layout";
        is_saved |= member.path.as_str() == "manifest.json";
        Ok(())
    })
    .map_err(|e| at.refused(e.to_string()))?;
    if !is_layout && !is_saved {
        return at.root_tar(wanted);
    }
    let dir = inputs.scratch()?;
    let archive = pack::open(path).map_err(|e| at.refused(e.to_string()))?;
    pack::unpack(archive, dir.path(), CAP, Strip::Nothing)
        .map_err(|e| at.refused(e.to_string()))?;
    if is_layout { at.layout(dir.path(), wanted) } else { at.saved(dir.path(), wanted) }
}

/// Whether an input is a layer.
pub(super) fn is_layer(input: &Input) -> bool {
    input.name.starts_with("oci:layer-")
}

/// The image that is read, for its errors.
struct Reader<'a> {
    path: &'a Path,
    inputs: &'a Inputs,
}

impl Reader<'_> {
    fn refused(&self, what: String) -> EnvironmentError {
        EnvironmentError::Image { path: self.path.to_owned(), what }
    }

    fn check(&self, found: &Sha256, wanted: Option<&Sha256>) -> Result<(), EnvironmentError> {
        match wanted {
            Some(wanted) if wanted != found => {
                Err(self.refused(format!("its digest is {found}, and not the recipe's {wanted}")))
            }
            _ => Ok(()),
        }
    }

    fn root_tar(&self, wanted: Option<&Sha256>) -> Result<Image, EnvironmentError> {
        let layer = self.keep(0, self.path)?;
        self.check(&layer.blob.sha256, wanted)?;
        let part = format!("root=sha256:{}", layer.blob.sha256);
        Ok(Image { layers: vec![layer], part })
    }

    fn keep(&self, number: usize, file: &Path) -> Result<Input, EnvironmentError> {
        let opened = files::open_no_link(file).map_err(|e| EnvironmentError::io(file, e))?;
        let (_, blob) = self.inputs.add(opened)?;
        Ok(Input { name: format!("oci:layer-{number:03}"), blob })
    }

    fn json<T: DeserializeOwned>(&self, file: &Path) -> Result<(T, Sha256), EnvironmentError> {
        let bytes = files::read_limited_no_link(file, MAX_JSON)
            .map_err(|e| EnvironmentError::io(file, e))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let value =
            serde_json::from_slice(&bytes).map_err(|e| self.refused(format!("{name}: {e}")))?;
        Ok((value, Sha256::of(&bytes)))
    }

    /// `blobs/sha256/HEX`.
    fn blob(
        &self,
        dir: &Path,
        descriptor: &Descriptor,
    ) -> Result<(PathBuf, Sha256), EnvironmentError> {
        let digest = &descriptor.digest;
        let sha256: Sha256 = digest
            .strip_prefix("sha256:")
            .and_then(|hex| hex.parse().ok())
            .ok_or_else(|| self.refused(format!("{digest:?} is no SHA-256")))?;
        Ok((dir.join("blobs/sha256").join(sha256.to_string()), sha256))
    }

    /// A blob that is JSON and has its digest.
    fn document<T: DeserializeOwned>(
        &self,
        dir: &Path,
        descriptor: &Descriptor,
    ) -> Result<T, EnvironmentError> {
        let (file, sha256) = self.blob(dir, descriptor)?;
        let (value, found) = self.json(&file)?;
        if found != sha256 {
            return Err(self.refused(format!("the blob {} is {found}", descriptor.digest)));
        }
        Ok(value)
    }

    fn layout(&self, dir: &Path, wanted: Option<&Sha256>) -> Result<Image, EnvironmentError> {
        let (mut index, _): (Index, _) = self.json(&dir.join("index.json"))?;
        for _ in 0..MAX_DEPTH {
            let chosen = self.choose(index)?;
            if !chosen.media_type.ends_with(".index.v1+json")
                && !chosen.media_type.ends_with(".list.v2+json")
            {
                let (_, sha256) = self.blob(dir, &chosen)?;
                self.check(&sha256, wanted)?;
                return self.manifest(dir, &chosen, &sha256);
            }
            index = self.document(dir, &chosen)?;
        }
        Err(self.refused("its index leads to no manifest".to_owned()))
    }

    /// The one manifest for this machine's platform.
    fn choose(&self, index: Index) -> Result<Descriptor, EnvironmentError> {
        let fits = |one: &Descriptor| {
            one.platform
                .as_ref()
                .is_none_or(|p| p.architecture == architecture() && p.os == "linux")
        };
        let mut fitting: Vec<Descriptor> = index.manifests.into_iter().filter(fits).collect();
        match (fitting.pop(), fitting.len()) {
            (Some(one), 0) => Ok(one),
            (None, _) => Err(self.refused(format!("it holds no image for {}", architecture()))),
            (Some(_), more) => Err(self.refused(format!(
                "it holds {} images for {}; save one by itself",
                more + 1,
                architecture()
            ))),
        }
    }

    fn manifest(
        &self,
        dir: &Path,
        descriptor: &Descriptor,
        sha256: &Sha256,
    ) -> Result<Image, EnvironmentError> {
        let manifest: Manifest = self.document(dir, descriptor)?;
        self.check_platform(self.document(dir, &manifest.config)?)?;
        self.check_count(manifest.layers.len())?;
        let mut layers = Vec::new();
        for (number, layer) in manifest.layers.iter().enumerate() {
            if !layer.media_type.contains(".tar") || layer.media_type.contains("foreign") {
                return Err(self.refused(format!("it has a layer of type {:?}", layer.media_type)));
            }
            let (file, sha256) = self.blob(dir, layer)?;
            let kept = self.keep(number, &file)?;
            if kept.blob.sha256 != sha256 || kept.blob.length != layer.size {
                let found = kept.blob.sha256;
                return Err(self.refused(format!("the layer {} is {found}", layer.digest)));
            }
            layers.push(kept);
        }
        Ok(Image { layers, part: format!("image=sha256:{sha256}") })
    }

    fn saved(&self, dir: &Path, wanted: Option<&Sha256>) -> Result<Image, EnvironmentError> {
        let (saved, sha256): (Vec<Saved>, _) = self.json(&dir.join("manifest.json"))?;
        self.check(&sha256, wanted)?;
        let [image] = &saved[..] else {
            return Err(self.refused(format!("it holds {} images; save one", saved.len())));
        };
        let (config, _) = self.json(&self.member(dir, &image.config)?)?;
        self.check_platform(config)?;
        self.check_count(image.layers.len())?;
        let layers = image.layers.iter().enumerate();
        let layers = layers.map(|(number, name)| self.keep(number, &self.member(dir, name)?));
        Ok(Image {
            layers: layers.collect::<Result<_, _>>()?,
            part: format!("image=sha256:{sha256}"),
        })
    }

    /// A file that `manifest.json` names. Older dockers write links for layers that are there twice: unpacked, none of
    /// them leads out.
    fn member(&self, dir: &Path, name: &str) -> Result<PathBuf, EnvironmentError> {
        let inside: Inside = name.parse().map_err(|e| self.refused(format!("{e}")))?;
        let file = inside.below(dir);
        file.canonicalize().map_err(|e| EnvironmentError::io(&file, e))
    }

    fn check_platform(&self, config: Architecture) -> Result<(), EnvironmentError> {
        let here = architecture();
        if config.architecture == here && config.os == "linux" {
            return Ok(());
        }
        let Architecture { architecture, os } = config;
        Err(self.refused(format!("it is for {os}/{architecture}, and this is linux/{here}")))
    }

    fn check_count(&self, layers: usize) -> Result<(), EnvironmentError> {
        match layers {
            1..=MAX_LAYERS => Ok(()),
            _ => Err(self.refused(format!("it has {layers} layers; 1 to {MAX_LAYERS} are taken"))),
        }
    }
}

/// This machine's architecture, as images call it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Opens a kept layer.
pub(super) fn open(path: &Path) -> Result<impl std::io::Read + use<>, EnvironmentError> {
    let file: File = files::open_no_link(path).map_err(|e| EnvironmentError::io(path, e))?;
    pack::decompressed(BufReader::with_capacity(1 << 16, file))
        .map_err(|e| EnvironmentError::io(path, e))
}
