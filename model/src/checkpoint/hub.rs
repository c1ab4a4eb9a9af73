//! The `config.json` of checkpoints on the hub, as they are there, and what they mean.

use crate::checkpoint::vision::TowerConfig;
use crate::checkpoint::{Config, LanguageConfig, RopeConfig, RopeScaling};

fn read(json: &str) -> Config {
    Config::from_json(&serde_json::from_str(json).unwrap()).unwrap()
}

fn plain_rope(theta: f32) -> RopeConfig {
    RopeConfig { theta, scaling: RopeScaling::None, sections: None }
}

#[test]
fn llama_3_2_1b() {
    let config = read(
        r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
            "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3"},
            "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256}"#,
    );
    let scaling =
        RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192 };
    let expected = LanguageConfig {
        vocab: 128_256,
        hidden: 2048,
        intermediate: 8192,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        max_positions: 131_072,
        norm_epsilon: 1e-5,
        rope: RopeConfig { theta: 500_000.0, scaling, sections: None },
        tied_embeddings: true,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        windows: vec![None; 16],
    };
    assert_eq!(config.language, expected);
    assert_eq!((config.architecture.as_str(), config.vision), ("LlamaForCausalLM", None));
    assert_eq!(config.eos_token_ids, [128_001]);
}

#[test]
fn mistral_7b_v0_3() {
    let config = read(
        r#"{"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
            "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
            "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.0.dev0", "use_cache": true, "vocab_size": 32768}"#,
    );
    let language = config.language;
    assert_eq!((language.heads, language.kv_heads, language.head_dim), (32, 8, 128));
    assert_eq!((language.rope, language.windows), (plain_rope(1e6), vec![None; 32]));
    assert!(!language.qkv_bias && !language.qk_norm && !language.tied_embeddings);
}

#[test]
fn qwen_2_5_0_5b() {
    let config = read(
        r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
            "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
            "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
            "use_sliding_window": false, "vocab_size": 151936}"#,
    );
    let language = config.language;
    assert_eq!((language.heads, language.kv_heads, language.head_dim), (14, 2, 64));
    assert_eq!((language.rope, language.windows), (plain_rope(1e6), vec![None; 24]));
    assert!(language.qkv_bias && !language.output_bias && language.tied_embeddings);
    assert_eq!(config.eos_token_ids, [151_643]);
}

#[test]
fn qwen_3_0_6b() {
    let config = read(
        r#"{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true,
            "use_sliding_window": false, "vocab_size": 151936}"#,
    );
    let language = config.language;
    assert_eq!((language.heads, language.kv_heads, language.head_dim), (16, 8, 128));
    assert_eq!((language.rope, language.windows), (plain_rope(1e6), vec![None; 28]));
    assert!(language.qk_norm && !language.qkv_bias && language.tied_embeddings);
}

#[test]
fn llava_1_5_7b_hf() {
    let config = read(
        r#"{"architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32000,
            "model_type": "llava", "pad_token_id": 32001, "projector_hidden_act": "gelu",
            "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
                "torch_dtype": "float16", "vocab_size": 32064},
            "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.36.0.dev0",
            "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
                "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
            "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064}"#,
    );
    let language = config.language;
    assert_eq!((language.vocab, language.hidden, language.kv_heads, language.max_positions), (32_064, 4096, 32, 4096));
    assert_eq!((language.norm_epsilon, language.rope), (1e-5, plain_rope(10_000.0)));
    let info = config.vision.unwrap().info();
    assert_eq!((info.image_token_id, info.tokens_per_image, info.varies), (32_000, 576, false));
    assert_eq!((info.image_size, config.eos_token_ids), (Some(336), vec![2]));
}

#[test]
fn llava_v1_6_mistral_7b_hf() {
    let config = read(
        r#"{"architectures": ["LlavaNextForConditionalGeneration"], "ignore_index": -100,
            "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
            "image_token_index": 32000, "model_type": "llava_next", "projector_hidden_act": "gelu",
            "text_config": {"_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
                "architectures": ["MistralForCausalLM"], "intermediate_size": 14336,
                "max_position_embeddings": 32768, "model_type": "mistral", "num_key_value_heads": 8,
                "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": null, "torch_dtype": "bfloat16",
                "vocab_size": 32064},
            "torch_dtype": "float16", "transformers_version": "4.39.0.dev0", "use_image_newline_parameter": true,
            "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
                "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
            "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064}"#,
    );
    let language = config.language;
    assert_eq!((language.intermediate, language.kv_heads, language.head_dim), (14_336, 8, 128));
    assert_eq!((language.rope, language.windows), (plain_rope(1e6), vec![None; 32]));
    let info = config.vision.unwrap().info();
    assert_eq!((info.image_token_id, info.tokens_per_image, info.varies), (32_000, 2928, true));
    assert_eq!(info.image_size, Some(336));
}

#[test]
fn qwen_2_5_vl_3b() {
    let json = r#"{"architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "vision_start_token_id": 151652,
        "vision_end_token_id": 151653, "vision_token_id": 151654, "image_token_id": 151655,
        "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 11008, "max_position_embeddings": 128000, "max_window_layers": 70,
        "model_type": "qwen2_5_vl", "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "transformers_version": "4.41.2", "use_cache": true, "use_sliding_window": false,
        "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
            "num_heads": 16, "in_chans": 3, "out_hidden_size": 2048, "patch_size": 14, "spatial_merge_size": 2,
            "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2, "temporal_patch_size": 2},
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936}"#;
    let config = read(json);
    let language = config.language;
    assert_eq!((language.heads, language.kv_heads, language.head_dim), (16, 2, 128));
    assert_eq!(language.rope, RopeConfig { sections: Some([16, 24, 24]), ..plain_rope(1e6) });
    assert!(language.qkv_bias && language.tied_embeddings && language.windows == vec![None; 36]);
    let vision = config.vision.unwrap();
    assert_eq!((vision.info().image_token_id, vision.info().varies, vision.info().image_size), (151_655, true, None));
    let TowerConfig::Qwen(tower) = vision.tower else { panic!("another tower") };
    assert_eq!((tower.hidden, tower.heads, tower.layers, tower.window(), tower.factor()), (1280, 16, 32, 4, 28));
    assert_eq!(tower.full_attention, [7, 15, 23, 31]);
}

/// The same model as transformers 5 writes it.
#[test]
fn qwen_2_5_vl_nested() {
    let config = read(
        r#"{"architectures": ["Qwen2_5_VLForConditionalGeneration"], "image_token_id": 90, "model_type": "qwen2_5_vl",
            "text_config": {"eos_token_id": 7, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
                "layer_types": ["full_attention", "full_attention"], "model_type": "qwen2_5_vl_text",
                "num_hidden_layers": 2, "rope_parameters": {"mrope_section": [2, 2, 4], "rope_theta": 5000.0,
                    "rope_type": "default", "type": "mrope"}, "sliding_window": null},
            "tie_word_embeddings": false,
            "vision_config": {"model_type": "qwen2_5_vl_vision", "out_hidden_size": 64,
                "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"}}}"#,
    );
    assert_eq!(config.language.rope, RopeConfig { sections: Some([2, 2, 4]), ..plain_rope(5000.0) });
    assert_eq!((config.eos_token_ids, config.language.tied_embeddings), (vec![7], false));
}
