"""`text_attn` on `reviews_zh`: sentiment of Chinese shop reviews, two classes.

Paper: Yang et al. 2016 (attention pooling), Wang and Manning 2012 (n-grams with log-count ratios).

    zoo train text_attn --data reviews_zh
    python benchmarks/text_seeds.py reviews_zh

Every Han character is a token; of long reviews the start and the end are read. The wide path sees 1 to 3 characters.

Macro-F1 on the test split (1,742 reviews; 1,117,898 parameters, the table's 160,000 integer keys among them), with the
standard error of the test examples:

    seed 0, 1, 2                                 .8520  .8497  .8548   (each .009)
    mean of the seeds                            .8522  (.008; between seeds .0015)
    TF-IDF + logistic regression                 .8431  (.009)   difference +.0090, 95% [-.0002, +.0189]
    the same with balanced classes               .8411  (.009)   difference +.0111, 95% [+.0013, +.0218]

So it is above the regression in every seed; the interval against the better of the two just reaches 0. The test split
was looked at once, after everything below was chosen on the validation split (1,738 reviews, standard error .008).
Macro-F1 and log-loss there:

    regression with balanced classes                        .8449  .371
    hashed n-grams trained beside the encoder               .8438  .357   one seed; .8397 on the test split
    the same with a convolutional path                      .8380  .367   one seed
    the same with soft targets from the regression          .8393  .368   one seed
    wide path alone, penalty 1 / .08                        .8481  .365
    wide path alone, penalty 1 / .2                         .8488  .355   the recipe's
    the same with penalty 1 / .08, 1 and 2 characters       .8505  .365
    both, .6 of the logits wide                             .8513  .356   mean of the three seeds: .8516 .8519 .8505

Only one share and one number of epochs were tried with the wide path that is solved.
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="text_attn",
    data="reviews_zh",
    title="sentiment of Chinese reviews",
    cost="3 min on 1 core",
    expected={"macro_f1": 0.852},
    model={
        "vocab_size": 5000,
        "max_length": 160,
        "head_fraction": 0.5,
        "num_heads": 2,
        "num_layers": 1,
        "dropout": 0.0,
        "token_dropout": 0.1,
        "wide_ngrams": (1, 2, 3),
        "wide_rows": 160_000,
        "wide_strength": 0.2,
    },
    train={
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "label_smoothing": 0.05,
        "ema": 0.995,
        "monitor": "val_macro_f1",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 1, "steps_per_epoch": 150, "ema": 0.98},
    limits=(
        "Chinese only; reviews of books, hotels and goods in shops. Other kinds of text were not tested.",
        "There is no neutral class: every text is called negative or positive, a neutral or unrelated one too.",
        "Of a review of over 160 characters only the first 80 and the last 80 are read.",
        "The probabilities are those of a model trained with smoothed labels; they are not calibrated.",
    ),
)
