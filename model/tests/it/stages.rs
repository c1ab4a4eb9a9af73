//! What the two stages rely on: prefill and decode agree, blocks can be left out, misuse is refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::common::{argmax, distance, folder, load, picture, prefill, receive};
use secateur_model::{FloatType, LoadOptions, Model, ModelError, Segment};

const TOKENS: [u32; 9] = [1, 17, 40, 33, 8, 71, 52, 9, 60];

fn without(blocks: &[usize]) -> Model {
    let blocks_removed: BTreeSet<usize> = blocks.iter().copied().collect();
    Model::load(&folder(), &LoadOptions { blocks_removed, ..LoadOptions::default() }).unwrap()
}

#[test]
fn decoding_token_by_token_is_prefilling_them_all() {
    let model = load();
    let mut cache = model.new_cache(TOKENS.len()).unwrap();
    for end in 1..=TOKENS.len() {
        let stepped = model.decode_step(&mut cache, TOKENS[end - 1]).unwrap();
        let (whole, _) = prefill(&model, &[Segment::Text(&TOKENS[..end])]);
        assert!(distance(&stepped, &whole) < 1e-4, "{end}");
    }
}

#[test]
fn sequences_do_not_disturb_each_other() {
    let model = load();
    let (_, shipped) = prefill(&model, &[Segment::Text(&TOKENS)]);
    let mut alone = receive(&model, &shipped, 4);
    let expected: Vec<_> = [5, 6, 7].map(|token| model.decode_step(&mut alone, token).unwrap()).into();
    let (mut one, mut other) = (receive(&model, &shipped, 4), receive(&model, &shipped, 4));
    for (token, expected) in [5, 6, 7].into_iter().zip(expected) {
        model.decode_step(&mut other, 80).unwrap();
        assert_eq!(model.decode_step(&mut one, token).unwrap(), expected);
    }
}

/// A node shares one model between its threads, and moves caches among them.
#[test]
fn a_model_can_be_shared_and_a_cache_sent() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Model>();
    sent::<secateur_model::KvCache>();
}

#[test]
fn a_rolled_back_cache_goes_on_from_there() {
    let model = load();
    let (_, shipped) = prefill(&model, &[Segment::Text(&TOKENS)]);
    let mut cache = receive(&model, &shipped, 4);
    let first = model.decode_step(&mut cache, 5).unwrap();
    model.decode_step(&mut cache, 80).unwrap();
    cache.set_len(TOKENS.len()).unwrap();
    assert_eq!(model.decode_step(&mut cache, 5).unwrap(), first);
}

#[test]
fn stages_may_leave_out_different_blocks() {
    let (wide, narrow) = (without(&[]), without(&[1]));
    assert_eq!((narrow.kept_layers(), narrow.info().layers), (&[0, 2][..], 3));
    assert_eq!(narrow.info().fingerprint, wide.info().fingerprint);
    let (dense, shipped) = prefill(&wide, &[Segment::Text(&TOKENS)]);
    let (pruned, own) = prefill(&narrow, &[Segment::Text(&TOKENS)]);
    assert_eq!(own.iter().map(|kv| kv.layer).collect::<Vec<_>>(), [0, 2]);
    assert!(distance(&dense, &pruned) > 1e-2);
    // Prefill ran every block; decode takes the KV of those that it has.
    let kept: Vec<_> = shipped.into_iter().filter(|kv| kv.layer != 1).collect();
    let mut cache = receive(&narrow, &kept, 1);
    assert_eq!(cache.kept_layers(), [0, 2]);
    narrow.decode_step(&mut cache, argmax(&dense)).unwrap();
}

#[test]
fn a_caller_can_stop_between_blocks() {
    let model = load();
    let mut seen = 0;
    let stopped = model.prefill(&[Segment::Text(&TOKENS)], &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(ModelError::Cancelled)));
    assert_eq!(seen, 2);
}

#[test]
fn half_precision_is_close_and_ships_half_the_bytes() {
    let full = load();
    let options = LoadOptions { dtype: Some(FloatType::F16), vision: true, ..LoadOptions::default() };
    let half = Model::load(&folder(), &options).unwrap();
    let run = |model: &Model| {
        let visual = model.see(&[picture("waves")]).unwrap().remove(0);
        let (logits, shipped) = prefill(model, &[Segment::Text(&TOKENS[..3]), Segment::Visual(visual)]);
        let mut cache = receive(model, &shipped, 1);
        model.decode_step(&mut cache, 5).unwrap();
        (logits, shipped)
    };
    let ((logits, shipped), (half_logits, half_shipped)) = (run(&full), run(&half));
    assert!(distance(&logits, &half_logits) < 0.1);
    assert_eq!(shipped[0].k.len(), 2 * half_shipped[0].k.len());
}

#[test]
fn misuse_is_refused() {
    let model = load();
    let go_on = &mut |_| ControlFlow::Continue(());
    assert!(matches!(model.prefill(&[], go_on), Err(ModelError::EmptyPrompt)));
    assert!(matches!(model.prefill(&[Segment::Text(&[96])], go_on), Err(ModelError::Token { token: 96, vocab: 96 })));
    let long = vec![5; 257];
    let error = model.prefill(&[Segment::Text(&long)], go_on).unwrap_err();
    assert!(matches!(error, ModelError::ContextTooLong { tokens: 257, limit: 256 }));
    assert!(matches!(model.new_cache(257), Err(ModelError::ContextTooLong { .. })));
    let mut foreign = without(&[1]).new_cache(4).unwrap();
    assert!(matches!(model.decode_step(&mut foreign, 5), Err(ModelError::Cache { .. })));
    let blind = without(&[]);
    assert!(matches!(blind.see(&[picture("pixel")]), Err(ModelError::NoVision)));
    assert!(blind.info().vision.is_some());
}

#[test]
fn a_folder_that_is_no_checkpoint_is_named_in_the_error() {
    let error = Model::load(&folder().join("pictures"), &LoadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn text_embeddings_are_rows_of_the_table() {
    let model = load();
    let rows = model.embed_rows(&[7, 9, 7]).unwrap();
    assert_eq!((rows.len(), rows.width), (3, 64));
    assert!(rows.row(0) == rows.row(2) && rows.row(0) != rows.row(1));
}
