"""The model types that people use, beside those of the table; each goes through every capability in the normal test run."""

IMPORTANT = (
    *(
        "cohere",
        "cohere2",
        "aya_vision",
        "apertus",
        "mistral3",
        "ministral3",
        "granite",
        "granitemoehybrid",
        "smollm3",
        "olmo",
    ),
    *("olmo3", "olmoe", "gpt_oss", "qwen2_moe", "qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen2_5_vl", "qwen3_vl"),
    *("gemma3n_text", "gemma4", "gemma4_text", "phimoe", "deepseek_v2", "deepseek_v3", "glm4", "glm4_moe", "falcon"),
    *(
        "falcon_h1",
        "bloom",
        "xglm",
        "gptj",
        "starcoder2",
        "nemotron",
        "nemotron_h",
        "exaone4",
        "llama4_text",
        "seed_oss",
    ),
    *("lfm2", "jamba", "hunyuan_v1_dense", "ernie4_5", "ernie4_5_moe", "minimax_m2", "bamba", "opt"),
)
