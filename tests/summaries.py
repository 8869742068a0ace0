"""What the summary of a run holds, for runs that are made up."""

SUMMARY = {
    "status": "finished",
    "held_out": "test",
    "accuracy": 0.9,
    "count": 100,
    "epochs": 1,
    "steps": 1,
    "seconds_per_epoch": 1.0,
    "support": {},
    "shape": [1, 28, 28],
    "classes": ["0", "1"],
    "sha256": {"model.safetensors": ""},
}
