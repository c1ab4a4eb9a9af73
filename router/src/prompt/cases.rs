//! Tests of requests to the demo checkpoint with a few files replaced, against the tokens that transformers produces.

use std::path::{Path, PathBuf};

use jiff::civil::date;
use serde_json::{Value, json};

use super::build;
use crate::{
    openai::chat,
    request::{ChatJob, Limits},
    served::{self, LoadError, ServedModel},
    template::{ChatTemplate, Clock, NamedTokens},
};

const LIMITS: Limits = Limits { images_max: 4, image_bytes_max: 1_000, vocab: 2_000 };
const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo")
}

/// Loads the demo checkpoint with `files` replaced; a file with empty content is removed.
fn try_load(files: &[(&str, &str)]) -> Result<ServedModel, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(demo()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json" || extension == "jinja") {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    for (name, content) in files {
        match *content {
            "" => std::fs::remove_file(folder.path().join(name)).unwrap(),
            content => std::fs::write(folder.path().join(name), content).unwrap(),
        }
    }
    served::load(folder.path(), None)
}

fn job(messages: Value) -> ChatJob {
    chat::parse(&json!({"messages": messages}), &LIMITS).unwrap()
}

fn tokens(files: &[(&str, &str)], messages: Value) -> Vec<u32> {
    build(&try_load(files).unwrap(), &job(messages), 4_096).unwrap().tokens
}

fn said(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

#[test]
fn dates_have_every_code_of_strftime() {
    let source = "{{ strftime_now('%-d %B %Y %j %F %I %p %e') }} \
        {% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}";
    let clock = Clock::At(date(2026, 11, 29).at(8, 30, 0, 0));
    let template = ChatTemplate::with_clock(source, NamedTokens::default(), clock).unwrap();
    let job = job(said("Hi"));
    let rendered = template.render(&template.conversation(&job), |_, text| text.to_owned()).unwrap();
    let expected = [
        22, 29, 506, 330, 503, 393, 423, 20, 22, 26, 437, 23, 23, 423, 20, 22, 26, 17, 21, 21, 17, 22, 29, 616, 28,
        315, 49, 423, 29, 1354,
    ];
    let encoding = try_load(&[]).unwrap().tokenizer.encode(rendered, false).unwrap();
    assert_eq!(encoding.get_ids(), expected);
}

#[test]
fn tojson_is_not_for_html() {
    let template = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}";
    let expected = [6, 428, 11, 87, 225, 32, 70, 34, 225, 10, 225, 64, 6, 85, 64, 6, 6];
    assert_eq!(tokens(&[("chat_template.jinja", template)], said("it's <b> & \"q\"")), expected);
}

#[test]
fn strings_stay_strings_for_roles_that_take_them() {
    for plus in ["~", "+"] {
        let template = "{%- for m in messages %}{%- if m.role == 'system' %}{{ 'SYS ' ~ m.content ~ ' ' }}\
            {%- elif m.role == 'user' %}USER: {% if m.content is string %}{{ m.content }}{% else %}\
            {% for p in m.content %}{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}\
            {% endif %} {% else %}ASSISTANT: {{ m.content ~ '</s>' }}{% endif %}{% endfor %}ASSISTANT:"
            .replace('~', plus);
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]);
        let expected = [55, 61, 55, 473, 73, 288, 293, 73, 74, 18, 1270, 30, 1354, 767, 30];
        assert_eq!(tokens(&[("chat_template.jinja", &template)], messages), expected);
        let content = json!([{"type": "image_url", "image_url": PNG}, {"type": "text", "text": "Hi"}]);
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]);
        assert_eq!(tokens(&[("chat_template.jinja", &template)], messages).iter().filter(|id| **id == 4).count(), 1);
    }
}

#[test]
fn names_reach_the_template() {
    let template =
        "{% for m in messages %}{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}: {{ m.content }}\n{% endfor %}";
    let messages = json!([
        {"role": "user", "name": "ann", "content": "I am nine."},
        {"role": "user", "name": "bob", "content": "Who is nine?"},
    ]);
    let expected = [
        648, 393, 500, 82, 30, 322, 268, 81, 327, 664, 18, 203, 648, 393, 288, 83, 70, 30, 1359, 296, 327, 664, 35, 203,
    ];
    assert_eq!(tokens(&[("chat_template.jinja", template)], messages), expected);
}

#[test]
fn special_tokens_are_known_by_every_name() {
    let config = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>", "image_token": "<image>", "sep_token": "<unk>"}"#;
    let template = "{{ sep_token }}{% for m in messages %}{% for part in m.content %}\
        {% if part.type == 'image' %}{{ image_token ~ '\n' }}{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}";
    let content = json!([{"type": "image_url", "image_url": PNG}, {"type": "text", "text": "Hi"}]);
    let messages = json!([{"role": "user", "content": content}]);
    let files = [("chat_template.jinja", template), ("tokenizer_config.json", config)];
    // The tokens are `<unk>`, `<image>`, the line end, and the words.
    let found = tokens(&files, messages.clone());
    assert_eq!((&found[..3], found.len()), ([3, 4, 203].as_slice(), 4));
    // processor_config.json names the image token too.
    let files = [("chat_template.jinja", template), ("tokenizer_config.json", r#"{"sep_token": "<unk>"}"#)];
    assert_eq!(tokens(&files, messages), found);
}

#[test]
fn the_beginning_is_known_wherever_it_is_named() {
    let template = "{{ bos_token }}{% for m in messages %}USER: {{ m.content }} {% endfor %}ASSISTANT:";
    let config = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "image_token": "<image>"}"#;
    for config in [config, ""] {
        let files = [("chat_template.jinja", template), ("tokenizer_config.json", config)];
        assert_eq!(tokens(&files, said("Hi")), [1, 761, 30, 1354, 767, 30]);
    }
}

#[test]
fn what_a_generation_config_wants_in_vain_ends_the_start() {
    let config = r#"{"bos_token_id": 1, "eos_token_id": 2, "do_sample": false, "suppress_tokens": [322]}"#;
    let error = try_load(&[("generation_config.json", config)]).err().unwrap().to_string();
    assert!(error.contains("generation_config.json: suppress_tokens is [322]"), "{error}");
}
