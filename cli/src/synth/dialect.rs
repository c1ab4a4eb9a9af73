//! Dialects of model families: special tokens at the ids that the configurations name, and a chat template that writes
//! a conversation with them.

/// Special tokens and chat template of a family.
#[derive(Debug)]
pub struct Dialect {
    /// Ids and texts of the special tokens.
    pub special: &'static [(u32, &'static str)],
    /// Token that begins every sequence; `None` if none does.
    pub bos: Option<&'static str>,
    /// Token that ends an answer.
    pub eos: &'static str,
    /// Token that pads batches; it is only named here.
    pub pad: &'static str,
    /// `eos_token_id` of generation_config.json.
    pub end_ids: &'static [u32],
    /// Chat template in Jinja.
    pub chat_template: &'static str,
}

pub const LLAMA_3: Dialect = Dialect {
    special: &[
        (128_000, "<|begin_of_text|>"),
        (128_001, "<|end_of_text|>"),
        (128_004, "<|finetune_right_pad_id|>"),
        (128_006, "<|start_header_id|>"),
        (128_007, "<|end_header_id|>"),
        (128_008, "<|eom_id|>"),
        (128_009, "<|eot_id|>"),
    ],
    bos: Some("<|begin_of_text|>"),
    eos: "<|eot_id|>",
    pad: "<|finetune_right_pad_id|>",
    end_ids: &[128_001, 128_008, 128_009],
    chat_template: "\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}",
};

pub const MISTRAL: Dialect = Dialect {
    special: &[(0, "<unk>"), (1, "<s>"), (2, "</s>"), (3, "[INST]"), (4, "[/INST]")],
    bos: Some("<s>"),
    eos: "</s>",
    pad: "</s>",
    end_ids: &[2],
    chat_template: "\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token }}
    {%- else %}
        {{- '[INST] ' + message['content'] + '[/INST]' }}
    {%- endif %}
{%- endfor %}",
};

pub const CHAT_ML: Dialect = Dialect {
    special: &[(151_643, "<|endoftext|>"), (151_644, "<|im_start|>"), (151_645, "<|im_end|>")],
    bos: None,
    eos: "<|im_end|>",
    pad: "<|endoftext|>",
    end_ids: &[151_645, 151_643],
    chat_template: "\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}",
};

pub const QWEN_VL: Dialect = Dialect {
    special: &[
        (151_643, "<|endoftext|>"),
        (151_644, "<|im_start|>"),
        (151_645, "<|im_end|>"),
        (151_652, "<|vision_start|>"),
        (151_653, "<|vision_end|>"),
        (151_654, "<|vision_pad|>"),
        (151_655, "<|image_pad|>"),
        (151_656, "<|video_pad|>"),
    ],
    chat_template: "\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part['type'] == 'text' %}
                {{- part['text'] }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}",
    ..CHAT_ML
};

pub const LLAVA: Dialect = Dialect {
    special: &[(0, "<unk>"), (1, "<s>"), (2, "</s>"), (32_000, "<image>"), (32_001, "<pad>")],
    bos: Some("<s>"),
    eos: "</s>",
    pad: "<pad>",
    end_ids: &[2],
    chat_template: "\
{{- bos_token }}
{%- for message in messages %}
    {{- (message['role'] | upper) + ': ' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}{{- '<image>\\n' }}{%- endif %}
        {%- endfor %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- eos_token if message['role'] == 'assistant' else ' ' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'ASSISTANT:' }}
{%- endif %}",
};

pub const LLAVA_NEXT: Dialect = Dialect {
    chat_template: "\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] != 'assistant' %}{{- '[INST] ' }}{%- endif %}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}{{- '<image>\\n' }}{%- endif %}
        {%- endfor %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- eos_token if message['role'] == 'assistant' else ' [/INST]' }}
{%- endfor %}",
    ..LLAVA
};

pub const TINY: Dialect = Dialect {
    special: &[(0, "<unk>"), (1, "<s>"), (2, "</s>"), (3, "<|user|>"), (4, "<|assistant|>")],
    pad: "</s>",
    chat_template: "\
{{- bos_token }}
{%- for message in messages %}
    {{- ('<|assistant|>' if message['role'] == 'assistant' else '<|user|>') + message['content'] + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}",
    ..LLAVA
};
