//! Flags of `up` for its nodes: validated here as a node would, before any is started, and passed on.

use std::path::Path;

use bytesize::ByteSize;
use clap::{Args, builder::PossibleValuesParser};
use secateur_model::{FloatType, WeightFormat};

use crate::doctor::AskedModel;

/// How the nodes of a local cluster compute.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeOptions {
    /// Format of weights and KV: f32, bf16 or f16 [default: the checkpoint's own; f32 for the embedded demo]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(&["f32", "bf16", "f16"]))]
    pub dtype: Option<String>,
    /// How the language model's matrices are kept: native or int8 [default: native]
    #[arg(long, value_name = "HOW", value_parser = one_of(&["native", "int8"]))]
    pub weights: Option<String>,
    /// KV memory of each node, such as 2GiB [default: a quarter of the memory that is free when it starts]
    #[arg(long, value_name = "SIZE")]
    pub kv_memory: Option<ByteSize>,
    /// Threads of each node [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: Option<u32>,
}

impl NodeOptions {
    /// The flags for a node, with the plan that it runs. The demo defaults to f32, in which its answers are documented
    /// and tested.
    pub fn flags(&self, is_demo: bool, plan: Option<&Path>) -> Vec<String> {
        let dtype = self.dtype.clone().or_else(|| is_demo.then(|| "f32".to_owned()));
        let given = [
            ("--dtype", dtype),
            ("--weights", self.weights.clone()),
            ("--kv-memory", self.kv_memory.map(|size| format!("{}B", size.as_u64()))),
            ("--threads", self.threads.map(|threads| threads.to_string())),
            ("--plan", plan.map(|dir| dir.to_string_lossy().into_owned())),
        ];
        given.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }

    /// The checkpoint in `dir` as nodes with these options would serve it.
    pub fn asked(&self, dir: &Path, is_demo: bool, plan: Option<&Path>) -> AskedModel {
        let dtype = self.dtype.as_deref().and_then(FloatType::from_name);
        AskedModel {
            dir: dir.to_owned(),
            needs_weights: true,
            plan: plan.map(Path::to_owned),
            dtype: dtype.or_else(|| is_demo.then_some(FloatType::F32)),
            weights: self.weights.as_deref().and_then(WeightFormat::from_name).unwrap_or(WeightFormat::Native),
            kv_memory: self.kv_memory.map(|size| size.as_u64()),
        }
    }
}

fn one_of(names: &'static [&'static str]) -> PossibleValuesParser {
    PossibleValuesParser::new(names.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_left_to_the_node() {
        assert!(NodeOptions::default().flags(false, None).is_empty());
        assert_eq!(NodeOptions::default().flags(true, Some(Path::new("p"))), ["--dtype", "f32", "--plan", "p"]);
        let asked = NodeOptions { dtype: Some("bf16".into()), threads: Some(2), ..NodeOptions::default() };
        assert_eq!(asked.flags(true, None), ["--dtype", "bf16", "--threads", "2"]);
    }
}
