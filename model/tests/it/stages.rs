//! Properties that the two stages rely on: prefill and decode agree, blocks can be left out, misuse is refused.

use crate::common::{
    argmax, distance, folder, load, picture, prefill, prefill_in_chunks, receive, receive_at, receive_lacking, run,
    step, step_together,
};
use secateur_model::{
    BlockTable, FloatType, Input, LoadOptions, Model, ModelError, Segment, Stage, Wanted, WeightFormat, Workspace,
};

const TOKENS: [u32; 9] = [1, 17, 40, 33, 8, 71, 52, 9, 60];

fn without(blocks: &[usize]) -> Model {
    let stage = Stage::without(blocks.iter().copied());
    Model::load(&folder(), &LoadOptions { stage, ..LoadOptions::default() }).unwrap()
}

/// Compares bit for bit: a preempted answer is recomputed to the same state.
#[test]
fn decoding_token_by_token_is_prefilling_them_all() {
    let model = load();
    let (first, shipped) = prefill(&model, &[Segment::Text(&TOKENS[..1])]);
    let mut sequence = receive(&model, &shipped, TOKENS.len());
    let mut stepped = vec![first];
    stepped.extend(TOKENS[1..].iter().map(|&token| step(&model, &mut sequence, token)));
    let whole = model.logits(&[Segment::Text(&TOKENS)]).unwrap();
    assert_eq!(stepped.concat(), whole);
}

#[test]
fn chunks_are_the_whole_bit_for_bit() {
    let model = load();
    let visual = model.see(&[picture("waves")]).unwrap().remove(0);
    let prompt = [Segment::Text(&TOKENS[..5]), Segment::Visual(visual), Segment::Text(&TOKENS)];
    let (logits, shipped) = prefill(&model, &prompt);
    for rows in [1, 7, 16] {
        let (chunked, kv) = prefill_in_chunks(&model, &prompt, rows);
        assert_eq!(chunked, logits, "{rows} rows at a time");
        assert!(kv.iter().zip(&shipped).all(|(a, b)| a.k == b.k && a.v == b.v));
    }
}

#[test]
fn who_else_is_in_the_batch_changes_nothing() {
    for (dtype, weights) in [
        (FloatType::F32, WeightFormat::Native),
        (FloatType::Bf16, WeightFormat::Native),
        (FloatType::F16, WeightFormat::Native),
        (FloatType::Bf16, WeightFormat::Int8),
    ] {
        let model =
            Model::load(&folder(), &LoadOptions { dtype: Some(dtype), weights, ..LoadOptions::default() }).unwrap();
        let prompts: Vec<Vec<u32>> = (1..7).map(|len| (0..len * 5).map(|at| (at * 7 + len) % 90).collect()).collect();
        let pool = model.kv_pool(1 << 20).unwrap();
        let mut alone = Vec::new();
        let mut tables: Vec<BlockTable> = Vec::new();
        for prompt in &prompts {
            let (_, shipped) = prefill(&model, &[Segment::Text(prompt)]);
            let mut sequence = receive(&model, &shipped, 1);
            alone.push(step(&model, &mut sequence, 5));
            let mut table = BlockTable::new(&pool);
            table.grow(pool.lease(table.missing(prompt.len() + 1)).unwrap());
            for (slot, kv) in shipped.iter().enumerate() {
                table.write_layer(slot, 0, &kv.k, &kv.v).unwrap();
            }
            table.set_len(prompt.len()).unwrap();
            tables.push(table);
        }
        let rows = tables.iter_mut().zip(&prompts).map(|(table, prompt)| (5, prompt.len() as u32, table));
        let together = step_together(&model, &pool, &mut rows.collect::<Vec<_>>());
        assert_eq!(together, alone, "{dtype} {weights:?}");
    }
}

/// A node shares one model between its threads, and moves tables among them.
#[test]
fn a_model_can_be_shared_and_a_table_sent() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Model>();
    sent::<BlockTable>();
    sent::<Workspace>();
}

#[test]
fn stages_may_leave_out_different_blocks() {
    let (wide, narrow) = (without(&[]), without(&[1]));
    assert_eq!((narrow.kv_layers(), narrow.info().layers), (&[0, 2][..], 3));
    assert_eq!(narrow.info().fingerprint, wide.info().fingerprint);
    let (dense, shipped) = prefill(&wide, &[Segment::Text(&TOKENS)]);
    let (pruned, own) = prefill(&narrow, &[Segment::Text(&TOKENS)]);
    assert_eq!(own.iter().map(|kv| kv.layer).collect::<Vec<_>>(), [0, 2]);
    assert!(distance(&dense, &pruned) > 1e-2);
    // Prefill ran every block; decode receives the KV of the blocks that it runs.
    let kept: Vec<_> = shipped.into_iter().filter(|kv| kv.layer != 1).collect();
    let mut sequence = receive(&narrow, &kept, 1);
    step(&narrow, &mut sequence, argmax(&dense));
}

#[test]
fn half_precision_is_close_and_ships_half_the_bytes() {
    let full = load();
    let options = LoadOptions { dtype: Some(FloatType::F16), vision: true, ..LoadOptions::default() };
    let half = Model::load(&folder(), &options).unwrap();
    let run = |model: &Model| {
        let visual = model.see(&[picture("waves")]).unwrap().remove(0);
        let (logits, shipped) = prefill(model, &[Segment::Text(&TOKENS[..3]), Segment::Visual(visual)]);
        let mut sequence = receive(model, &shipped, 1);
        step(model, &mut sequence, 5);
        (logits, shipped)
    };
    let ((logits, shipped), (half_logits, half_shipped)) = (run(&full), run(&half));
    assert!(distance(&logits, &half_logits) < 0.1);
    assert_eq!(shipped[0].k.len(), 2 * half_shipped[0].k.len());
}

#[test]
fn eight_bit_weights_are_close() {
    let options = LoadOptions { weights: WeightFormat::Int8, ..LoadOptions::default() };
    let small = Model::load(&folder(), &options).unwrap();
    let (full, found) = (load().logits(&[Segment::Text(&TOKENS)]), small.logits(&[Segment::Text(&TOKENS)]));
    let (full, found) = (full.unwrap(), found.unwrap());
    let spread = full.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
    let off = distance(&full, &found);
    assert!(off > 0.0 && off < 0.1 * spread, "{off} of {spread}");
}

#[test]
fn misuse_is_refused() {
    let model = load();
    assert!(matches!(model.prompt(&[]), Err(ModelError::EmptyPrompt)));
    let unknown = model.prompt(&[Segment::Text(&[96])]);
    assert!(matches!(unknown, Err(ModelError::Token { token: 96, vocab: 96 })));
    let long = vec![5; 257];
    let error = model.prompt(&[Segment::Text(&long)]).unwrap_err();
    assert!(matches!(error, ModelError::ContextTooLong { tokens: 257, limit: 256 }));
    let (_, shipped) = prefill(&model, &[Segment::Text(&TOKENS)]);
    let mut full = receive(&model, &shipped, 16 - TOKENS.len());
    for token in TOKENS.len()..16 {
        step(&model, &mut full, token as u32);
    }
    let beyond = run(&model, &mut full, Input::Token { id: 1, position: 16 }, Wanted::Last);
    assert!(matches!(beyond, Err(ModelError::Cache { .. })));
    let foreign = model.kv_pool(1 << 20).unwrap();
    let mut table = BlockTable::new(&foreign);
    let feed =
        secateur_model::Feed { input: Input::Token { id: 1, position: 0 }, table: &mut table, wanted: Wanted::Last };
    let other = model.kv_pool(1 << 20).unwrap();
    let go_on = &mut |_| {};
    let refused = model.forward(&other, &mut [feed], &mut Workspace::default(), go_on);
    assert!(matches!(refused, Err(ModelError::Cache { .. })));
    assert!(matches!(model.kv_pool(10), Err(ModelError::Cache { .. })));
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

/// Positions that a layer lacks have no effect on that layer: it behaves as in a sequence that never had them. Here
/// only one layer has KV, so this holds for the whole model.
#[test]
fn positions_that_a_layer_lacks_are_not_seen() {
    let model = without(&[1, 2]);
    let (_, shipped) = prefill(&model, &[Segment::Text(&TOKENS)]);
    let row = shipped[0].k.len() / TOKENS.len();
    let ends = |bytes: &[u8]| [&bytes[..2 * row], &bytes[6 * row..]].concat();
    let (k, v) = (ends(&shipped[0].k), ends(&shipped[0].v));
    let mut sequence = receive_lacking(&model, &k, &v, TOKENS.len(), 4);
    let found = step(&model, &mut sequence, 44);
    // The reference: five tokens at the positions that were kept, and nothing else.
    let mut reference = receive_at(&model, &k, &v, 5, TOKENS.len() as u32);
    assert_eq!(found, step(&model, &mut reference, 44));
    // The lacking positions do make a difference.
    let mut whole = receive(&model, &shipped, 2);
    assert!(distance(&step(&model, &mut whole, 44), &found) > 1e-4);
    // Later tokens are stored after the others, and attended to.
    let (next, expected) = (step(&model, &mut sequence, 7), step(&model, &mut reference, 7));
    assert_eq!(next, expected);
}
