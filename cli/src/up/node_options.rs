//! Flags of `up` that are the nodes': handed on as they are, and judged there.

use std::path::Path;

use clap::Args;

/// How the nodes of a local cluster compute.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeOptions {
    /// Format of weights and KV: f32, bf16 or f16 [default: the checkpoint's own; f32 for the embedded demo]
    #[arg(long, value_name = "FORMAT")]
    pub dtype: Option<String>,
    /// How the language model's matrices are kept: native or int8 [default: native]
    #[arg(long, value_name = "HOW")]
    pub weights: Option<String>,
    /// KV memory of each node, such as 2GiB [default: a quarter of the memory that is free when it starts]
    #[arg(long, value_name = "SIZE")]
    pub kv_memory: Option<String>,
    /// Threads of each node [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,
}

impl NodeOptions {
    /// As flags of a node, with the plan that it runs. The demo's answers are documented, and tested, as those of f32.
    pub fn flags(&self, is_demo: bool, plan: Option<&Path>) -> Vec<String> {
        let dtype = self.dtype.clone().or_else(|| is_demo.then(|| "f32".to_owned()));
        let given = [
            ("--dtype", dtype),
            ("--weights", self.weights.clone()),
            ("--kv-memory", self.kv_memory.clone()),
            ("--threads", self.threads.map(|threads| threads.to_string())),
            ("--plan", plan.map(|dir| dir.to_string_lossy().into_owned())),
        ];
        given.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }
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
