//! The pruning plan that a node runs: read from a folder, checked against the checkpoint, and turned into the model's
//! stage.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use secateur_model::{BlockRole, Model, RepairFile, Stage};
use secateur_pruning::pdtrim::{self, Bypass, Plan, Role, StageKind};

/// File of the plan itself, in a plan folder.
pub const PLAN_FILE: &str = "plan.json";
/// File of the tensors that the plan puts in the place of blocks; only in a plan folder that needs it.
pub const REPAIRS_FILE: &str = "plan.safetensors";

/// Value of `--plan` that stands for the checkpoint's own plan, if it has one.
const AUTO: &str = "auto";
/// Subfolder of the checkpoint's own plan, in the checkpoint's folder or beside its GGUF file.
const OWN_FOLDER: &str = "plan";

/// A plan as read from its folder.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The parsed plan.
    pub plan: Arc<Plan>,
    /// Digest of the folder's files, in hex; nodes and router compare it.
    pub id: String,
    repairs: Option<RepairFile>,
}

impl NodePlan {
    /// Reads the plan in `dir`.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(PLAN_FILE);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{} is not there; `secateur plan --out DIR` makes a plan folder", path.display())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let text = std::str::from_utf8(&json).with_context(|| format!("{} is not text", path.display()))?;
        let plan = Plan::parse(text).with_context(|| format!("{} is not a plan", path.display()))?;
        // The tensors are read once, so that those hashed into the plan's id are those that the model will load.
        let repairs = plan.needs_tensors().then(|| RepairFile::open(&dir.join(REPAIRS_FILE))).transpose()?;
        let id = pdtrim::id(&json, repairs.as_ref().map(RepairFile::bytes));
        Ok(Self { plan: Arc::new(plan), id, repairs })
    }

    /// The plan folder that the setting `given` means for the checkpoint in `model`: `given` itself, or for `auto` the
    /// checkpoint's own plan folder, if it has one.
    pub fn folder(given: &Path, model: &Path) -> Option<PathBuf> {
        if given != Path::new(AUTO) {
            return Some(given.to_owned());
        }
        let own = secateur_gguf::companions(model)?.join(OWN_FOLDER);
        own.join(PLAN_FILE).is_file().then_some(own)
    }

    /// The plan that the setting `given` means, if there is one. A plan made for another checkpoint than the one in
    /// `model` is refused, before any of the checkpoint is loaded.
    pub fn of(given: Option<&Path>, model: &Path) -> anyhow::Result<Option<Self>> {
        let Some(dir) = given.and_then(|given| Self::folder(given, model)) else { return Ok(None) };
        let plan = Self::open(&dir)?;
        let (made_for, found) = (&plan.plan.document().model_fingerprint, secateur_model::fingerprint(model)?);
        if *made_for != found {
            bail!("the plan was made for another checkpoint (model_fingerprint {made_for}, this one has {found})");
        }
        Ok(Some(plan))
    }

    /// The model's stage that this plan gives to `kind`: the role of each of the checkpoint's blocks.
    pub fn stage(&self, kind: StageKind) -> Stage {
        let role = |layer| match self.plan.role(kind, layer) {
            Role::Run => BlockRole::Run,
            Role::RunMerged { tensors } => BlockRole::Merged { prefix: tensors.to_owned() },
            Role::KvOnly(bypass) => BlockRole::KeysAndValues { tensor: tensor(bypass) },
            Role::Skip(bypass) => match tensor(bypass) {
                Some(tensor) => BlockRole::Linear { tensor },
                None => BlockRole::Skip,
            },
        };
        let layers = self.plan.document().layers;
        Stage::new((0..layers).map(|layer| (layer, role(layer))), self.repairs.clone())
    }

    /// Refuses a plan that this checkpoint cannot follow.
    pub fn check(&self, model: &Model) -> anyhow::Result<()> {
        let (document, info) = (self.plan.document(), model.info());
        if document.layers != info.layers {
            bail!("the plan is for {} blocks, the checkpoint has {}", document.layers, info.layers);
        }
        // With tokens missing between first and last, tokens outside the sliding window would be counted as inside it.
        if let Some(layer) = model.windowed_layers().find(|&layer| self.plan.retention(layer).is_some()) {
            bail!("kv: layer {layer} has a sliding window; first and last tokens alone cannot stand for it");
        }
        Ok(())
    }
}

fn tensor(bypass: Bypass<'_>) -> Option<String> {
    match bypass {
        Bypass::Identity => None,
        Bypass::Linear { tensor } => Some(tensor.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{"format":1,"model_fingerprint":"f","layers":6,
        "calibration":{"name":"c","digest":"d","samples":1,"seed":0},"rule":"relaxed",
        "prefill":{"removed":[{"layer":2,"repair":{"linear":{"tensor":"prefill.2"}}},{"layer":3}]},
        "decode":{"removed":[{"layer":3}]},"kv":[]}"#;

    #[test]
    fn roles_become_a_stage() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PLAN_FILE), PLAN).unwrap();
        assert!(NodePlan::open(dir.path()).unwrap_err().to_string().contains(REPAIRS_FILE));
        std::fs::write(dir.path().join(REPAIRS_FILE), b"tensors").unwrap();
        let plan = NodePlan::open(dir.path()).unwrap();
        let prefill = plan.stage(StageKind::Prefill);
        assert_eq!(*prefill.role(2), BlockRole::KeysAndValues { tensor: Some("prefill.2".into()) });
        assert_eq!((prefill.role(3), prefill.role(4)), (&BlockRole::Skip, &BlockRole::Run));
        let decode = plan.stage(StageKind::Decode);
        assert_eq!((decode.role(2), decode.role(3)), (&BlockRole::Run, &BlockRole::Skip));
    }

    #[test]
    fn other_tensors_are_another_plan() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PLAN_FILE), PLAN).unwrap();
        let id = |tensors: &[u8]| {
            std::fs::write(dir.path().join(REPAIRS_FILE), tensors).unwrap();
            NodePlan::open(dir.path()).unwrap().id
        };
        assert_ne!(id(b"one"), id(b"other"));
    }

    #[test]
    fn what_the_id_was_made_of_is_what_is_loaded_whatever_lies_there_later() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(REPAIRS_FILE);
        std::fs::write(dir.path().join(PLAN_FILE), PLAN).unwrap();
        std::fs::write(&file, b"first").unwrap();
        let plan = NodePlan::open(dir.path()).unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, b"other").unwrap();
        std::fs::rename(&other, &file).unwrap();
        let loaded = plan.repairs.as_ref().map(RepairFile::bytes);
        assert_eq!(loaded, Some(&b"first"[..]));
        assert_eq!(plan.id, pdtrim::id(PLAN.as_bytes(), loaded));
    }

    #[test]
    fn auto_is_the_checkpoints_own_plan_or_none() {
        let model = tempfile::tempdir().unwrap();
        let auto = || NodePlan::of(Some(Path::new("auto")), model.path());
        assert!(auto().unwrap().is_none());
        std::fs::create_dir(model.path().join("plan")).unwrap();
        assert!(auto().unwrap().is_none(), "an empty folder is no plan");
        std::fs::write(model.path().join("plan").join(PLAN_FILE), "{").unwrap();
        assert!(auto().unwrap_err().to_string().contains("not a plan"), "one that is there must be one");
        assert!(NodePlan::of(None, model.path()).unwrap().is_none());
    }

    #[test]
    fn a_folder_without_a_plan_says_what_to_do() {
        let error = NodePlan::open(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("secateur plan"), "{error}");
    }
}
